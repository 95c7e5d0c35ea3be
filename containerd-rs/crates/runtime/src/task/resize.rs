use base::Namespace;
use protobuf::well_known_types::empty::Empty;
use protos::shim::task_v3::ResizePtyRequest;

use crate::error::Error;
use crate::runtime::Runtime;

impl Runtime {
    /// Sets the size of a process's terminal, in characters. Runs on when the future is dropped.
    pub async fn resize(
        &self,
        namespace: &Namespace,
        id: &str,
        exec_id: &str,
        width: u32,
        height: u32,
    ) -> Result<(), Error> {
        let (_, shim) = self.live(namespace, id).await?;
        let request = ResizePtyRequest {
            id: id.to_owned(),
            exec_id: exec_id.to_owned(),
            width,
            height,
            ..ResizePtyRequest::default()
        };
        let limit = self.shared.options.timeouts.call;
        self.tracked("resize", async move {
            let Empty { .. } = shim.client.call("ResizePty", &request, limit).await?;
            Ok(())
        })
        .await
    }
}
