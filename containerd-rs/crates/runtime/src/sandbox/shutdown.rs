//! `shutdown`, and what is done without the shim when it cannot do it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base::{ErrorKind, Kinded, Namespace};
use protos::shim::sandbox::{ShutdownSandboxRequest, ShutdownSandboxResponse};

use super::{CLEANUP, Result, ShimSandboxer, call, death, failed};
use crate::binary;
use crate::entry::{Entry, Phase};
use crate::model::Exit;
use crate::rpc::CallError;
use crate::runtime::blocking;
use crate::shim::{Leftovers, Shim, kill_in_directory};

/// How long after a sandbox's end its own word about that may still be on its way.
const STRAGGLER: Duration = Duration::from_secs(1);
/// Exit status of a sandbox about whose end nobody could tell anything.
const NOBODY_KNOWS: u32 = 255;

impl ShimSandboxer {
    pub(super) async fn shutdown_sandbox(&self, namespace: &Namespace, id: &str) -> Result<()> {
        let (entry, shim) = self.live(namespace, id).await?;
        let this = self.clone();
        self.tracked(async move {
            let asked = ask(&entry, &shim, this.shared.options.timeouts.call).await;
            if let Err(e) = asked
                && e.kind() != ErrorKind::NotFound
                && !matches!(e, CallError::Closed)
            {
                return Err(failed("failed to shutdown sandbox".to_owned())(e));
            }
            if entry.advance(|phase| *phase == Phase::Live, Phase::Closing) {
                let down = this.hang_up(&shim).await;
                drop(shim);
                this.make_known(&entry).await;
                this.take_away(&entry, down).await;
            } else {
                // Another one is at it.
                let mut phase = entry.watch_phase();
                let limit = this.shared.options.timeouts.call;
                let _ = tokio::time::timeout(limit, phase.wait_for(|phase| *phase == Phase::Gone)).await;
            }
            Ok(())
        })
        .await
    }

    /// Takes back a sandbox that could not be made or started (the entry is in phase Closing).
    pub(super) async fn undo(&self, entry: &Arc<Entry>) {
        let mut down = false;
        if let Some(shim) = entry.shim() {
            if let Err(error) = ask(entry, &shim, CLEANUP).await {
                tracing::error!(id = entry.bundle.id, %error, "failed to shutdown sandbox");
            }
            down = self.hang_up(&shim).await;
        }
        self.take_away(entry, down).await;
    }

    /// Sees that a shim that was told to go does; says whether it went by itself.
    pub(super) async fn hang_up(&self, shim: &Arc<Shim>) -> bool {
        let conn = shim.client.conn();
        let limit = self.shared.options.timeouts.shutdown;
        let ended = tokio::time::timeout(limit, conn.closed()).await.is_ok();
        conn.close();
        if !ended && let Some(process) = shim.process.get() {
            tracing::warn!(pid = process.pid, "shim did not end, killing it");
            process.kill();
        }
        ended
    }

    /// A sandbox that ran has an exit, and everyone hears of it before it is gone.
    async fn make_known(&self, entry: &Arc<Entry>) {
        if entry.pid() != 0 && tokio::time::timeout(STRAGGLER, entry.ended()).await.is_err() {
            let exit = entry.known_exit().unwrap_or(Exit {
                pid: entry.pid(),
                status: NOBODY_KNOWS,
                exited_at: Some(SystemTime::now()),
            });
            death::told(self, entry, exit);
        }
    }

    /// Removes the bundle; the id is free afterwards. What a shim that is not `down` would have done is done without it.
    pub(super) async fn take_away(&self, entry: &Arc<Entry>, down: bool) {
        if !down {
            self.clean_up(entry).await;
        }
        let mine = entry.clone();
        let removed = blocking("remove bundle", move || {
            // Processes that were just killed may hold mounts for a moment.
            let mut removed = mine.bundle.remove();
            for _ in 0..10 {
                if removed.is_ok() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
                removed = mine.bundle.remove();
            }
            removed
        });
        if let Err(error) = removed.await {
            let error = base::chain(&error);
            tracing::error!(id = entry.bundle.id, error, "failed to delete bundle of a sandbox");
        }
        self.shared.table.remove(entry);
    }

    /// Kills what runs in the bundle, then has the shim's program clean up; what that tells of the end.
    pub(super) async fn clean_up(&self, entry: &Arc<Entry>) -> Option<Exit> {
        let mine = entry.clone();
        let killed = blocking("kill leaked shim", move || {
            let leftovers = Leftovers::find(&mine.bundle, mine.pid());
            kill_in_directory(&mine.bundle.path);
            Ok(leftovers)
        });
        let killed = killed.await;
        let told = match entry.bundle.shim_path() {
            Some(program) => binary::delete(&program, &entry.bundle, &self.shared.options).await.map(Some),
            None => Ok(None),
        };
        let told = told.unwrap_or_else(|error| {
            let error = base::chain(&error);
            tracing::warn!(id = entry.bundle.id, error, "failed to clean up after a sandbox");
            None
        });
        let removed = match killed {
            Ok(leftovers) => {
                blocking("remove leftovers", move || {
                    leftovers.remove();
                    Ok(())
                })
                .await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = removed {
            tracing::error!(error = base::chain(&error), "cleanup broke off");
        }
        told
    }
}

/// ShutdownSandbox.
pub(super) async fn ask(
    entry: &Arc<Entry>,
    shim: &Arc<Shim>,
    limit: Duration,
) -> std::result::Result<ShutdownSandboxResponse, CallError> {
    let request =
        ShutdownSandboxRequest { sandbox_id: entry.bundle.id.clone(), ..ShutdownSandboxRequest::default() };
    call(shim, "ShutdownSandbox", &request, limit).await
}
