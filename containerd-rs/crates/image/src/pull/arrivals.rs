//! Which blobs have arrived: the seam between downloading and unpacking.

use std::collections::HashMap;
use std::sync::Arc;

use base::{Descriptor, Digest};
use tokio::sync::watch;

/// Tells those who wait for blobs. Clones share it.
#[derive(Clone)]
pub(crate) struct Arrivals {
    expected: Arc<HashMap<Digest, watch::Receiver<Option<bool>>>>,
}

/// The promise to bring one blob; dropping it breaks the promise.
pub(crate) struct Ticket(watch::Sender<Option<bool>>);

impl Arrivals {
    /// Expects these blobs; one ticket each, in their order.
    pub(crate) fn expect(blobs: &[Descriptor]) -> (Arrivals, Vec<Ticket>) {
        let mut expected = HashMap::new();
        let mut tickets = Vec::with_capacity(blobs.len());
        for blob in blobs {
            let (sender, receiver) = watch::channel(None);
            expected.insert(blob.digest.clone(), receiver);
            tickets.push(Ticket(sender));
        }
        (Arrivals { expected: Arc::new(expected) }, tickets)
    }

    /// For content that is all in the store.
    pub(crate) fn all_here() -> Arrivals {
        Arrivals { expected: Arc::default() }
    }

    /// Waits until the blob is in the store; `false`: it will not come. A blob that nobody was asked
    /// to bring is taken to be there.
    pub(crate) async fn wait(&self, digest: &Digest) -> bool {
        let Some(receiver) = self.expected.get(digest) else { return true };
        let mut receiver = receiver.clone();
        let settled = receiver.wait_for(Option::is_some).await;
        settled.is_ok_and(|outcome| *outcome == Some(true))
    }
}

impl Ticket {
    /// The blob is in the store, or will not come.
    pub(crate) fn settle(self, arrived: bool) {
        self.0.send_replace(Some(arrived));
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
        tickets.remove(0).settle(true);
        tickets.remove(0).settle(false);
        drop(tickets);
        assert!(waiting.await.unwrap());
        assert!(arrivals.wait(&blobs[0].digest).await);
        assert!(!arrivals.wait(&blobs[1].digest).await);
        assert!(!arrivals.wait(&blobs[2].digest).await);
        assert!(arrivals.wait(&Digest::sha256("stranger")).await);
    }
}
