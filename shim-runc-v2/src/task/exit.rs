//! The end of a process: recorded first, then told.
//!
//! One task per running process waits for its exit. It lets a start that is still on its way finish, so
//! that TaskStart comes before TaskExit, and for an init it waits until the rest of the container is gone,
//! so that its TaskExit is the last one.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base::Error;
use protos::shim::events::{TaskExit, TaskOOM};
use tokio::sync::oneshot;

use crate::beside::RECORDS;
use crate::cgroup::Cgroup;
use crate::logger::{error, warning};
use crate::reaper::Exit;
use crate::rpc::convert::timestamp;
use crate::runc::SHORT;
use crate::task::Tasks;
use crate::task::container::Container;
use crate::task::decide::Phase;
use crate::task::record::Record;

/// Time for the other processes of a container to end after its init, before they are killed once more,
/// and again before its end is told without waiting for theirs.
const OTHERS: Duration = Duration::from_secs(10);

/// Time for the disk to take an exit record; less than what an init waits for the others.
const RECORD: Duration = Duration::from_secs(15);

/// Version 1 says that memory is short before it kills; so often, and so far apart, we look whether it did.
const LOOKS: u32 = 10;
const LOOK_AGAIN: Duration = Duration::from_millis(100);

impl Tasks {
    /// Waits for a process's exit, in a task of its own, and deals with it.
    pub(crate) fn follow(&self, container: &Arc<Container>, exec_id: &str, exit: oneshot::Receiver<Exit>) {
        let (tasks, container, exec_id) = (self.clone(), container.clone(), exec_id.to_owned());
        tokio::spawn(async move {
            if let Ok(exit) = exit.await {
                tasks.ended(&container, &exec_id, exit).await;
            }
        });
    }

    async fn ended(&self, container: &Arc<Container>, exec_id: &str, exit: Exit) {
        {
            let mut state = container.state();
            if let Ok(proc) = state.proc(exec_id) {
                proc.collected();
            }
            state.init_gone |= exec_id.is_empty();
        }
        container.changed();
        // A start tells of itself before we tell of the end.
        container.until(|s| s.proc(exec_id).map_or(Some(()), |p| (!p.starting).then_some(()))).await;
        if exec_id.is_empty() {
            self.end_others(container).await;
        }
        self.tell(container, exec_id, exit).await;
    }

    /// Makes sure that no process of a container outlives its init, and that their ends were told.
    async fn end_others(&self, container: &Arc<Container>) {
        if !container.own_pid_namespace {
            self.kill_all(container).await;
        }
        if container.state().init.phase == Phase::Paused
            && let Err(e) = container.runc.resume(self.reaper(), &container.id).await
        {
            warning!("resuming exited container {} from paused state: {}", container.id, e.words());
        }
        for last in [false, true] {
            let others = container.until(|s| (!s.execs.values().any(|p| p.is_active())).then_some(()));
            if tokio::time::timeout(OTHERS, others).await.is_ok() {
                return;
            }
            if last {
                error!(
                    "processes of {} outlive its init by more than {} s",
                    container.id,
                    2 * OTHERS.as_secs()
                );
            }
            let pids: Vec<u32> =
                container.state().execs.values().filter(|p| p.alive).map(|p| p.pid).collect();
            for pid in pids {
                let _ = crate::task::kill::signal(pid, 9);
            }
        }
    }

    async fn kill_all(&self, container: &Arc<Container>) {
        let killed =
            tokio::time::timeout(SHORT, container.runc.kill(self.reaper(), &container.id, 9, true)).await;
        // Newer runtimes know no `--all`, or refuse it for a container whose init is gone.
        if !matches!(killed, Ok(Ok(())))
            && let Some(cgroup) = container.state().cgroup.clone()
        {
            cgroup.kill_own();
        }
    }

    /// Records the exit, then publishes it, then answers those who wait.
    async fn tell(&self, container: &Arc<Container>, exec_id: &str, exit: Exit) {
        let (oom, cause) = self.check_oom(container);
        let told = Record { oom_cause: cause, ..Record::new(&exit, oom) };
        if let Err(e) = record(told, &container.bundle, exec_id).await {
            error!("exit of {} {exec_id} is not recorded: {}", container.id, base::chain(&e));
        }
        let mut event = TaskExit::new();
        event.container_id = container.id.clone();
        event.id = if exec_id.is_empty() { container.id.clone() } else { exec_id.to_owned() };
        event.pid = exit.pid;
        event.exit_status = exit.code;
        event.exited_at = Some(timestamp(exit.at)).into();
        self.events().send("/tasks/exit", &event);
        if let Ok(proc) = container.state().proc(exec_id) {
            proc.stopped(exit);
        }
        container.changed();
    }

    /// Reads the kernel's own count, so that no kill is told later than the exit it caused.
    fn check_oom(&self, container: &Container) -> (bool, Option<String>) {
        let Some(cgroup) = container.state().cgroup.clone() else { return (false, None) };
        if cgroup.oom_news().kills > 0 {
            self.tell_oom(container, &cgroup);
        }
        (cgroup.saw_oom(), cgroup.oom_cause())
    }

    fn tell_oom(&self, container: &Container, cgroup: &Cgroup) {
        warning!("killed for memory in {}: {}", container.id, cgroup.oom_cause().unwrap_or_default());
        let mut event = TaskOOM::new();
        event.container_id = container.id.clone();
        self.events().send("/tasks/oom", &event);
    }

    /// Watches a container's memory until its init is gone.
    pub(crate) fn watch_oom(&self, container: &Arc<Container>) {
        let Some(cgroup) = container.state().cgroup.clone() else { return };
        let Some(watcher) = cgroup.oom_watcher() else { return };
        let (tasks, container) = (self.clone(), container.clone());
        tokio::spawn(async move {
            let gone = container.until(|s| (s.init_gone || s.deleted).then_some(()));
            tokio::pin!(gone);
            // What is heard but not yet counted is looked for a few times more.
            let mut looks = 0;
            loop {
                tokio::select! {
                    () = &mut gone => return,
                    woken = watcher.readable() => {
                        let Ok(mut ready) = woken else { return };
                        ready.clear_ready();
                    }
                    () = tokio::time::sleep(LOOK_AGAIN), if looks > 0 => looks -= 1,
                }
                let news = cgroup.oom_news();
                if news.kills > 0 {
                    looks = 0;
                    tasks.tell_oom(&container, &cgroup);
                } else if news.gone {
                    return;
                } else if news.notices > 0 {
                    looks = LOOKS;
                }
            }
        });
    }

    /// An exit for a process that never ran.
    pub(crate) fn never_ran() -> Exit {
        Exit { pid: 0, code: 255, signal: None, at: SystemTime::now() }
    }
}

/// Writes an exit down. A disk that hangs keeps nobody waiting for ever: then it is told without.
pub(crate) async fn record(record: Record, bundle: &Path, exec_id: &str) -> Result<(), Error> {
    let (bundle, exec_id) = (bundle.to_owned(), exec_id.to_owned());
    let work = move || record.write(&bundle, &exec_id);
    RECORDS.run("writing it down", RECORD, None, work, drop).await?
}
