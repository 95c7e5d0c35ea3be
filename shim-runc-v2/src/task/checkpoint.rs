//! Checkpoint: dumps a container's processes with CRIU, through the runtime.

use std::path::PathBuf;

use base::Error;
use protos::shim::any::unpack;
use protos::shim::options::CheckpointOptions;
use protos::shim::task_v3::CheckpointTaskRequest;

use crate::task::Tasks;
use crate::task::decide::Ask;

impl Tasks {
    /// Writes a checkpoint to the request's path. Not cancel-safe.
    ///
    /// # Errors
    /// `NotFound`, a phase that does not allow it, what CRIU said (its log is kept in the bundle).
    pub(crate) async fn checkpoint(&self, request: &CheckpointTaskRequest) -> Result<(), Error> {
        let container = self.get(&request.id)?;
        let options: CheckpointOptions = match request.options.as_ref() {
            Some(any) => {
                unpack(any).map_err(|e| Error::invalid("failed to read checkpoint options").with_source(e))?
            }
            None => CheckpointOptions::new(),
        };
        let _claim = container.claim("", Ask::Checkpoint).await?;
        let (work, ours) = match options.work_path.as_str() {
            "" => (container.bundle.join("work").join("criu-work"), true),
            path => (PathBuf::from(path), false),
        };
        // Newer runtimes make the last part of it only.
        let made = std::fs::create_dir_all(&work);
        made.map_err(|e| Error::unknown(format!("mkdir {}: {e}", work.display())))?;
        let done =
            container.runc.checkpoint(self.reaper(), &container.id, &request.path, &work, &options).await;
        let kept = container.bundle.join("criu-dump.log");
        if done.is_err() {
            let _ = std::fs::copy(work.join("dump.log"), &kept);
        }
        if ours {
            let _ = std::fs::remove_dir_all(&work);
        }
        done.map_err(|failed| {
            let words = failed.words();
            Error::unknown(format!("{} path= {}", words.lines().next().unwrap_or_default(), kept.display()))
        })
    }
}
