//! One container: what never changes, and behind a lock that is only ever held for a moment, what does.
//!
//! Calls that change a process take turns through [`Container::claim`]: it waits until no other such
//! call is on its way, asks the decision table, and marks the process busy until the [`Claim`] is
//! dropped. Nothing holds the lock across a wait, so State, Wait and Kill are answered at any time.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::Error;
use protos::shim::options::Options;
use tokio::sync::Notify;

use crate::cgroup::Cgroup;
use crate::runc::Runc;
use crate::task::decide::{self, Ask};
use crate::task::process::Proc;

/// See the module.
pub(crate) struct Container {
    /// Its id.
    pub(crate) id: String,
    /// Its bundle directory.
    pub(crate) bundle: PathBuf,
    /// The runtime it was made with.
    pub(crate) runc: Runc,
    /// The options it was made with.
    pub(crate) options: Options,
    /// The kernel kills the rest of it with its init.
    pub(crate) own_pid_namespace: bool,
    /// A checkpoint to restore at start; empty: none.
    pub(crate) checkpoint: String,
    state: Mutex<State>,
    changed: Notify,
}

/// What changes.
pub(crate) struct State {
    /// The first process.
    pub(crate) init: Proc,
    /// The others, by exec id.
    pub(crate) execs: HashMap<String, Proc>,
    /// The init was collected, whether or not that was told yet: nothing can be started beside it.
    pub(crate) init_gone: bool,
    /// Forgotten by the shim.
    pub(crate) deleted: bool,
    /// Where its processes are accounted.
    pub(crate) cgroup: Option<Arc<Cgroup>>,
}

impl State {
    /// A process; `exec_id` empty: the init.
    ///
    /// # Errors
    /// `NotFound` for an exec that is not there.
    pub(crate) fn proc(&mut self, exec_id: &str) -> Result<&mut Proc, Error> {
        if exec_id.is_empty() {
            return Ok(&mut self.init);
        }
        self.execs
            .get_mut(exec_id)
            .ok_or_else(|| Error::not_found(format!("process does not exist {exec_id}")))
    }
}

/// What a new container is made of.
pub(crate) struct Made {
    pub(crate) id: String,
    pub(crate) bundle: PathBuf,
    pub(crate) runc: Runc,
    pub(crate) options: Options,
    pub(crate) own_pid_namespace: bool,
    pub(crate) checkpoint: String,
    pub(crate) init: Proc,
    pub(crate) cgroup: Option<Arc<Cgroup>>,
}

impl Container {
    /// A container that the runtime has made.
    pub(crate) fn new(made: Made) -> Arc<Self> {
        Arc::new(Container {
            id: made.id,
            bundle: made.bundle,
            runc: made.runc,
            options: made.options,
            own_pid_namespace: made.own_pid_namespace,
            checkpoint: made.checkpoint,
            state: Mutex::new(State {
                init: made.init,
                execs: HashMap::new(),
                init_gone: false,
                deleted: false,
                cgroup: made.cgroup,
            }),
            changed: Notify::new(),
        })
    }

    /// The state, for a moment: never hold it across a wait or a fork.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes whoever waits for a change of the state.
    pub(crate) fn changed(&self) {
        self.changed.notify_waiters();
    }

    /// Waits until `probe` finds what it looks for. Cancel-safe.
    pub(crate) async fn until<T>(&self, mut probe: impl FnMut(&mut State) -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(found) = probe(&mut self.state()) {
                return found;
            }
            changed.await;
        }
    }

    /// Takes the turn of one process for `ask`, once no other call has it. Cancel-safe.
    ///
    /// # Errors
    /// What the decision table says; `NotFound` when container or exec are gone by then.
    pub(crate) async fn claim<'a>(self: &'a Arc<Self>, exec_id: &str, ask: Ask) -> Result<Claim<'a>, Error> {
        self.until(|state| {
            if state.deleted {
                return Some(Err(not_created()));
            }
            let proc = match state.proc(exec_id) {
                Ok(proc) => proc,
                Err(e) => return Some(Err(e)),
            };
            if proc.busy {
                return None;
            }
            let decision = if exec_id.is_empty() {
                decide::init(proc.phase, ask)
            } else {
                decide::exec(proc.phase, ask)
            };
            if decision.is_ok() {
                proc.busy = true;
                proc.starting = ask == Ask::Start;
            }
            Some(decision)
        })
        .await?;
        Ok(Claim { container: self, exec_id: exec_id.to_owned() })
    }
}

/// The turn of one process; given back when dropped.
pub(crate) struct Claim<'a> {
    container: &'a Arc<Container>,
    exec_id: String,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if let Ok(proc) = self.container.state().proc(&self.exec_id) {
            proc.busy = false;
            proc.starting = false;
        }
        self.container.changed();
    }
}

/// What the original says of a container that it does not have.
pub(crate) fn not_created() -> Error {
    Error::not_found("container not created")
}
