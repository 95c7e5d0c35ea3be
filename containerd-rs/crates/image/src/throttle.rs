//! How much all transfers of a daemon do at the same time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Downloads at a time when nobody says.
pub const DEFAULT_DOWNLOADS: usize = 3;
/// Layers unpacked at a time when nobody says, on a machine with many CPUs.
const MOST_UNPACKS: usize = 4;
/// Connections to one registry at a time, however many there may be in all.
const PER_REGISTRY: usize = 16;
/// Bytes of one range of a layer when nobody says.
const DEFAULT_RANGE: u64 = 8 << 20;
/// Bytes per second of one connection from which more of them gain nothing, when nobody says.
const DEFAULT_FAST: u64 = 128 << 20;
/// Least bytes of a range that a configuration can ask for; the original's number.
const LEAST_RANGE: u64 = 512;
/// Most bytes of a range: each is held in memory.
const MOST_RANGE: u64 = 32 << 20;

/// What is configured; 0 stands for "choose yourself" everywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThrottleOptions {
    /// Connections that download blobs, over all pulls.
    pub downloads: usize,
    /// Layers that are unpacked, over all pulls; 1: layers of an image one after the other.
    pub unpacks: usize,
    /// Bytes of one range when a big layer is fetched over several connections. Less than 512, other
    /// than 0, means that it never is.
    pub range: u64,
    /// Bytes per second of one connection from which more of them gain nothing.
    pub fast: u64,
}

/// Limits that pulls share. Clones are the same limits.
#[derive(Clone)]
pub struct Throttle {
    inner: Arc<Inner>,
}

struct Inner {
    downloads: Arc<Semaphore>,
    registries: Mutex<HashMap<String, Weak<Semaphore>>>,
    unpacks: Arc<Semaphore>,
    follows: Arc<Semaphore>,
    apart: bool,
    range: Option<u64>,
    fast: u64,
}

/// The right to one connection.
pub(crate) struct Connection {
    _registry: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl Default for Throttle {
    fn default() -> Throttle {
        Throttle::new(ThrottleOptions::default())
    }
}

impl Throttle {
    /// Limits as configured.
    pub fn new(options: ThrottleOptions) -> Throttle {
        let cpus = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let chosen = |n: usize, default: usize| if n == 0 { default } else { n };
        let unpacks = chosen(options.unpacks, cpus.clamp(2, MOST_UNPACKS));
        let range = match options.range {
            0 => Some(DEFAULT_RANGE),
            n if n < LEAST_RANGE => None,
            n => Some(n.min(MOST_RANGE)),
        };
        Throttle {
            inner: Arc::new(Inner {
                downloads: semaphore(chosen(options.downloads, DEFAULT_DOWNLOADS)),
                registries: Mutex::default(),
                unpacks: semaphore(unpacks),
                follows: semaphore(unpacks),
                apart: unpacks > 1,
                range,
                fast: if options.fast == 0 { DEFAULT_FAST } else { options.fast },
            }),
        }
    }

    /// Waits for a connection to `registry`.
    pub(crate) async fn connection(&self, registry: &str) -> Option<Connection> {
        let own = self.registry(registry);
        // The registry's first: who waits for a busy one keeps nobody from another. Neither is closed.
        let registry = own.acquire_owned().await.ok()?;
        let all = self.inner.downloads.clone().acquire_owned().await.ok()?;
        Some(Connection { _registry: registry, _all: all })
    }

    /// One more connection to `registry`, if there is one to spare.
    pub(crate) fn spare_connection(&self, registry: &str) -> Option<Connection> {
        let registry = self.registry(registry).try_acquire_owned().ok()?;
        let all = self.inner.downloads.clone().try_acquire_owned().ok()?;
        Some(Connection { _registry: registry, _all: all })
    }

    fn registry(&self, name: &str) -> Arc<Semaphore> {
        let mut registries = self.inner.registries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = registries.get(name).and_then(Weak::upgrade) {
            return known;
        }
        registries.retain(|_, semaphore| semaphore.strong_count() > 0);
        let new = semaphore(PER_REGISTRY);
        registries.insert(name.to_owned(), Arc::downgrade(&new));
        new
    }

    /// Waits for the right to unpack a layer that is all there.
    pub(crate) async fn unpack(&self) -> Option<OwnedSemaphorePermit> {
        self.inner.unpacks.clone().acquire_owned().await.ok()
    }

    /// The right to unpack a layer while it arrives. It has a limit of its own: a layer that arrives
    /// slowly shall not keep those from being unpacked that are there.
    pub(crate) fn follow(&self) -> Option<OwnedSemaphorePermit> {
        self.inner.follows.clone().try_acquire_owned().ok()
    }

    /// Whether layers of one image may be unpacked at the same time.
    pub(crate) fn is_apart(&self) -> bool {
        self.inner.apart
    }

    /// Bytes of a range; `None`: layers are fetched in one piece.
    pub(crate) fn range(&self) -> Option<u64> {
        self.inner.range
    }

    /// Whether so many bytes in such a time are all that can be had.
    pub(crate) fn is_fast(&self, bytes: u64, took: Duration) -> bool {
        bytes as f64 >= self.inner.fast as f64 * took.as_secs_f64()
    }
}

fn semaphore(permits: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[tokio::test]
    async fn limits_hold_over_all_who_share_them() {
        let throttle = Throttle::new(ThrottleOptions { downloads: 2, ..ThrottleOptions::default() });
        let other = throttle.clone();
        let first = throttle.connection("a").await.unwrap();
        let _second = other.connection("b").await.unwrap();
        assert!(throttle.spare_connection("c").is_none());
        drop(first);
        assert!(other.spare_connection("a").is_some());
    }

    #[tokio::test]
    async fn one_registry_does_not_get_all() {
        let throttle = Throttle::new(ThrottleOptions { downloads: 100, ..ThrottleOptions::default() });
        let held: Vec<_> = std::iter::from_fn(|| throttle.spare_connection("a")).collect();
        assert_eq!(held.len(), PER_REGISTRY);
        assert!(throttle.spare_connection("b").is_some());
        drop(held);
        assert!(throttle.connection("a").await.is_some());
    }

    #[test]
    fn what_the_numbers_mean() {
        let made = |unpacks, range| {
            let throttle = Throttle::new(ThrottleOptions { unpacks, range, ..ThrottleOptions::default() });
            (throttle.is_apart(), throttle.range())
        };
        assert_eq!(made(0, 0), (true, Some(DEFAULT_RANGE)));
        assert_eq!(made(1, 511), (false, None));
        assert_eq!(made(2, 512), (true, Some(512)));
        assert_eq!(made(9, u64::MAX), (true, Some(MOST_RANGE)));
    }
}
