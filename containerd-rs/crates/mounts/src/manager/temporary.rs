//! Mounts that last as long as a piece of work of the daemon itself.

use std::path::PathBuf;

use base::Mount;

use super::{Manager, Number, log_undone};
use crate::error::{Result, blocking, carried_through};
use crate::handler::Handlers;
use crate::perform::undo;

/// What had to be mounted so that [`Temporary::mounts`] can be. Unmount those, then [`Temporary::close`]; dropping does the same in
/// the calling thread.
pub struct Temporary {
    mounts: Vec<Mount>,
    directory: Option<PathBuf>,
    handlers: Handlers,
    _number: Number,
}

impl Temporary {
    /// The mounts that are left to the caller.
    pub fn mounts(&self) -> &[Mount] {
        &self.mounts
    }

    /// Takes it away and says when that fails; each garbage collection tries again.
    pub async fn close(mut self) -> Result<()> {
        let Some(directory) = self.directory.take() else { return Ok(()) };
        let handlers = self.handlers;
        carried_through(async move { blocking(move || undo(&directory, handlers)).await }).await
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(directory) = self.directory.take()
            && let Err(e) = undo(&directory, self.handlers)
        {
            log_undone(&directory, &e);
        }
    }
}

impl Manager {
    /// Makes what `mounts` need. None when they can be mounted as they are.
    pub async fn temporary(&self, mounts: &[Mount]) -> Result<Option<Temporary>> {
        let Some(plan) = self.plan(mounts, false, &[]) else { return Ok(None) };
        let (manager, mounts) = (self.clone(), mounts.to_vec());
        carried_through(async move {
            let number = manager.shared.number();
            let performed = manager.perform(&number, plan, mounts, false).await?;
            Ok(Some(Temporary {
                mounts: performed.system,
                directory: Some(number.directory()),
                handlers: manager.shared.handlers,
                _number: number,
            }))
        })
        .await
    }
}
