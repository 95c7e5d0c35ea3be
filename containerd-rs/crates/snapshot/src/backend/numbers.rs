//! The numbers of snapshots, and which of them something is being done with.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Gives out numbers and knows which of them no cleanup may touch, whatever the records say.
#[derive(Clone)]
pub(crate) struct Numbers {
    state: Arc<Mutex<State>>,
}

struct State {
    last: u64,
    unrecorded: HashSet<u64>,
    committing: HashSet<u64>,
}

/// A number that something is being done with: what it names is safe from cleanup while this lives.
pub(crate) struct Number {
    id: u64,
    committing: bool,
    numbers: Numbers,
}

impl Number {
    pub(crate) fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        let mut state = self.numbers.lock();
        if self.committing {
            state.committing.remove(&self.id);
        } else {
            state.unrecorded.remove(&self.id);
        }
    }
}

impl Numbers {
    /// Numbers above `last`.
    pub(super) fn after(last: u64) -> Self {
        let state = State { last, unrecorded: HashSet::new(), committing: HashSet::new() };
        Numbers { state: Arc::new(Mutex::new(state)) }
    }

    /// Numbers up to `last` are not given out.
    pub(crate) fn skip(&self, last: u64) {
        let mut state = self.lock();
        state.last = state.last.max(last);
    }

    /// The next number; its record is still to be written.
    pub(super) fn take(&self) -> Number {
        let mut state = self.lock();
        state.last += 1;
        let id = state.last;
        state.unrecorded.insert(id);
        Number { id, committing: false, numbers: self.clone() }
    }

    /// Sets a recorded number aside for a commit; none when another commit of it is under way.
    pub(super) fn commit(&self, id: u64) -> Option<Number> {
        let fresh = self.lock().committing.insert(id);
        fresh.then(|| Number { id, committing: true, numbers: self.clone() })
    }

    /// Those that something is being done with.
    pub(super) fn under_way(&self) -> HashSet<u64> {
        let state = self.lock();
        state.unrecorded.union(&state.committing).copied().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_new_and_one_commit_goes_at_a_time() {
        let numbers = Numbers::after(3);
        let first = numbers.take();
        assert_eq!(first.id(), 4);
        numbers.skip(9);
        numbers.skip(2);
        assert_eq!(numbers.take().id(), 10);
        let commit = numbers.commit(4);
        assert!(commit.is_some() && numbers.commit(4).is_none());
        drop(first);
        assert_eq!(numbers.under_way(), HashSet::from([4]));
        drop(commit);
        assert!(numbers.under_way().is_empty() && numbers.commit(4).is_some());
    }
}
