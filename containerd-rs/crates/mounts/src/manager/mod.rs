//! The manager: activations by name.

mod activate;
mod clean;
mod deactivate;
mod temporary;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::{ErrorKind, Namespace};
use tokio::sync::Notify;

use crate::activation::Activation;
use crate::error::{Error, Result, blocking};
use crate::handler::Handlers;
use crate::records::Records;
use crate::transform::Roots;

pub use temporary::Temporary;

/// How long a call waits for another one about the same name.
const TURN: Duration = Duration::from_secs(60);

/// How a manager is opened.
#[derive(Debug, Clone)]
pub struct ManagerOptions {
    /// Where records and mount points are; it goes with a reboot.
    pub state: PathBuf,
    /// Directories, beside that, in which `mkfs/` and `mkdir/` may make things.
    pub roots: Vec<PathBuf>,
    /// The `erofs` handler is loaded.
    pub erofs: bool,
}

/// The mount manager. Clones share it.
///
/// Every call that changes something is carried through even when its future is dropped.
#[derive(Clone)]
pub struct Manager {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) records: Records,
    pub(crate) targets: PathBuf,
    pub(crate) roots: Roots,
    pub(crate) handlers: Handlers,
    state: Mutex<State>,
    freed: Notify,
}

struct State {
    last: u64,
    /// Directories of activations that have no record yet, and of temporary ones.
    under_way: HashSet<u64>,
    /// Names that a call is about.
    busy: HashSet<(String, String)>,
}

impl Manager {
    /// Opens the manager, and undoes what an earlier run left without a record, or has a record but is mounted no more.
    pub async fn open(options: ManagerOptions) -> Result<Self> {
        let shared = blocking(move || {
            sys::fs::ensure_dir(&options.state, 0o700)?;
            let targets = options.state.join("t");
            sys::fs::ensure_dir(&targets, 0o700)?;
            let records = Records::open(&options.state.join("mounts.db"))?;
            let mut roots = vec![targets.clone()];
            roots.extend(options.roots);
            let recorded = records.list("")?.into_iter().map(|r| r.row.id).max().unwrap_or(0);
            let there = clean::numbers(&targets)?.into_iter().max().unwrap_or(0);
            let state = State { last: recorded.max(there), under_way: HashSet::new(), busy: HashSet::new() };
            Ok(Shared {
                records,
                targets,
                roots: Roots(roots),
                handlers: Handlers { erofs: options.erofs },
                state: Mutex::new(state),
                freed: Notify::new(),
            })
        })
        .await?;
        let manager = Manager { shared: Arc::new(shared) };
        manager.forget_unmounted().await?;
        manager.clean().await?;
        Ok(manager)
    }

    /// What is known of an activation.
    pub fn info(&self, namespace: &Namespace, name: &str) -> Result<Activation> {
        let row = self.shared.records.get(namespace.as_str(), name)?;
        let missing = || Error::refused(ErrorKind::NotFound, format!("mount {name:?}"));
        Ok(row.ok_or_else(missing)?.activation(name))
    }

    /// Every activation of a namespace, by name.
    pub fn list(&self, namespace: &Namespace) -> Result<Vec<Activation>> {
        let records = self.shared.records.list(namespace.as_str())?;
        Ok(records.into_iter().map(|r| r.row.activation(&r.name)).collect())
    }
}

impl Shared {
    pub(crate) fn directory(&self, id: u64) -> PathBuf {
        self.targets.join(id.to_string())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A directory of which no clean-up knows that it is one.
    fn number(self: &Arc<Self>) -> Number {
        let mut state = self.lock();
        state.last += 1;
        let id = state.last;
        state.under_way.insert(id);
        Number { id, shared: Arc::clone(self) }
    }

    pub(crate) fn under_way(&self) -> HashSet<u64> {
        self.lock().under_way.clone()
    }

    /// Waits until no other call is about this name.
    async fn turn(self: &Arc<Self>, namespace: &Namespace, name: &str) -> Result<Turn> {
        let key = (namespace.as_str().to_owned(), name.to_owned());
        let turn = async {
            loop {
                let freed = self.freed.notified();
                tokio::pin!(freed);
                // Before the look: what is freed after it is not missed.
                freed.as_mut().enable();
                if self.lock().busy.insert(key.clone()) {
                    return;
                }
                freed.await;
            }
        };
        let waited = tokio::time::timeout(TURN, turn).await;
        let late = || {
            let message = format!("another call about mount {name:?} did not end within {TURN:?}");
            Error::refused(ErrorKind::Unavailable, message)
        };
        waited.map_err(|_| late())?;
        Ok(Turn { key, shared: Arc::clone(self) })
    }
}

/// A directory that belongs to nobody else while this lives.
pub(crate) struct Number {
    id: u64,
    shared: Arc<Shared>,
}

impl Number {
    fn directory(&self) -> PathBuf {
        self.shared.directory(self.id)
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        self.shared.lock().under_way.remove(&self.id);
    }
}

/// The right to change what is under a name.
pub(crate) struct Turn {
    key: (String, String),
    shared: Arc<Shared>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.shared.lock().busy.remove(&self.key);
        self.shared.freed.notify_waiters();
    }
}

fn log_undone(directory: &Path, e: &Error) {
    tracing::warn!(directory = %directory.display(), error = %base::chain(e), "mounts stay until the next clean-up");
}
