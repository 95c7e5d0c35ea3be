//! The shim's own sandbox: a pod without a pause container. One verb per file, as in `task`.
//!
//! ```text
//!  Absent --create--> Created --start--> Ready --stop, or its process ends--> Ended
//!                        \------------------stop-----------------------------^
//!  any --shutdown--> Gone (and the shim leaves)
//! ```
//! A shim serves at most one sandbox, and stays for as long as that is not shut down. A process of ours (`pause`) holds
//! the namespaces; the pod's containers join them by the paths in their specs.
//!
//! Spawns one task while the process lives (`start.rs`).

mod create;
pub(crate) mod cri;
pub(crate) mod decide;
mod holder;
mod metrics;
pub(crate) mod plan;
mod shutdown;
mod start;
pub(crate) mod status;
mod stop;

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use base::Error;
use tokio::sync::Notify;

use crate::reaper::{Exit, Reaper};
use crate::serve::lifetime::{Held, Lifetime};
use crate::task::Tasks;
use decide::{Ask, Phase, decide};
use plan::Plan;

/// The file in the bundle that says what the sandbox is.
pub(crate) const FILE: &str = "sandbox.json";

/// See the module. Clones are the same.
#[derive(Clone)]
pub(crate) struct Sandbox(Arc<Shared>);

struct Shared {
    /// The shim's own id: the sandbox's, if there is to be one.
    id: String,
    namespace: String,
    reaper: Reaper,
    lifetime: Lifetime,
    tasks: Tasks,
    state: Mutex<State>,
    changed: Notify,
}

/// What changes.
#[derive(Default)]
struct State {
    phase: Phase,
    /// A call that changes it is on its way; others wait for that.
    busy: bool,
    pod: Option<Arc<Pod>>,
    /// The process that holds the namespaces; 0 before it exists.
    pid: u32,
    started_at: Option<SystemTime>,
    /// How that ended, once recorded.
    exit: Option<Exit>,
    /// While it is open, the process lives.
    lifeline: Option<OwnedFd>,
    /// Keeps the shim from leaving.
    held: Option<Held>,
}

/// What a sandbox is made of.
struct Pod {
    id: String,
    bundle: PathBuf,
    plan: Plan,
    /// Its rootfs is mounted.
    mounted: bool,
    created_at: SystemTime,
}

impl Sandbox {
    /// No sandbox yet. `id` is the shim's.
    pub(crate) fn new(id: &str, namespace: &str, reaper: Reaper, lifetime: Lifetime, tasks: Tasks) -> Self {
        Sandbox(Arc::new(Shared {
            id: id.to_owned(),
            namespace: namespace.to_owned(),
            reaper,
            lifetime,
            tasks,
            state: Mutex::default(),
            changed: Notify::new(),
        }))
    }

    /// For a moment: never held across a wait.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `probe` finds what it looks for. Cancel-safe.
    async fn until<T>(&self, mut probe: impl FnMut(&mut State) -> Option<T>) -> T {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(found) = probe(&mut self.state()) {
                return found;
            }
            changed.await;
        }
    }

    /// Whether `ask` may be done to the sandbox `id` now.
    fn check(&self, state: &State, id: &str, ask: Ask) -> Result<(), Error> {
        let known = state.pod.as_ref().map_or(self.0.id.as_str(), |pod| pod.id.as_str());
        if ask == Ask::Create {
            base::validate_identifier(id).map_err(|e| Error::wrap("invalid sandbox id", e))?;
        } else if id != known {
            return Err(decide::absent(id));
        }
        decide(state.phase, ask, id)
    }

    /// The sandbox for a look at it.
    fn look<T>(&self, id: &str, ask: Ask, read: impl FnOnce(&State) -> T) -> Result<T, Error> {
        let state = self.state();
        self.check(&state, id, ask)?;
        Ok(read(&state))
    }

    /// Takes the turn for `ask` once no other call has it. Cancel-safe.
    async fn claim(&self, id: &str, ask: Ask) -> Result<Claim, Error> {
        self.until(|state| {
            if state.busy {
                return None;
            }
            let decision = self.check(state, id, ask);
            state.busy = decision.is_ok();
            Some(decision)
        })
        .await?;
        Ok(Claim(self.clone()))
    }

    /// Answers at once when the sandbox is well.
    ///
    /// # Errors
    /// `NotFound`, `FailedPrecondition` when it does not run.
    pub(crate) fn ping(&self, id: &str) -> Result<(), Error> {
        self.look(id, Ask::Ping, |_| ())
    }

    /// Whether there is such a sandbox, for what can be said of any.
    ///
    /// # Errors
    /// `NotFound`.
    pub(crate) fn exists(&self, id: &str) -> Result<(), Error> {
        self.look(id, Ask::Status, |_| ())
    }

    /// Waits for the end of the sandbox's process. Cancel-safe.
    ///
    /// # Errors
    /// `NotFound`.
    pub(crate) async fn wait(&self, id: &str) -> Result<Exit, Error> {
        self.look(id, Ask::Wait, |_| ())?;
        Ok(self.until(|state| state.exit).await)
    }

    /// One line for SIGUSR1.
    pub(crate) fn dump(&self) -> String {
        let state = self.state();
        let Some(pod) = &state.pod else { return String::new() };
        format!("[sandbox {} {:?},pid={},busy={}] ", pod.id, state.phase, state.pid, state.busy)
    }
}

/// The turn of a call; given back when dropped.
struct Claim(Sandbox);

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.state().busy = false;
        self.0.0.changed.notify_waiters();
    }
}
