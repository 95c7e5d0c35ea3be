//! The hub: checks, gates, and hands each event to every subscription that wants it.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use base::filter::FilterSet;
use base::{Any, Namespace};

use crate::envelope::{Decoder, Envelope, Filterable};
use crate::error::Error;
use crate::subscription::{Queue, Subscription};

/// Decides, before anyone sees it, whether an event goes out at all.
///
/// The runtime uses it to keep "exactly one exit per process" when a shim and the daemon both report an exit.
/// Called on the publisher's thread with no lock held; it must not block.
pub trait Gate: Send + Sync {
    /// `false` drops the event; the publisher is told that all is well.
    fn admit(&self, envelope: &Envelope) -> bool;
}

/// The in-process broadcast of events. Clones share one exchange.
#[derive(Clone)]
pub struct Exchange {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    decoder: Decoder,
    gates: RwLock<Vec<Arc<dyn Gate>>>,
    queues: RwLock<Vec<Arc<Queue>>>,
}

impl Exchange {
    /// An exchange without subscribers; `decoder` serves `event.<field>` filters.
    pub fn new(decoder: Decoder) -> Self {
        Self { shared: Arc::new(Shared { decoder, gates: RwLock::default(), queues: RwLock::default() }) }
    }

    /// Adds a gate that every later event passes.
    pub fn add_gate(&self, gate: Arc<dyn Gate>) {
        self.shared.gates.write().unwrap_or_else(PoisonError::into_inner).push(gate);
    }

    /// Sends an event that this daemon caused; the time is now.
    ///
    /// # Errors
    /// The topic is malformed.
    pub fn publish(&self, namespace: &Namespace, topic: &str, event: Any) -> Result<(), Error> {
        check_topic(topic)?;
        self.broadcast(Envelope {
            timestamp: SystemTime::now(),
            namespace: namespace.as_str().to_owned(),
            topic: topic.to_owned(),
            event,
        });
        Ok(())
    }

    /// Sends an event that happened elsewhere, with its own time and namespace.
    ///
    /// # Errors
    /// The namespace or the topic is malformed, or the time is not set.
    pub fn forward(&self, envelope: Envelope) -> Result<(), Error> {
        if let Err(e) = base::validate_identifier(&envelope.namespace) {
            return Err(Error::Namespace {
                namespace: envelope.namespace,
                source: base::Error::invalid(e.to_string()),
            });
        }
        check_topic(&envelope.topic)?;
        if envelope.timestamp == SystemTime::UNIX_EPOCH || base::timestamp::is_zero(envelope.timestamp) {
            return Err(Error::Timestamp);
        }
        self.broadcast(envelope);
        Ok(())
    }

    /// Listens from now on to what passes `filters` (none: everything). Dropping the subscription ends it.
    pub fn subscribe(&self, filters: FilterSet) -> Subscription {
        let queue = Arc::new(Queue::new(filters));
        self.shared.queues.write().unwrap_or_else(PoisonError::into_inner).push(queue.clone());
        Subscription::new(queue, Arc::downgrade(&self.shared))
    }

    /// How many subscriptions there are now.
    pub fn subscribers(&self) -> usize {
        self.shared.queues.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn broadcast(&self, envelope: Envelope) {
        let gates = self.shared.gates.read().unwrap_or_else(PoisonError::into_inner).clone();
        if !gates.iter().all(|gate| gate.admit(&envelope)) {
            tracing::debug!(topic = envelope.topic, ns = envelope.namespace, "event dropped as a duplicate");
            return;
        }
        tracing::trace!(topic = envelope.topic, ns = envelope.namespace, "event published");
        let envelope = Arc::new(envelope);
        let queues = self.shared.queues.read().unwrap_or_else(PoisonError::into_inner);
        let view = Filterable { envelope: &envelope, decoder: &self.shared.decoder };
        for queue in queues.iter() {
            queue.offer(&view, &envelope);
        }
    }
}

impl Shared {
    /// Forgets the queue of a subscription that ended.
    pub(crate) fn remove(&self, queue: &Arc<Queue>) {
        self.queues
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|known| !Arc::ptr_eq(known, queue));
    }
}

fn check_topic(topic: &str) -> Result<(), Error> {
    base::topic::validate_topic(topic)
        .map_err(|e| Error::Topic { topic: topic.to_owned(), source: base::Error::invalid(base::chain(&e)) })
}
