//! One download per blob in this process, however many pulls want it.
//!
//! The others wait, and may read behind the one that downloads. When that one is given up, the next
//! goes on where it stopped, with its own credentials and under its own lease; when nobody waits any
//! more, nothing is downloaded.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use base::Digest;
use store::ContentStore;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::flow::Flow;

/// A store (by its address) and a blob.
type Key = (usize, Digest);

/// The downloads of this process. One that nobody has or waits for leaves nothing but a dead entry,
/// which the next one removes.
static FLIGHTS: Mutex<Option<HashMap<Key, Weak<Flight>>>> = Mutex::new(None);

/// The download of one blob.
pub(crate) struct Flight {
    turn: Arc<Semaphore>,
    flow: watch::Sender<Option<Arc<Flow>>>,
}

/// The right to download; given back when dropped.
pub(crate) struct Turn {
    flight: Arc<Flight>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Flight {
    /// The flight of a blob into a store.
    pub(crate) fn join(content: &Arc<dyn ContentStore>, digest: &Digest) -> Arc<Flight> {
        let key = (Arc::as_ptr(content).cast::<()>().addr(), digest.clone());
        let mut flights = FLIGHTS.lock().unwrap_or_else(PoisonError::into_inner);
        let flights = flights.get_or_insert_default();
        if let Some(known) = flights.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        flights.retain(|_, flight| flight.strong_count() > 0);
        let new = Arc::new(Flight { turn: Arc::new(Semaphore::new(1)), flow: watch::Sender::new(None) });
        flights.insert(key, Arc::downgrade(&new));
        new
    }

    /// Waits for the turn to download; meanwhile `tell` hears what can be read behind others.
    pub(crate) async fn turn(self: &Arc<Self>, tell: impl Fn(Arc<Flow>)) -> Turn {
        let mut flows = self.flow.subscribe();
        let mut permit = std::pin::pin!(self.turn.clone().acquire_owned());
        loop {
            let now = flows.borrow_and_update().clone();
            if let Some(flow) = now {
                tell(flow);
            }
            tokio::select! {
                biased;
                // The semaphore is never closed.
                permit = &mut permit => return Turn { flight: Arc::clone(self), _permit: permit.ok() },
                _changed = flows.changed() => {}
            }
        }
    }
}

impl Turn {
    /// Others may read behind us.
    pub(crate) fn publish(&self, flow: Arc<Flow>) {
        self.flight.flow.send_replace(Some(flow));
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.flight.flow.send_replace(None);
    }
}
