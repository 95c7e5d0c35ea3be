//! Update: other resource limits for a container that is there.

use base::Error;
use serde::de::IgnoredAny;

use crate::bundle::write_private;
use crate::task::Tasks;
use crate::task::decide::Ask;

impl Tasks {
    /// Applies OCI `LinuxResources` in JSON. Not cancel-safe.
    ///
    /// # Errors
    /// `NotFound`, `InvalidArgument` for what is no JSON, a stopped container, the runtime's own words.
    pub(crate) async fn update(&self, id: &str, resources: &[u8]) -> Result<(), Error> {
        let container = self.get(id)?;
        serde_json::from_slice::<IgnoredAny>(resources)
            .map_err(|e| Error::invalid("failed to read resources").with_source(e))?;
        let _claim = container.claim("", Ask::Update).await?;
        let file = container.bundle.join("resources.json");
        write_private(&file, resources)?;
        let done = container.runc.update(self.reaper(), &container.id, &file).await;
        let _ = std::fs::remove_file(&file);
        done.map_err(|failed| Error::unknown(failed.told_as("OCI runtime update failed")))
    }
}
