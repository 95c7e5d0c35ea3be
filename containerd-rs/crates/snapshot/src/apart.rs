//! A layer applied before those below it, and what is left to do once they are there.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use base::{ErrorKind, Kinded, Mount};
use rustix::fs::{Mode, OFlags, open};

use crate::error::{Error, Result, blocking};
use crate::layer::{self, Settled, Target, Undecided};

/// What applying a layer apart left undecided. Made by the caller, filled by the differ.
#[derive(Debug, Default)]
pub struct Apart {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Where the layer was written to.
    upper: PathBuf,
    undecided: Vec<Undecided>,
    apply_again: bool,
}

impl Apart {
    pub(crate) fn fill(&self, upper: PathBuf, undecided: Vec<Undecided>, apply_again: bool) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State { upper, undecided, apply_again };
    }

    fn take(&self) -> State {
        std::mem::take(&mut *self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether nothing is left to do: the layers below do not matter.
    pub fn is_settled(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.undecided.is_empty() && !state.apply_again
    }

    /// Decides what was left open. `below`: mounts that show the layers below, as a view of the parent
    /// has them. `false`: the tree cannot be made right, the layer must be applied again in order.
    ///
    /// # Errors
    /// When the mounts cannot be understood, or the file system fails.
    pub async fn settle(&self, below: &[Mount]) -> Result<bool> {
        let State { upper, undecided, apply_again } = self.take();
        if apply_again {
            return Ok(false);
        }
        let lowers = lowers(below).ok_or_else(|| {
            Error::refused(ErrorKind::Unimplemented, "layers below are not shown as directories")
        })?;
        blocking(move || {
            let root = directory(&upper)?;
            let lowers = lowers.iter().map(|path| directory(path)).collect::<Result<Vec<_>>>()?;
            match layer::settle(Target { root, lowers }, &undecided) {
                Ok(settled) => Ok(settled == Settled::Yes),
                Err(e) => Err(Error::refused(e.kind(), base::chain(&e))),
            }
        })
        .await
    }
}

fn directory(path: &Path) -> Result<std::os::fd::OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    open(path, flags, Mode::empty()).map_err(|e| Error::io("open", path, e))
}

/// Directories of the layers, top first.
fn lowers(mounts: &[Mount]) -> Option<Vec<PathBuf>> {
    let [mount] = mounts else { return None };
    if !mount.target.is_empty() {
        return None;
    }
    match mount.fstype.as_str() {
        "bind" => Some(vec![PathBuf::from(&mount.source)]),
        "overlay" => {
            let value = |key: &str| mount.options.iter().rev().find_map(|o| o.strip_prefix(key));
            value("lowerdir=").map(|l| l.split(':').map(PathBuf::from).collect())
        }
        _ => None,
    }
}
