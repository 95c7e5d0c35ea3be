//! All tasks, by namespace and id, and what was told about those that are gone.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::Namespace;
use protos::shim::events::TaskExit;

use crate::bundle::Bundle;
use crate::entry::{Entry, Phase};

/// Tasks that are gone and whose late events are still recognised.
const REMEMBERED: usize = 512;

/// The tasks of this daemon. Never locked across a wait.
#[derive(Default)]
pub(crate) struct Table {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tasks: HashMap<Namespace, HashMap<String, Arc<Entry>>>,
    departed: VecDeque<Arc<Entry>>,
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a task in `phase`, or gives back the one that has its place.
    pub(crate) fn reserve(&self, bundle: Bundle, phase: Phase) -> Result<Arc<Entry>, Arc<Entry>> {
        let mut state = self.lock();
        let tasks = state.tasks.entry(bundle.namespace.clone()).or_default();
        if let Some(taken) = tasks.get(&bundle.id) {
            return Err(taken.clone());
        }
        let entry = Arc::new(Entry::new(bundle, phase));
        tasks.insert(entry.bundle.id.clone(), entry.clone());
        Ok(entry)
    }

    pub(crate) fn get(&self, namespace: &Namespace, id: &str) -> Option<Arc<Entry>> {
        self.lock().tasks.get(namespace)?.get(id).cloned()
    }

    /// The tasks of a namespace, or all.
    pub(crate) fn list(&self, namespace: Option<&Namespace>) -> Vec<Arc<Entry>> {
        let state = self.lock();
        let wanted = state.tasks.iter().filter(|(ns, _)| namespace.is_none_or(|wanted| wanted == *ns));
        wanted.flat_map(|(_, tasks)| tasks.values().cloned()).collect()
    }

    /// Takes a task out, in phase Gone from now on; late events about it are still recognised.
    pub(crate) fn remove(&self, entry: &Arc<Entry>) {
        entry.set_shim(None);
        {
            let mut state = self.lock();
            let Bundle { namespace, id, .. } = &entry.bundle;
            if let Some(tasks) = state.tasks.get_mut(namespace)
                && tasks.get(id).is_some_and(|known| Arc::ptr_eq(known, entry))
            {
                tasks.remove(id);
                if tasks.is_empty() {
                    state.tasks.remove(namespace);
                }
                if state.departed.len() == REMEMBERED {
                    state.departed.pop_front();
                }
                state.departed.push_back(entry.clone());
            }
        }
        entry.advance(|_| true, Phase::Gone);
    }

    /// The task that an event about `pid` is about: the present one, or one that is gone. A pid tells generations of
    /// the same id apart; 0 stands for "not known".
    pub(crate) fn subject(&self, namespace: &str, id: &str, pid: u32) -> Option<Arc<Entry>> {
        let state = self.lock();
        let present = state.tasks.get(namespace).and_then(|tasks| tasks.get(id));
        if present.is_some_and(|entry| pid != 0 && entry.pid() == pid) {
            return present.cloned();
        }
        let same = |e: &&Arc<Entry>| e.bundle.id == id && e.bundle.namespace.as_str() == namespace;
        let gone = state.departed.iter().rev().filter(same).find(|e| pid != 0 && e.pid() == pid);
        gone.or(present.filter(|entry| pid == 0 || entry.pid() == 0)).cloned()
    }

    /// Whether the exit of an exec was told of a task that is gone.
    pub(crate) fn departed_knows(&self, namespace: &str, exit: &TaskExit) -> bool {
        let state = self.lock();
        let same =
            |e: &&Arc<Entry>| e.bundle.id == exit.container_id && e.bundle.namespace.as_str() == namespace;
        state.departed.iter().filter(same).any(|e| e.knows_exec_exit(&exit.id, exit.pid))
    }

    /// Whether a task other than `entry` is served at the same address.
    pub(crate) fn shares_shim(&self, entry: &Arc<Entry>, address: &str) -> bool {
        self.list(None).iter().any(|other| {
            !Arc::ptr_eq(other, entry) && other.shim().is_some_and(|shim| shim.answer.address == address)
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::path::Path;

    #[test]
    fn a_late_event_is_about_the_task_of_its_pid() {
        let table = Table::default();
        let ns = Namespace::new("n").unwrap();
        let reserve = |phase| {
            let bundle = Bundle::locate(Path::new("/r"), Path::new("/s"), &ns, "c");
            table.reserve(bundle, phase)
        };
        let first = reserve(Phase::Live).ok().unwrap();
        first.set_pid(10);
        assert!(reserve(Phase::Creating).is_err());
        table.remove(&first);
        assert_eq!(first.phase(), Phase::Gone);
        let second = reserve(Phase::Creating).ok().unwrap();
        let about = |pid| table.subject("n", "c", pid).unwrap();
        // Its pid is not known yet: only what is certainly about the first is.
        assert!(Arc::ptr_eq(&about(10), &first));
        assert!(Arc::ptr_eq(&about(11), &second));
        second.set_pid(11);
        assert!(Arc::ptr_eq(&about(10), &first));
        assert!(Arc::ptr_eq(&about(0), &second));
        assert!(table.subject("n", "c", 12).is_none());
        assert!(table.subject("m", "c", 10).is_none());
        for _ in 0..REMEMBERED {
            table.remove(&table.get(&ns, "c").unwrap());
            reserve(Phase::Live).ok().unwrap();
        }
        assert!(!table.subject("n", "c", 10).is_some_and(|e| Arc::ptr_eq(&e, &first)), "forgotten in time");
    }
}
