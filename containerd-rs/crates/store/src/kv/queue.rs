//! The bounded queue in front of the writer thread.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::writer::Work;
use crate::error::{Error, Result};

/// Most changes that wait; more callers wait for a place.
const CAPACITY: usize = 1024;
/// Most changes in one commit.
const BATCH: usize = 256;

pub(super) struct Queue {
    places: Semaphore,
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Box<dyn Work>>,
    closed: bool,
}

/// What the writer thread has to do next.
pub(super) enum Next {
    Batch(Vec<Box<dyn Work>>),
    Idle,
    Closed,
}

impl Queue {
    pub(super) fn new() -> Self {
        Queue { places: Semaphore::new(CAPACITY), state: Mutex::default(), wake: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a place, then queues.
    pub(super) async fn push(&self, work: Box<dyn Work>) -> Result<()> {
        let place = self.places.acquire().await.map_err(|_| Error::Closed)?;
        {
            let mut state = self.state();
            if state.closed {
                return Err(Error::Closed);
            }
            state.waiting.push_back(work);
        }
        place.forget();
        self.wake.notify_one();
        Ok(())
    }

    /// Everything that waits (up to a batch); waits at most `patience` for the first.
    pub(super) fn take(&self, patience: Duration) -> Next {
        let guard = self.state();
        let quiet = |s: &mut State| s.waiting.is_empty() && !s.closed;
        let (mut state, _) =
            self.wake.wait_timeout_while(guard, patience, quiet).unwrap_or_else(PoisonError::into_inner);
        if state.waiting.is_empty() {
            return if state.closed { Next::Closed } else { Next::Idle };
        }
        let n = state.waiting.len().min(BATCH);
        let batch = state.waiting.drain(..n).collect();
        drop(state);
        self.places.add_permits(n);
        Next::Batch(batch)
    }

    /// No more is taken in; what waits is still done.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.places.close();
        self.wake.notify_all();
    }
}
