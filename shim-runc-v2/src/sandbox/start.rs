//! StartSandbox: the namespaces, and a process that holds them.

use std::sync::Arc;
use std::time::SystemTime;

use base::Error;
use tokio::sync::oneshot;

use crate::bundle;
use crate::cgroup::{self, Cgroup};
use crate::logger::{error, warning};
use crate::reaper::Exit;
use crate::sandbox::decide::{Ask, Phase};
use crate::sandbox::{Pod, Sandbox, holder};
use crate::task::exit::record;
use crate::task::record::Record;

/// What a start tells of.
pub(crate) struct Started {
    pub(crate) pid: u32,
    pub(crate) created_at: SystemTime,
}

impl Sandbox {
    /// Starts the sandbox. Not cancel-safe.
    ///
    /// # Errors
    /// `NotFound`, a phase that does not allow it, what the kernel says to the namespaces or the cgroup.
    pub(crate) async fn start(&self, id: &str) -> Result<Started, Error> {
        let _claim = self.claim(id, Ask::Start).await?;
        let pod = self.state().pod.clone().ok_or_else(|| super::decide::absent(id))?;
        let holder = holder::start(&self.0.reaper, &pod.bundle, &pod.plan, [&self.0.namespace, id]).await?;
        if let Err(e) = cgroup::place(&pod.plan.cgroup, holder.pid) {
            // With its lifeline it goes; its exit is nobody's.
            drop(holder);
            cgroup::remove_named(&pod.plan.cgroup);
            return Err(e);
        }
        let group = Cgroup::of(holder.pid);
        bundle::save_trace(&pod.bundle, holder.pid, group.as_ref());
        {
            let mut state = self.state();
            state.phase = Phase::Ready;
            state.pid = holder.pid;
            state.started_at = Some(SystemTime::now());
            state.lifeline = Some(holder.lifeline);
        }
        self.follow(&pod, holder.exit);
        Ok(Started { pid: holder.pid, created_at: pod.created_at })
    }

    /// Waits for the process's exit, in a task of its own: recorded first, then told.
    fn follow(&self, pod: &Arc<Pod>, exit: oneshot::Receiver<Exit>) {
        let (sandbox, pod) = (self.clone(), pod.clone());
        tokio::spawn(async move {
            let Ok(exit) = exit.await else { return };
            if let Err(e) = record(Record::new(&exit, false), &pod.bundle, "").await {
                error!("exit of sandbox {} is not recorded: {}", pod.id, base::chain(&e));
            }
            let asked = {
                let mut state = sandbox.state();
                state.phase = if state.phase == Phase::Gone { Phase::Gone } else { Phase::Ended };
                state.exit = Some(exit);
                state.lifeline = None;
                state.busy
            };
            if !asked {
                warning!("sandbox {} ended by itself: status {}", pod.id, exit.code);
            }
            sandbox.0.changed.notify_waiters();
        });
    }
}
