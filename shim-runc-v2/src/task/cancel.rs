//! A flag that can be waited for: set once, never taken back.

use std::sync::Arc;

use tokio::sync::watch;

/// See the module. Clones are the same flag.
#[derive(Clone, Debug)]
pub(crate) struct Cancel(Arc<watch::Sender<bool>>);

impl Cancel {
    /// Not set.
    pub(crate) fn new() -> Self {
        Cancel(Arc::new(watch::Sender::new(false)))
    }

    /// Sets it and wakes everyone who waits.
    pub(crate) fn cancel(&self) {
        self.0.send_replace(true);
    }

    /// Ends when it is set. Cancel-safe.
    pub(crate) async fn cancelled(&self) {
        // An error would mean that the sender is gone; we hold it.
        let _ = self.0.subscribe().wait_for(|set| *set).await;
    }
}

/// Ends when `cancel` is set; never without one. Cancel-safe.
pub(crate) async fn cancelled(cancel: Option<&Cancel>) {
    match cancel {
        Some(cancel) => cancel.cancelled().await,
        None => std::future::pending().await,
    }
}
