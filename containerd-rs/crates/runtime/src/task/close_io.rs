use base::Namespace;
use protobuf::well_known_types::empty::Empty;
use protos::shim::task_v3::CloseIORequest;

use crate::error::Error;
use crate::runtime::Runtime;

impl Runtime {
    /// Closes a process's standard input. Runs on when the future is dropped.
    pub async fn close_io(&self, namespace: &Namespace, id: &str, exec_id: &str) -> Result<(), Error> {
        let (_, shim) = self.live(namespace, id).await?;
        let request = CloseIORequest {
            id: id.to_owned(),
            exec_id: exec_id.to_owned(),
            stdin: true,
            ..CloseIORequest::default()
        };
        let limit = self.shared.options.timeouts.call;
        self.tracked("close_io", async move {
            let Empty { .. } = shim.client.call("CloseIO", &request, limit).await?;
            Ok(())
        })
        .await
    }
}
