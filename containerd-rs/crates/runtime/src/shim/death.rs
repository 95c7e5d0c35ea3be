//! What happens when the connection to a shim ends without the daemon having wanted that.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use protobuf::well_known_types::any::Any as WireAny;
use protos::shim::any::pack;
use protos::shim::events::{TaskDelete, TaskExit, TaskOOM};

use super::{Leftovers, Shim, ShimProcess, kill_in_directory};
use crate::binary;
use crate::bundle::Recorded;
use crate::entry::{Entry, Phase};
use crate::error::Error;
use crate::gate::{TASK_DELETE, TASK_EXIT, TASK_OOM};
use crate::model::Exit;
use crate::rpc::CallError;
use crate::runtime::{Runtime, blocking};
use crate::wire;

/// Exit status of a process about whose end nobody could tell anything.
const NOBODY_KNOWS: u32 = 255;
/// Attempts to reach a shim again before it counts as dead.
const ATTEMPTS: u32 = 3;

/// Waits, in a task of its own, for the connection to end, and sees to it then.
pub(crate) fn watch(runtime: &Runtime, entry: &Arc<Entry>, shim: &Arc<Shim>) {
    let (runtime, entry) = (runtime.clone(), entry.clone());
    let conn = shim.client.conn().clone();
    let shim = Arc::downgrade(shim);
    tokio::spawn(async move {
        conn.closed().await;
        if let Some(shim) = shim.upgrade() {
            let work = runtime.clone();
            // Tracked only from here on: idle connections do not hold up a shutdown.
            runtime.shared.tasks.spawn(async move { disconnected(&work, &entry, shim).await });
        }
    });
}

async fn disconnected(runtime: &Runtime, entry: &Arc<Entry>, shim: Arc<Shim>) {
    let current = entry.shim().is_some_and(|now| Arc::ptr_eq(&now, &shim));
    if !current || entry.phase() != Phase::Live {
        return;
    }
    tracing::info!(id = entry.bundle.id, namespace = %entry.bundle.namespace, "shim disconnected");
    if entry.may_reconnect()
        && let Some(again) = reconnect(runtime, entry, &shim).await
    {
        tracing::info!(id = entry.bundle.id, "shim is alive, connected again");
        entry.set_shim(Some(again.clone()));
        watch(runtime, entry, &again);
        return;
    }
    if let Some(process) = shim.process.get()
        && !process.has_exited()
        && !runtime.shared.table.shares_shim(entry, &shim.answer.address)
    {
        tracing::warn!(id = entry.bundle.id, pid = process.pid, "shim does not answer any more, killing it");
        process.kill();
    }
    let program = shim.program.clone();
    drop(shim);
    if entry.advance(|phase| *phase == Phase::Live, Phase::Dead) {
        bury(runtime, entry, program).await;
    }
}

/// A living shim answers on a new connection. A dead one is recognised by its process or its socket, at once.
async fn reconnect(runtime: &Runtime, entry: &Arc<Entry>, old: &Shim) -> Option<Arc<Shim>> {
    let options = &runtime.shared.options;
    for _ in 0..ATTEMPTS {
        if old.process.get().is_some_and(ShimProcess::has_exited) {
            return None;
        }
        let (program, answer) = (old.program.clone(), old.answer.clone());
        let connected =
            Shim::connect(&entry.bundle, program, answer, old.log.clone(), options.timeouts.load).await;
        let new = match connected {
            Ok(new) => new,
            Err(Error::Dial(e)) if e.is_dead() => return None,
            Err(_) => continue,
        };
        match new.introduce(&entry.bundle.id, options).await {
            Ok(_) => return Some(new),
            // Taken in by a socket whose owner is just ending.
            Err(CallError::Closed) => {}
            Err(error) => {
                tracing::warn!(id = entry.bundle.id, %error, "shim does not answer on a new connection");
                return None;
            }
        }
    }
    None
}

/// Cleans up after a dead shim (the task is in phase Dead and stays invisible), then tells everyone, once.
pub(crate) async fn bury(runtime: &Runtime, entry: &Arc<Entry>, program: Option<PathBuf>) {
    let shared = &runtime.shared;
    let bundle = &entry.bundle;
    entry.set_shim(None);
    tracing::info!(id = bundle.id, namespace = %bundle.namespace, "cleaning up after shim disconnected");
    let leftovers = Leftovers::find(bundle, entry.pid());
    // Before anything is killed: what is written down is how they ended by themselves.
    let recorded = read_records(entry).await;
    let told = match &program {
        Some(program) => binary::delete(program, bundle, &shared.options).await,
        None => Err(Error::Call(CallError::Closed)),
    };
    if let (Err(error), Some(_)) = (&told, &program) {
        let error = base::chain(error);
        tracing::warn!(id = bundle.id, error, "failed to clean up after shim disconnected");
    }
    remove(entry, leftovers).await;
    let exit = settle(entry, recorded.init.or(told.ok()));
    // While the task is there: late events of the shim are known for doubles by it.
    publish_recorded(runtime, entry, &recorded);
    shared.table.remove(entry);
    entry.set_exec_exits(recorded.execs);
    entry.set_exit(exit);
    publish_exit(runtime, entry, exit);
    publish_delete(runtime, entry, exit);
}

async fn read_records(entry: &Arc<Entry>) -> Recorded {
    let entry = entry.clone();
    let read = blocking("read exit records", move || Ok(entry.bundle.recorded()));
    read.await.unwrap_or_default()
}

/// Tells what the shim had written down and could not tell any more: execs that ended, a want of memory.
fn publish_recorded(runtime: &Runtime, entry: &Entry, recorded: &Recorded) {
    let container_id = &entry.bundle.id;
    for (exec_id, exit) in &recorded.execs {
        let event = exit_event(container_id, exec_id, *exit);
        send(runtime, entry, TASK_EXIT, pack(&event));
    }
    if recorded.oom && !entry.knows_oom() {
        let event = TaskOOM { container_id: container_id.clone(), ..TaskOOM::default() };
        send(runtime, entry, TASK_OOM, pack(&event));
    }
}

/// The one truth about the exit: what subscribers know already, else what the shim wrote down, else what its `delete`
/// said.
fn settle(entry: &Entry, told: Option<Exit>) -> Exit {
    let mut exit = entry.known_exit().or(told).unwrap_or(Exit {
        pid: entry.pid(),
        status: NOBODY_KNOWS,
        exited_at: None,
    });
    if exit.pid == 0 {
        exit.pid = entry.pid();
    }
    exit.exited_at.get_or_insert_with(SystemTime::now);
    exit
}

/// What the shim left: processes in the container's cgroup, processes in the bundle, mounts, directories.
async fn remove(entry: &Arc<Entry>, leftovers: Leftovers) {
    let entry = entry.clone();
    let removed = blocking("remove bundle", move || {
        leftovers.remove();
        kill_in_directory(&entry.bundle.path);
        // Processes that were just killed may hold mounts for a moment.
        let mut removed = entry.bundle.remove();
        for _ in 0..10 {
            if removed.is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
            removed = entry.bundle.remove();
        }
        removed
    });
    if let Err(error) = removed.await {
        let error = base::chain(&error);
        tracing::error!(error, "failed to delete bundle");
    }
}

/// Tells subscribers of the first process's end, unless they know.
pub(crate) fn publish_exit(runtime: &Runtime, entry: &Entry, exit: Exit) {
    let id = &entry.bundle.id;
    let event = exit_event(id, id, exit);
    send(runtime, entry, TASK_EXIT, pack(&event));
}

fn exit_event(container_id: &str, id: &str, exit: Exit) -> TaskExit {
    TaskExit {
        container_id: container_id.to_owned(),
        id: id.to_owned(),
        pid: exit.pid,
        exit_status: exit.status,
        exited_at: exit.exited_at.map(wire::timestamp).into(),
        ..TaskExit::default()
    }
}

/// Tells subscribers that the task is gone, unless they know.
pub(crate) fn publish_delete(runtime: &Runtime, entry: &Entry, exit: Exit) {
    let event = TaskDelete {
        container_id: entry.bundle.id.clone(),
        pid: exit.pid,
        exit_status: exit.status,
        exited_at: exit.exited_at.map(wire::timestamp).into(),
        ..TaskDelete::default()
    };
    send(runtime, entry, TASK_DELETE, pack(&event));
}

fn send(runtime: &Runtime, entry: &Entry, topic: &str, event: Result<WireAny, protobuf::Error>) {
    let exchange = &runtime.shared.exchange;
    let published =
        event.map(|event| exchange.publish(&entry.bundle.namespace, topic, wire::from_any(event)));
    if !matches!(published, Ok(Ok(()))) {
        tracing::error!(id = entry.bundle.id, topic, "event could not be published");
    }
}
