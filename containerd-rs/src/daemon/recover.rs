//! Running shims are found again, each bundle on its own, beside the requests that are served already; then the restart
//! monitor begins. Nothing here holds up a request.

use std::sync::Arc;

use anyhow::Context;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::build::Built;

/// The background work of a running daemon.
pub(super) struct Recovering {
    stop: CancellationToken,
}

impl Recovering {
    /// No more background work; containers are not touched.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }
}

/// Find the bundles that an earlier daemon left; from here on each is known, and taken over in the background.
pub(super) async fn find(built: &Built) -> anyhow::Result<JoinHandle<runtime::Recovered>> {
    built.parts.runtime.recover().await.context("find the tasks of an earlier run")
}

/// Report how the take-over went, then watch over the containers that want to be restarted. Returns at once.
pub(super) fn recover(built: &Built, found: JoinHandle<runtime::Recovered>) -> Recovering {
    let stop = CancellationToken::new();
    let (parts, interval, stopped) = (Arc::clone(&built.parts), built.restart_interval, stop.clone());
    tokio::spawn(async move {
        let work = async {
            match found.await {
                Ok(r) => tracing::info!(adopted = r.adopted, dead = r.dead, aside = r.aside, removed = r.removed, "tasks recovered"),
                Err(error) => tracing::error!(error = base::chain(&error), "recovery of tasks failed"),
            }
            if let Some(interval) = interval {
                services::restart(parts, interval).await;
            }
        };
        tokio::select! {
            () = stopped.cancelled() => {}
            () = work => {}
        }
    });
    Recovering { stop }
}
