//! Start: lets a created init run, restores one from a checkpoint, or runs an exec.

use std::sync::Arc;
use std::time::Duration;

use base::Error;
use protos::shim::events::{TaskExecStarted, TaskStart};

use crate::bundle;
use crate::cgroup::Cgroup;
use crate::io::{self, Owner};
use crate::runc::LONG;
use crate::task::Tasks;
use crate::task::container::Container;
use crate::task::decide::{Ask, Phase};
use crate::task::launch::{Launched, Plan, launch};

impl Tasks {
    /// Starts a process and gives its pid. Not cancel-safe.
    ///
    /// # Errors
    /// `NotFound`, a phase that does not allow it, `FailedPrecondition` for an exec whose container's init is
    /// gone, the runtime's own words.
    pub(crate) async fn start(&self, id: &str, exec_id: &str, limit: Option<Duration>) -> Result<u32, Error> {
        let container = self.get(id)?;
        let limit = limit.unwrap_or(LONG).min(LONG);
        if !exec_id.is_empty() {
            return self.start_exec(&container, exec_id, limit).await;
        }
        let _claim = container.claim("", Ask::Start).await?;
        let restore = container.state().init.phase == Phase::CreatedFromCheckpoint;
        let pid = if restore {
            self.restore(&container, limit).await?
        } else {
            self.start_init(&container, limit).await?
        };
        let mut event = TaskStart::new();
        event.container_id = container.id.clone();
        event.pid = pid;
        self.events().send("/tasks/start", &event);
        container.state().init.phase = Phase::Running;
        Ok(pid)
    }

    async fn start_init(&self, container: &Arc<Container>, limit: Duration) -> Result<u32, Error> {
        container
            .runc
            .start(self.reaper(), &container.id, limit)
            .await
            .map_err(|failed| Error::unknown(failed.told_as("OCI runtime start failed")))?;
        let cgroup = container.state().cgroup.clone();
        if let Some(cgroup) = cgroup {
            cgroup.enable_controllers();
        }
        Ok(container.state().init.pid)
    }

    async fn restore(&self, container: &Arc<Container>, limit: Duration) -> Result<u32, Error> {
        let (prepared, terminal) = {
            let mut state = container.state();
            (state.init.prepared.take(), state.init.stdio.terminal)
        };
        let prepared = prepared.ok_or_else(|| Error::unknown("cannot restore a task twice"))?;
        let work = match container.options.criu_work_path.as_str() {
            "" => container.bundle.join("work"),
            path => path.into(),
        };
        // Newer runtimes make the last part of it only.
        let made = std::fs::create_dir_all(&work);
        made.map_err(|e| Error::unknown(format!("mkdir {}: {e}", work.display())))?;
        let plan = Plan { pid_file: container.bundle.join("init.pid"), terminal, limit, cancel: None };
        let launched = launch(self.reaper(), plan, prepared, |l| {
            container.runc.restore(
                self.reaper(),
                &container.id,
                &container.options,
                &container.checkpoint,
                &work,
                l,
            )
        })
        .await
        .map_err(|broken| broken.told_as("OCI runtime restore failed"))?;
        let cgroup = Cgroup::of(launched.pid).map(Arc::new);
        bundle::save_trace(&container.bundle, launched.pid, cgroup.as_deref());
        container.state().cgroup = cgroup;
        self.watch_oom(container);
        Ok(self.adopt(container, "", launched))
    }

    async fn start_exec(
        &self,
        container: &Arc<Container>,
        exec_id: &str,
        limit: Duration,
    ) -> Result<u32, Error> {
        let _claim = container.claim(exec_id, Ask::Start).await?;
        if container.state().init_gone {
            return Err(Error::failed_precondition(format!(
                "container {} init process is not running",
                container.id
            )));
        }
        let launched = self.run_exec(container, exec_id, limit).await;
        let launched = match launched {
            Ok(launched) => launched,
            Err(e) => {
                if let Ok(proc) = container.state().proc(exec_id) {
                    proc.failed(Self::never_ran());
                }
                return Err(e);
            }
        };
        let pid = self.adopt(container, exec_id, launched);
        let mut event = TaskExecStarted::new();
        event.container_id = container.id.clone();
        event.exec_id = exec_id.to_owned();
        event.pid = pid;
        self.events().send("/tasks/exec-started", &event);
        if let Ok(proc) = container.state().proc(exec_id) {
            proc.phase = Phase::Running;
        }
        Ok(pid)
    }

    async fn run_exec(
        &self,
        container: &Arc<Container>,
        exec_id: &str,
        limit: Duration,
    ) -> Result<Launched, Error> {
        let (spec, stdio) = {
            let mut state = container.state();
            let proc = state.proc(exec_id)?;
            (proc.spec.take().unwrap_or_default(), proc.stdio.clone())
        };
        let process = container.bundle.join(format!("{exec_id}.process.json"));
        bundle::write_private(&process, &spec)?;
        let owner = Owner {
            id: exec_id,
            namespace: &self.0.namespace,
            uid: container.options.io_uid,
            gid: container.options.io_gid,
            limit,
            cancel: None,
        };
        let launched = match io::prepare(self.reaper(), &stdio, &owner).await {
            Ok(prepared) => {
                let plan = Plan {
                    pid_file: container.bundle.join(format!("{exec_id}.pid")),
                    terminal: stdio.terminal,
                    limit,
                    cancel: None,
                };
                launch(self.reaper(), plan, prepared, |l| {
                    container.runc.exec(self.reaper(), &container.id, exec_id, &process, l)
                })
                .await
                .map_err(|broken| broken.told_as("OCI runtime exec failed"))
            }
            Err(e) => Err(e),
        };
        let _ = std::fs::remove_file(process);
        launched
    }

    /// Takes over a process that the runtime has started.
    fn adopt(&self, container: &Arc<Container>, exec_id: &str, launched: Launched) -> u32 {
        if let Ok(proc) = container.state().proc(exec_id) {
            proc.born(launched.pid);
            proc.streams = Some(launched.streams);
        }
        self.follow(container, exec_id, launched.exit);
        launched.pid
    }
}
