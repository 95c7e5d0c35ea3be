//! ShutdownSandbox: containers, process, mounts and cgroup go, then the shim.

use std::time::Duration;

use base::Error;

use crate::cgroup;
use crate::logger::warning;
use crate::sandbox::Sandbox;
use crate::sandbox::decide::{Ask, Phase};
use crate::task::ground::unmount_rootfs;

/// Time for each step of ending what is left of the pod's containers.
const CONTAINERS: Duration = Duration::from_secs(10);

impl Sandbox {
    /// Ends everything and lets the shim leave. What cannot be cleaned is logged: the shim's `delete` tries once more.
    /// Not cancel-safe; may be asked again.
    ///
    /// # Errors
    /// `NotFound` for another sandbox than this shim's; a process that does not die.
    pub(crate) async fn shutdown(&self, id: &str) -> Result<(), Error> {
        let _claim = self.claim(id, Ask::Shutdown).await?;
        if self.state().phase != Phase::Gone {
            self.0.tasks.end_all(CONTAINERS).await;
            self.end(Duration::ZERO).await?;
            self.clean().await;
            let mut state = self.state();
            state.phase = Phase::Gone;
            state.held = None;
        }
        self.0.lifetime.asked_to_leave();
        Ok(())
    }

    async fn clean(&self) {
        let pod = self.state().pod.clone();
        let Some(pod) = pod else { return };
        if pod.mounted
            && let Err(e) = unmount_rootfs(&pod.bundle).await
        {
            warning!("sandbox {}: {}", pod.id, base::chain(&e));
        }
        if !pod.plan.cgroup.is_empty() {
            cgroup::remove_named(&pod.plan.cgroup);
        }
    }
}
