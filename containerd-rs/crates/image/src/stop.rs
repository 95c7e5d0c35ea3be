//! Tells the parts of one transfer to stop, so that each can clean up.

use std::sync::Arc;

use tokio::sync::watch;

/// A flag that is raised once. Clones share it.
#[derive(Clone)]
pub(crate) struct Stop(Arc<watch::Sender<bool>>);

impl Stop {
    pub(crate) fn new() -> Stop {
        Stop(Arc::new(watch::Sender::new(false)))
    }

    /// Everybody stops.
    pub(crate) fn raise(&self) {
        self.0.send_replace(true);
    }

    /// Waits until it is raised.
    pub(crate) async fn raised(&self) {
        // The sender lives as long as this.
        let mut flag = self.0.subscribe();
        let _raised = flag.wait_for(|raised| *raised).await;
    }
}
