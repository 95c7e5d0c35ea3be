use base::Namespace;
use protobuf::well_known_types::empty::Empty;
use protos::shim::task_v3::PauseRequest;

use crate::error::Error;
use crate::runtime::Runtime;

impl Runtime {
    /// Freezes every process of the task. Runs on when the future is dropped.
    pub async fn pause(&self, namespace: &Namespace, id: &str) -> Result<(), Error> {
        let (_, shim) = self.live(namespace, id).await?;
        let request = PauseRequest { id: id.to_owned(), ..PauseRequest::default() };
        let limit = self.shared.options.timeouts.call;
        self.tracked("pause", async move {
            let Empty { .. } = shim.client.call("Pause", &request, limit).await?;
            Ok(())
        })
        .await
    }
}
