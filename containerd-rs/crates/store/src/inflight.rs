//! What is in the making: names that a backend may have already and no record has yet. Garbage
//! collection leaves them alone.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A set of names, each counted.
pub(crate) struct InFlight<K> {
    names: Arc<Mutex<HashMap<K, usize>>>,
}

impl<K> Default for InFlight<K> {
    fn default() -> Self {
        InFlight { names: Arc::default() }
    }
}

impl<K: Hash + Eq + Clone> InFlight<K> {
    fn lock(&self) -> MutexGuard<'_, HashMap<K, usize>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Protects the name until the guard goes.
    pub(crate) fn enter(&self, name: K) -> InFlightGuard<K> {
        *self.lock().entry(name.clone()).or_default() += 1;
        InFlightGuard { names: self.names.clone(), name }
    }

    /// Runs `act` if the name is not in the making; nobody can begin with it meanwhile. `act` must
    /// be quick.
    pub(crate) fn unless_entered<T>(&self, name: &K, act: impl FnOnce() -> T) -> Option<T> {
        let names = self.lock();
        (!names.contains_key(name)).then(act)
    }

    /// The names in the making now.
    pub(crate) fn names(&self) -> Vec<K> {
        self.lock().keys().cloned().collect()
    }
}

/// Holds a name in its [`InFlight`].
pub(crate) struct InFlightGuard<K: Hash + Eq> {
    names: Arc<Mutex<HashMap<K, usize>>>,
    name: K,
}

impl<K: Hash + Eq> Drop for InFlightGuard<K> {
    fn drop(&mut self) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = names.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                names.remove(&self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_name_is_protected_until_its_last_guard_goes() {
        let set = InFlight::<String>::default();
        let first = set.enter("a".into());
        let second = set.enter("a".into());
        assert_eq!(set.names(), ["a"]);
        drop(first);
        assert_eq!(set.unless_entered(&"a".to_owned(), || ()), None);
        drop(second);
        assert_eq!(set.unless_entered(&"a".to_owned(), || 7), Some(7));
        assert!(set.names().is_empty());
    }
}
