//! What happens once sockets are served: running shims are found again, each bundle on its own, and the restart monitor
//! begins. Nothing here holds up a request.

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

/// Begin. Returns at once.
pub(super) fn recover(built: &Built) -> Recovering {
    let stop = CancellationToken::new();
    let parts = std::sync::Arc::clone(&built.parts);
    let (interval, stopped) = (built.restart_interval, stop.clone());
    tokio::spawn(async move {
        let work = async {
            parts.runtime.recover().await;
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
