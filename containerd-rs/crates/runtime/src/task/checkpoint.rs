use std::path::Path;

use base::{Any, Namespace};
use protobuf::well_known_types::empty::Empty;
use protos::shim::task_v3::CheckpointTaskRequest;

use crate::error::Error;
use crate::runtime::Runtime;
use crate::wire;

impl Runtime {
    /// Writes a checkpoint of the task into the directory `path`. Runs on when the future is dropped.
    pub async fn checkpoint(
        &self,
        namespace: &Namespace,
        id: &str,
        path: &Path,
        options: Option<&Any>,
    ) -> Result<(), Error> {
        let (_, shim) = self.live(namespace, id).await?;
        let request = CheckpointTaskRequest {
            id: id.to_owned(),
            path: path.display().to_string(),
            options: options.map(wire::any).into(),
            ..CheckpointTaskRequest::default()
        };
        let limit = self.shared.options.timeouts.create;
        self.tracked("checkpoint", async move {
            let Empty { .. } = shim.client.call("Checkpoint", &request, limit).await?;
            Ok(())
        })
        .await
    }
}
