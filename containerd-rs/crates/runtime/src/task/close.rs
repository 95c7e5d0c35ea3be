//! The end of a task's shim and bundle, once its container is deleted.

use std::sync::Arc;

use protobuf::well_known_types::empty::Empty;
use protos::shim::task_v3::ShutdownRequest;

use crate::binary;
use crate::entry::Entry;
use crate::rpc::CallError;
use crate::runtime::{Runtime, blocking};
use crate::shim::{Leftovers, Shim, kill_in_directory};

/// Asks the shim to end, sees that it does, and hangs up. A shim that serves other tasks stays; a sandbox's shim is
/// not asked. `false`: it did not end in time (and was killed if that was possible).
pub(crate) async fn shut_down(runtime: &Runtime, entry: &Arc<Entry>, shim: &Arc<Shim>) -> bool {
    let conn = shim.client.conn();
    if shim.joined {
        conn.close();
        return true;
    }
    let limit = runtime.shared.options.timeouts.shutdown;
    let request = ShutdownRequest { id: entry.bundle.id.clone(), ..ShutdownRequest::default() };
    let asked: Result<Empty, CallError> = shim.client.call("Shutdown", &request, limit).await;
    let shared = runtime.shared.table.shares_shim(entry, &shim.answer.address);
    let ended = match asked {
        Err(CallError::Closed) => true,
        _ if shared => true,
        Ok(_) => tokio::time::timeout(limit, conn.closed()).await.is_ok(),
        Err(error) => {
            let id = &entry.bundle.id;
            tracing::error!(id, %error, "failed to shutdown shim task and the shim might be leaked");
            false
        }
    };
    conn.close();
    if !ended && let Some(process) = shim.process.get() {
        tracing::warn!(id = entry.bundle.id, pid = process.pid, "shim did not end, killing it");
        process.kill();
    }
    ended
}

/// Kills what runs in the bundle (a shim, its `start`, a runtime half-way through a create), then has the shim's
/// program clean up after them.
pub(crate) async fn clean_up(runtime: &Runtime, entry: &Arc<Entry>) {
    let mine = entry.clone();
    let killed = blocking("kill leaked shim", move || {
        let leftovers = Leftovers::find(&mine.bundle, mine.pid());
        kill_in_directory(&mine.bundle.path);
        Ok(leftovers)
    });
    let killed = killed.await;
    if let Some(program) = entry.bundle.shim_path()
        && let Err(error) = binary::delete(&program, &entry.bundle, &runtime.shared.options).await
    {
        let error = base::chain(&error);
        tracing::warn!(id = entry.bundle.id, error, "failed to clean up a leaked shim");
    }
    let removed = match killed {
        Ok(leftovers) => {
            let remove = move || {
                leftovers.remove();
                Ok(())
            };
            blocking("remove leftovers", remove).await
        }
        Err(error) => Err(error),
    };
    if let Err(error) = removed {
        tracing::error!(error = base::chain(&error), "cleanup broke off");
    }
}

/// Removes the bundle, the mounts below it, and the task's record; the id is free afterwards.
pub(crate) async fn take_away(runtime: &Runtime, entry: &Arc<Entry>) {
    let mine = entry.clone();
    let removed = blocking("remove bundle", move || mine.bundle.remove());
    if let Err(error) = removed.await {
        let error = base::chain(&error);
        tracing::error!(id = entry.bundle.id, error, "failed to delete bundle");
    }
    runtime.deactivate_rootfs(entry).await;
    runtime.shared.table.remove(entry);
}
