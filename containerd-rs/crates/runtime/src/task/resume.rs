use base::Namespace;
use protobuf::well_known_types::empty::Empty;
use protos::shim::task_v3::ResumeRequest;

use crate::error::Error;
use crate::runtime::Runtime;

impl Runtime {
    /// Thaws a paused task. Runs on when the future is dropped.
    pub async fn resume(&self, namespace: &Namespace, id: &str) -> Result<(), Error> {
        let (_, shim) = self.live(namespace, id).await?;
        let request = ResumeRequest { id: id.to_owned(), ..ResumeRequest::default() };
        let limit = self.shared.options.timeouts.call;
        self.tracked("resume", async move {
            let Empty { .. } = shim.client.call("Resume", &request, limit).await?;
            Ok(())
        })
        .await
    }
}
