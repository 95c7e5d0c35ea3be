//! Delete: forgets a process that ended, or a container with everything that was made for it.

use std::sync::Arc;
use std::time::Duration;

use base::Error;
use protos::shim::events::TaskDelete;

use crate::logger::warning;
use crate::reaper::Exit;
use crate::rpc::convert::timestamp;
use crate::runc::SHORT;
use crate::task::container::Container;
use crate::task::decide::{Ask, Phase};
use crate::task::ground::unmount_rootfs;
use crate::task::{Tasks, record};

/// Time for the init of a container that was never started to end once the runtime has killed it, and to be recorded.
const INIT_END: Duration = Duration::from_secs(20);

/// What is left of a process: its pid, and how it ended if it ever ran.
pub(crate) struct Deleted {
    /// As the host numbered it.
    pub(crate) pid: u32,
    /// `None` when it never ran.
    pub(crate) exit: Option<Exit>,
}

impl Tasks {
    /// Deletes a process. Not cancel-safe.
    ///
    /// # Errors
    /// `NotFound`; a process that still runs; a runtime or mount that refuses (then it can be tried again).
    pub(crate) async fn delete(&self, id: &str, exec_id: &str) -> Result<Deleted, Error> {
        let container = self.get(id)?;
        if exec_id.is_empty() {
            self.delete_init(&container).await
        } else {
            self.delete_exec(&container, exec_id).await
        }
    }

    async fn delete_exec(&self, container: &Arc<Container>, exec_id: &str) -> Result<Deleted, Error> {
        let _claim = container.claim(exec_id, Ask::Delete).await?;
        let streams = container.state().proc(exec_id)?.streams.take();
        if let Some(streams) = streams {
            streams.close().await;
        }
        let _ = std::fs::remove_file(container.bundle.join(format!("{exec_id}.pid")));
        record::remove(&container.bundle, exec_id);
        let proc = {
            let mut state = container.state();
            let proc = state.execs.remove(exec_id);
            // A map keeps the room of its largest time.
            if state.execs.capacity() > 32 && state.execs.len() < state.execs.capacity() / 4 {
                state.execs.shrink_to_fit();
            }
            proc
        };
        Ok(Deleted { pid: proc.as_ref().map_or(0, |p| p.pid), exit: proc.and_then(|p| p.exit()) })
    }

    async fn delete_init(&self, container: &Arc<Container>) -> Result<Deleted, Error> {
        let _claim = container.claim("", Ask::Delete).await?;
        let stopped = container.state().init.phase == Phase::Stopped;
        if stopped {
            self.close_streams(container).await;
        }
        self.delete_with_runtime(container).await?;
        if !stopped {
            // The runtime has killed an init that was never started; its end is told before it is forgotten.
            let ended =
                container.until(|s| (s.init.pid == 0 || s.init.phase == Phase::Stopped).then_some(()));
            if tokio::time::timeout(INIT_END, ended).await.is_err() {
                warning!("init of {} did not end within {} s", container.id, INIT_END.as_secs());
            }
            self.close_streams(container).await;
        }
        unmount_rootfs(&container.bundle).await?;
        let deleted = {
            let mut state = container.state();
            state.deleted = true;
            Deleted { pid: state.init.pid, exit: state.init.exit() }
        };
        self.containers().remove(&container.id);
        container.changed();
        self.events().send("/tasks/delete", &deleted_event(container, &deleted));
        self.0.lifetime.changed();
        Ok(deleted)
    }

    async fn close_streams(&self, container: &Arc<Container>) {
        let (streams, prepared) = {
            let mut state = container.state();
            (state.init.streams.take(), state.init.prepared.take())
        };
        drop(prepared);
        if let Some(streams) = streams {
            streams.close().await;
        }
    }

    async fn delete_with_runtime(&self, container: &Arc<Container>) -> Result<(), Error> {
        let Err(failed) = container.runc.delete(self.reaper(), &container.id, false, SHORT).await else {
            return Ok(());
        };
        // Gone already, as after a checkpoint.
        if failed.says_gone() {
            return Ok(());
        }
        Err(Error::unknown(failed.told_as("failed to delete task")))
    }
}

fn deleted_event(container: &Container, deleted: &Deleted) -> TaskDelete {
    let mut event = TaskDelete::new();
    event.container_id = container.id.clone();
    event.pid = deleted.pid;
    if let Some(exit) = deleted.exit {
        event.exit_status = exit.code;
        event.exited_at = Some(timestamp(exit.at)).into();
    }
    event
}
