//! One listener's queue.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use base::filter::FilterSet;
use base::{ErrorKind, Kinded};
use futures_util::Stream;

use crate::envelope::{Envelope, Filterable};
use crate::exchange::Shared;

/// How many bytes of undelivered events one subscription may hold before it is cut off.
pub const QUEUE_BYTES: usize = 64 << 20;

/// The subscriber read too slowly: events were lost, the subscription is over. Subscribe again and ask for the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("subscriber fell behind, {missed} events lost")]
pub struct Lagged {
    /// How many events were not delivered.
    pub missed: u64,
}

impl Kinded for Lagged {
    fn kind(&self) -> ErrorKind {
        ErrorKind::ResourceExhausted
    }
}

/// The shared half of a subscription: publishers put in, the reader takes out.
pub(crate) struct Queue {
    filters: FilterSet,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Arc<Envelope>>,
    bytes: usize,
    missed: u64,
    reported: bool,
    waker: Option<Waker>,
}

impl Queue {
    pub(crate) fn new(filters: FilterSet) -> Self {
        Self { filters, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues the event when the filters want it; never waits.
    pub(crate) fn offer(&self, view: &Filterable<'_>, envelope: &Arc<Envelope>) {
        if !self.filters.matches(view) {
            return;
        }
        let waker = {
            let mut state = self.lock();
            let weight = envelope.weight();
            if state.missed > 0 || state.bytes + weight > QUEUE_BYTES {
                state.missed += 1 + state.waiting.len() as u64;
                state.waiting = VecDeque::new();
                state.bytes = 0;
            } else {
                state.bytes += weight;
                state.waiting.push_back(envelope.clone());
            }
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A stream of the events that passed the filters, in the order in which they were published.
///
/// Ends after [`Lagged`]; otherwise it never ends by itself. Dropping it unsubscribes.
pub struct Subscription {
    queue: Arc<Queue>,
    exchange: Weak<Shared>,
}

impl Subscription {
    pub(crate) fn new(queue: Arc<Queue>, exchange: Weak<Shared>) -> Self {
        Self { queue, exchange }
    }

    /// The next event; `None` once the subscription is over. Cancel-safe.
    ///
    /// # Errors
    /// [`Lagged`], once, when this reader was too slow.
    pub async fn recv(&mut self) -> Option<Result<Arc<Envelope>, Lagged>> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// The next event if one is waiting.
    pub fn try_recv(&mut self) -> Option<Arc<Envelope>> {
        let mut state = self.queue.lock();
        let next = state.waiting.pop_front()?;
        state.bytes -= next.weight();
        Some(next)
    }
}

impl Stream for Subscription {
    type Item = Result<Arc<Envelope>, Lagged>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut state = self.queue.lock();
        if state.missed > 0 {
            if state.reported {
                return Poll::Ready(None);
            }
            state.reported = true;
            let missed = state.missed;
            return Poll::Ready(Some(Err(Lagged { missed })));
        }
        if let Some(next) = state.waiting.pop_front() {
            state.bytes -= next.weight();
            return Poll::Ready(Some(Ok(next)));
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(exchange) = self.exchange.upgrade() {
            exchange.remove(&self.queue);
        }
    }
}
