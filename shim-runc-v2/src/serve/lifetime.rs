//! When the shim leaves: asked to, or because nobody needs it any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// A shim without containers and without clients waits so long for either.
const GRACE: Duration = Duration::from_secs(10);

/// See the module. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Lifetime(Arc<Shared>);

#[derive(Default)]
struct Shared {
    connections: AtomicUsize,
    holds: AtomicUsize,
    leaving: AtomicBool,
    changed: Notify,
}

impl Lifetime {
    /// Shutdown was called, or a signal came.
    pub(crate) fn asked_to_leave(&self) {
        self.0.leaving.store(true, Ordering::Relaxed);
        self.changed();
    }

    /// Whether somebody asked.
    pub(crate) fn was_asked(&self) -> bool {
        self.0.leaving.load(Ordering::Relaxed)
    }

    /// A container went, or something else that may end us.
    pub(crate) fn changed(&self) {
        self.0.changed.notify_waiters();
    }

    /// Counts a client for as long as the answer lives.
    pub(crate) fn connected(&self) -> Connected {
        self.0.connections.fetch_add(1, Ordering::Relaxed);
        self.changed();
        Connected(self.clone())
    }

    /// Clients that are connected.
    pub(crate) fn connections(&self) -> usize {
        self.0.connections.load(Ordering::Relaxed)
    }

    /// Keeps the shim, as a container would, for as long as the answer lives.
    pub(crate) fn hold(&self) -> Held {
        self.0.holds.fetch_add(1, Ordering::Relaxed);
        self.changed();
        Held(self.clone())
    }

    /// Whether something other than a container keeps the shim.
    pub(crate) fn is_held(&self) -> bool {
        self.0.holds.load(Ordering::Relaxed) > 0
    }

    /// Ends when `done` holds, which is looked at after each change.
    pub(crate) async fn until(&self, done: impl Fn() -> bool) {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if done() {
                return;
            }
            changed.await;
        }
    }

    /// Ends when it is time to leave. `containers` counts those that are there.
    pub(crate) async fn over(&self, containers: impl Fn() -> usize) {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.was_asked() {
                return;
            }
            if containers() > 0 || self.is_held() || self.connections() > 0 {
                changed.await;
            } else if tokio::time::timeout(GRACE, changed).await.is_err() {
                return;
            }
        }
    }
}

/// One client.
pub(crate) struct Connected(Lifetime);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.0.connections.fetch_sub(1, Ordering::Relaxed);
        self.0.changed();
    }
}

/// A reason to stay.
pub(crate) struct Held(Lifetime);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.0.holds.fetch_sub(1, Ordering::Relaxed);
        self.0.changed();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[tokio::test(flavor = "current_thread", start_paused = true)]
    async fn leaves_after_the_grace_and_not_before() {
        let lifetime = Lifetime::default();
        let containers = Arc::new(AtomicUsize::new(1));
        let (l, c) = (lifetime.clone(), containers.clone());
        let over = tokio::spawn(async move { l.over(|| c.load(Ordering::Relaxed)).await });
        tokio::time::sleep(GRACE * 3).await;
        assert!(!over.is_finished(), "a container holds it");
        let client = lifetime.connected();
        containers.store(0, Ordering::Relaxed);
        lifetime.changed();
        tokio::time::sleep(GRACE * 3).await;
        assert!(!over.is_finished(), "a client holds it");
        drop(client);
        tokio::time::sleep(GRACE / 2).await;
        drop(lifetime.connected());
        tokio::time::sleep(GRACE - Duration::from_millis(1)).await;
        assert!(!over.is_finished(), "the grace begins anew");
        tokio::time::timeout(GRACE, over).await.unwrap().unwrap();
    }

    #[tokio::test(flavor = "current_thread", start_paused = true)]
    async fn a_sandbox_keeps_it() {
        let lifetime = Lifetime::default();
        let held = lifetime.hold();
        let l = lifetime.clone();
        let over = tokio::spawn(async move { l.over(|| 0).await });
        tokio::time::sleep(GRACE * 3).await;
        assert!(!over.is_finished() && lifetime.is_held());
        drop(held);
        tokio::time::timeout(GRACE * 2, over).await.unwrap().unwrap();
    }

    #[tokio::test(flavor = "current_thread", start_paused = true)]
    async fn leaves_when_asked() {
        let lifetime = Lifetime::default();
        let _client = lifetime.connected();
        let l = lifetime.clone();
        let over = tokio::spawn(async move { l.over(|| 1).await });
        tokio::task::yield_now().await;
        lifetime.asked_to_leave();
        tokio::time::timeout(Duration::from_millis(1), over).await.unwrap().unwrap();
    }
}
