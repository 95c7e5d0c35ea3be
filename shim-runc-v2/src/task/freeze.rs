//! Pause and Resume.

use base::Error;
use protos::shim::events::{TaskPaused, TaskResumed};

use crate::task::Tasks;
use crate::task::decide::{Ask, Phase};

impl Tasks {
    /// Freezes every process of a container. Not cancel-safe.
    ///
    /// # Errors
    /// `NotFound`, a phase that does not allow it, the runtime's own words.
    pub(crate) async fn pause(&self, id: &str) -> Result<(), Error> {
        let container = self.get(id)?;
        let _claim = container.claim("", Ask::Pause).await?;
        container.state().init.phase = Phase::Pausing;
        let paused = container.runc.pause(self.reaper(), &container.id).await;
        {
            let mut state = container.state();
            // It may have ended while we waited.
            if state.init.phase == Phase::Pausing {
                state.init.phase = if paused.is_ok() { Phase::Paused } else { Phase::Running };
            }
        }
        paused.map_err(|failed| Error::unknown(failed.told_as("OCI runtime pause failed")))?;
        let mut event = TaskPaused::new();
        event.container_id = container.id.clone();
        self.events().send("/tasks/paused", &event);
        Ok(())
    }

    /// Thaws a container. Not cancel-safe.
    ///
    /// # Errors
    /// As for `pause`.
    pub(crate) async fn resume(&self, id: &str) -> Result<(), Error> {
        let container = self.get(id)?;
        let _claim = container.claim("", Ask::Resume).await?;
        container
            .runc
            .resume(self.reaper(), &container.id)
            .await
            .map_err(|failed| Error::unknown(failed.told_as("OCI runtime resume failed")))?;
        {
            let mut state = container.state();
            if state.init.phase == Phase::Paused {
                state.init.phase = Phase::Running;
            }
        }
        let mut event = TaskResumed::new();
        event.container_id = container.id.clone();
        self.events().send("/tasks/resumed", &event);
        Ok(())
    }
}
