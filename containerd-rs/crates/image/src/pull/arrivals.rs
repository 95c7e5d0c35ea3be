//! Which blobs are wanted and which have arrived: the seam between downloading and unpacking.
//!
//! ```text
//!  Waiting --demand--> (download) --> Flowing --> Here(true)
//!     '--------------------------------'--------> Here(false): it will not come
//! ```

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base::{Descriptor, Digest};
use tokio::sync::{mpsc, watch};

use super::flow::Flow;

/// How far a blob is.
#[derive(Clone)]
pub(crate) enum Stage {
    Waiting,
    /// It can be read while it arrives.
    Flowing(Arc<Flow>),
    /// It is in the store, or will not come.
    Here(bool),
}

struct Expected {
    stage: watch::Receiver<Stage>,
    demanded: AtomicBool,
}

/// Asks for blobs and waits for them. Clones share it.
#[derive(Clone)]
pub(crate) struct Arrivals {
    expected: Arc<HashMap<Digest, Expected>>,
    demands: Option<mpsc::Sender<Digest>>,
}

/// The promise to bring one blob; dropping it breaks the promise.
pub(crate) struct Ticket {
    pub(crate) descriptor: Descriptor,
    stage: watch::Sender<Stage>,
}

/// The blobs that can be demanded, and the demands.
pub(crate) struct Tickets {
    pub(crate) waiting: HashMap<Digest, Ticket>,
    /// Each blob at most once, and room for all.
    pub(crate) demands: mpsc::Receiver<Digest>,
}

impl Arrivals {
    /// Expects these blobs, once they are demanded.
    pub(crate) fn expect(blobs: &[Descriptor]) -> (Arrivals, Tickets) {
        let (mut expected, mut waiting) = (HashMap::new(), HashMap::new());
        for blob in blobs {
            let (stage, receiver) = watch::channel(Stage::Waiting);
            let one = Expected { stage: receiver, demanded: AtomicBool::new(false) };
            expected.insert(blob.digest.clone(), one);
            waiting.insert(blob.digest.clone(), Ticket { descriptor: blob.clone(), stage });
        }
        let (sender, demands) = mpsc::channel(blobs.len().max(1));
        (Arrivals { expected: Arc::new(expected), demands: Some(sender) }, Tickets { waiting, demands })
    }

    /// For content that is all in the store.
    pub(crate) fn all_here() -> Arrivals {
        Arrivals { expected: Arc::default(), demands: None }
    }

    /// Asks for a blob; asking again changes nothing.
    pub(crate) fn demand(&self, digest: &Digest) {
        let (Some(demands), Some(expected)) = (&self.demands, self.expected.get(digest)) else { return };
        if !expected.demanded.swap(true, Ordering::Relaxed) {
            // Nobody downloads any more: the ticket is gone as well, and whoever waits hears of it.
            let _ended = demands.try_send(digest.clone());
        }
    }

    /// Waits until the blob can be read while it arrives, is in the store, or will not come. A blob
    /// that nobody was asked to bring is taken to be there.
    pub(crate) async fn begun(&self, digest: &Digest) -> Stage {
        self.reached(digest, |stage| !matches!(stage, Stage::Waiting)).await
    }

    /// Waits until the blob is in the store; `false`: it will not come.
    pub(crate) async fn wait(&self, digest: &Digest) -> bool {
        matches!(self.reached(digest, |stage| matches!(stage, Stage::Here(_))).await, Stage::Here(true))
    }

    async fn reached(&self, digest: &Digest, enough: impl Fn(&Stage) -> bool) -> Stage {
        let Some(expected) = self.expected.get(digest) else { return Stage::Here(true) };
        let mut stage = expected.stage.clone();
        match stage.wait_for(enough).await {
            Ok(stage) => stage.clone(),
            Err(_broken_promise) => Stage::Here(false),
        }
    }
}

impl Ticket {
    /// The blob can be read while it arrives.
    pub(crate) fn flowing(&self, flow: Arc<Flow>) {
        self.stage.send_replace(Stage::Flowing(flow));
    }

    /// The blob is in the store, or will not come.
    pub(crate) fn settle(self, arrived: bool) {
        self.stage.send_replace(Stage::Here(arrived));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[tokio::test]
    async fn kept_and_broken_promises() {
        let blobs: Vec<_> = (0..3).map(|n| Descriptor::new("x", Digest::sha256(n.to_string()), 1)).collect();
        let (arrivals, mut tickets) = Arrivals::expect(&blobs);
        let waiting = {
            let (arrivals, digest) = (arrivals.clone(), blobs[0].digest.clone());
            tokio::spawn(async move { arrivals.wait(&digest).await })
        };
        tickets.waiting.remove(&blobs[0].digest).unwrap().settle(true);
        tickets.waiting.remove(&blobs[1].digest).unwrap().settle(false);
        drop(tickets);
        assert!(waiting.await.unwrap());
        assert!(arrivals.wait(&blobs[0].digest).await);
        assert!(!arrivals.wait(&blobs[1].digest).await);
        assert!(!arrivals.wait(&blobs[2].digest).await);
        assert!(arrivals.wait(&Digest::sha256("stranger")).await);
    }

    #[tokio::test]
    async fn each_blob_is_demanded_once() {
        let blobs: Vec<_> = (0..2).map(|n| Descriptor::new("x", Digest::sha256(n.to_string()), 1)).collect();
        let (arrivals, mut tickets) = Arrivals::expect(&blobs);
        for _ in 0..3 {
            arrivals.clone().demand(&blobs[1].digest);
        }
        arrivals.demand(&Digest::sha256("stranger"));
        drop(arrivals);
        assert_eq!(tickets.demands.recv().await, Some(blobs[1].digest.clone()));
        assert_eq!(tickets.demands.recv().await, None);
    }
}
