//! The mount manager and its handlers.

use mounts::{Manager, ManagerOptions};

use super::Context;
use super::registrations::MOUNT_MANAGER;
use crate::plugins::{Loaded, NotLoaded};

pub(super) fn erofs_handler(context: &mut Context) -> Result<Loaded, NotLoaded> {
    context.erofs_mounts = true;
    Ok(Loaded { platforms: vec![base::Platform::host()], ..Loaded::default() })
}

pub(super) fn manager(context: &mut Context) -> Result<Loaded, NotLoaded> {
    let options = ManagerOptions {
        state: context.state_of(MOUNT_MANAGER, "bolt"),
        roots: vec![context.root.clone()],
        erofs: context.erofs_mounts,
    };
    context.mounts = Some(super::wait(Manager::open(options))?);
    Ok(Loaded::default())
}
