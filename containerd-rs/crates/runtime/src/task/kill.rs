use base::Namespace;
use protobuf::well_known_types::empty::Empty;
use protos::shim::task_v3::KillRequest;

use crate::error::Error;
use crate::runtime::Runtime;

impl Runtime {
    /// Sends a signal to the first process or to an exec; `all` means every process of the container. Runs on when the future is dropped.
    pub async fn kill(
        &self,
        namespace: &Namespace,
        id: &str,
        exec_id: &str,
        signal: u32,
        all: bool,
    ) -> Result<(), Error> {
        let (_, shim) = self.live(namespace, id).await?;
        let request = KillRequest {
            id: id.to_owned(),
            exec_id: exec_id.to_owned(),
            signal,
            all,
            ..KillRequest::default()
        };
        let limit = self.shared.options.timeouts.call;
        self.tracked("kill", async move {
            let Empty { .. } = shim.client.call("Kill", &request, limit).await?;
            Ok(())
        })
        .await
    }
}
