//! What follows when a sandbox ends, or its shim dies.

use std::sync::Arc;
use std::time::SystemTime;

use protos::shim::any::pack;
use protos::shim::events::SandboxExit;

use super::ShimSandboxer;
use crate::entry::{Entry, Phase};
use crate::error::Error;
use crate::model::Exit;
use crate::rpc::CallError;
use crate::shim::{Shim, ShimProcess};
use crate::wire;

const SANDBOX_EXIT: &str = "/sandboxes/exit";
/// Exit status of a sandbox about whose end nobody could tell anything.
const NOBODY_KNOWS: u32 = 255;
/// Attempts to reach a shim again before it counts as dead.
const ATTEMPTS: u32 = 3;

/// The sandbox has ended: everyone who waits is told, and subscribers are, once.
pub(super) fn told(this: &ShimSandboxer, entry: &Entry, exit: Exit) {
    entry.set_exit(exit);
    if !entry.admit_exit(exit) {
        return;
    }
    entry.bundle.write_told(&exit);
    let event = SandboxExit {
        sandbox_id: entry.bundle.id.clone(),
        exit_status: exit.status,
        exited_at: exit.exited_at.map(wire::timestamp).into(),
        ..SandboxExit::default()
    };
    let exchange = &this.shared.runtime.shared.exchange;
    let published = pack(&event)
        .map(|event| exchange.publish(&entry.bundle.namespace, SANDBOX_EXIT, wire::from_any(event)));
    if !matches!(published, Ok(Ok(()))) {
        tracing::error!(id = entry.bundle.id, "the end of a sandbox could not be published");
    }
}

/// Waits, in a task of its own, for the connection to end, and sees to it then.
pub(super) fn watch(this: &ShimSandboxer, entry: &Arc<Entry>, shim: &Arc<Shim>) {
    let (this, entry) = (this.clone(), entry.clone());
    let conn = shim.client.conn().clone();
    let shim = Arc::downgrade(shim);
    tokio::spawn(async move {
        conn.closed().await;
        if let Some(shim) = shim.upgrade() {
            let work = this.clone();
            this.shared.runtime.shared.tasks.spawn(async move { disconnected(&work, &entry, shim).await });
        }
    });
}

async fn disconnected(this: &ShimSandboxer, entry: &Arc<Entry>, shim: Arc<Shim>) {
    let current = entry.shim().is_some_and(|now| Arc::ptr_eq(&now, &shim));
    if !current || entry.phase() != Phase::Live {
        return;
    }
    tracing::info!(id = entry.bundle.id, namespace = %entry.bundle.namespace, "shim of a sandbox disconnected");
    if entry.may_reconnect()
        && let Some(again) = reconnect(this, entry, &shim).await
    {
        entry.set_shim(Some(again.clone()));
        watch(this, entry, &again);
        this.follow(entry, &again);
        return;
    }
    if let Some(process) = shim.process.get()
        && !process.has_exited()
    {
        tracing::warn!(id = entry.bundle.id, pid = process.pid, "shim does not answer any more, killing it");
        process.kill();
    }
    drop(shim);
    if entry.advance(|phase| *phase == Phase::Live, Phase::Dead) {
        bury(this, entry).await;
    }
}

async fn reconnect(this: &ShimSandboxer, entry: &Arc<Entry>, old: &Shim) -> Option<Arc<Shim>> {
    let options = &this.shared.options;
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
            // Taken in by a socket whose owner is just ending.
            Err(CallError::Closed) => {}
            Err(CallError::Timeout { .. }) => return None,
            // Whatever it says of a task of that name, it is there.
            Ok(_) | Err(_) => return Some(new),
        }
    }
    None
}

/// Cleans up after a dead shim (the sandbox is in phase Dead and stays invisible), then tells everyone.
pub(super) async fn bury(this: &ShimSandboxer, entry: &Arc<Entry>) {
    entry.set_shim(None);
    let recorded = this.clean_up(entry).await;
    let mut exit = entry.known_exit().or(recorded).unwrap_or(Exit {
        pid: entry.pid(),
        status: NOBODY_KNOWS,
        exited_at: None,
    });
    exit.exited_at.get_or_insert_with(SystemTime::now);
    this.take_away(entry, true).await;
    told(this, entry, exit);
}
