//! The containers of this shim, and what can be done to them: one verb per file.
//!
//! Spawns one task for each process that runs (`exit.rs`), which ends with it.

pub(crate) mod cancel;
pub(crate) mod checkpoint;
pub(crate) mod container;
pub(crate) mod create;
pub(crate) mod decide;
pub(crate) mod delete;
pub(crate) mod end_all;
pub(crate) mod exec;
pub(crate) mod exit;
pub(crate) mod freeze;
pub(crate) mod ground;
pub(crate) mod kill;
pub(crate) mod launch;
pub(crate) mod pids;
pub(crate) mod process;
pub(crate) mod record;
pub(crate) mod start;
pub(crate) mod state;
pub(crate) mod stats;
pub(crate) mod streams;
pub(crate) mod update;
pub(crate) mod wait;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::Error;

use crate::events::Publisher;
use crate::reaper::Reaper;
use crate::serve::lifetime::Lifetime;
use cancel::Cancel;
use container::{Container, not_created};

/// The containers and what they share. Clones are the same.
#[derive(Clone)]
pub(crate) struct Tasks(Arc<Shared>);

struct Shared {
    namespace: String,
    reaper: Reaper,
    events: Publisher,
    lifetime: Lifetime,
    containers: Mutex<HashMap<String, Entry>>,
}

enum Entry {
    /// The runtime is making it; setting this off stops that.
    Creating(Cancel),
    /// It is there.
    Live(Arc<Container>),
}

impl Tasks {
    /// No containers yet.
    pub(crate) fn new(namespace: String, reaper: Reaper, events: Publisher, lifetime: Lifetime) -> Self {
        Tasks(Arc::new(Shared { namespace, reaper, events, lifetime, containers: Mutex::default() }))
    }

    fn containers(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.0.containers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reaper(&self) -> &Reaper {
        &self.0.reaper
    }

    fn events(&self) -> &Publisher {
        &self.0.events
    }

    /// A container that is there.
    ///
    /// # Errors
    /// `NotFound`, also while it is being made.
    pub(crate) fn get(&self, id: &str) -> Result<Arc<Container>, Error> {
        match self.containers().get(id) {
            Some(Entry::Live(container)) => Ok(container.clone()),
            _ => Err(not_created()),
        }
    }

    /// How many there are, those being made included.
    pub(crate) fn count(&self) -> usize {
        self.containers().len()
    }

    /// The ids of those that are there.
    pub(crate) fn ids(&self) -> Vec<String> {
        let live = |(id, entry): (&String, &Entry)| matches!(entry, Entry::Live(_)).then(|| id.clone());
        self.containers().iter().filter_map(live).collect()
    }

    /// The Shutdown call: nothing while there are containers or a sandbox; else what is only being made is stopped.
    pub(crate) fn shutdown(&self) {
        let containers = self.containers();
        if self.0.lifetime.is_held() || containers.values().any(|e| matches!(e, Entry::Live(_))) {
            return;
        }
        for entry in containers.values() {
            if let Entry::Creating(cancel) = entry {
                cancel.cancel();
            }
        }
        self.0.lifetime.asked_to_leave();
    }

    /// Ends when no container is being made any more.
    pub(crate) async fn none_in_the_making(&self) {
        let none = || !self.containers().values().any(|e| matches!(e, Entry::Creating(_)));
        self.0.lifetime.until(none).await;
    }

    /// A line for each container and process, for SIGUSR1.
    pub(crate) fn dump(&self) -> String {
        use std::fmt::Write;
        let mut text = String::new();
        for (id, entry) in self.containers().iter() {
            let Entry::Live(container) = entry else {
                let _ = write!(text, "[{id} creating]");
                continue;
            };
            let mut state = container.state();
            let _ = write!(text, "[{id}");
            let State { init, execs, .. } = &mut *state;
            for (name, proc) in
                std::iter::once(("init", &*init)).chain(execs.iter().map(|(n, p)| (n.as_str(), p)))
            {
                let _ = write!(
                    text,
                    " {name}={:?},pid={},alive={},busy={}",
                    proc.phase, proc.pid, proc.alive, proc.busy
                );
            }
            text.push(']');
        }
        let (waiting, parked) = self.reaper().counts();
        let _ = write!(
            text,
            " exits waited for={waiting} parked={parked} events queued={}",
            self.events().queued()
        );
        text
    }
}

use container::State;
