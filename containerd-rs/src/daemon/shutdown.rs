//! Going down: stop listening, let answers that are under way end, close the store. Shims and containers stay.

use std::time::Duration;

use super::build::Built;
use super::recover::Recovering;
use super::serve::Serving;

/// How long answers that are under way may take. Streams (events, waits) are cut then.
const GRACE: Duration = Duration::from_secs(1);

/// Stop everything that [`super::serve`] and [`super::recover`] started.
pub(super) async fn shutdown(serving: Serving, recovering: Recovering, built: Built) {
    let Serving { stop, tasks, sockets, ttrpc } = serving;
    recovering.stop();
    stop.cancel();
    tasks.close();
    if let Some(mut server) = ttrpc
        && tokio::time::timeout(GRACE, server.shutdown()).await.is_err()
    {
        tracing::warn!("the ttrpc server did not stop within {GRACE:?}");
    }
    if tokio::time::timeout(GRACE, tasks.wait()).await.is_err() {
        tracing::debug!("requests were still open after {GRACE:?}");
    }
    if !built.parts.runtime.drain(GRACE).await {
        tracing::warn!("tasks were still being made or removed after {GRACE:?}");
    }
    for path in sockets {
        if let Err(error) = std::fs::remove_file(&path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), error = base::chain(&error), "cannot remove the socket");
        }
    }
    drop(built);
    tracing::info!("stopped");
}
