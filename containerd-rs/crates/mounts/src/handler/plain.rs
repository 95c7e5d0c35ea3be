//! Mounts that the kernel makes on a directory.

use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use base::Mount;
use sys::mount::UnmountFlags;

use crate::error::{Error, Result};

pub(super) fn mount(mount: Mount, point: &Path) -> Result<Mount> {
    directory(point)?;
    sys::mount::mount(&mount, point).map_err(|e| Error::from(e).during("mount failed"))?;
    Ok(mount)
}

pub(super) fn unmount(point: &Path) -> Result<()> {
    sys::mount::unmount_all(point, UnmountFlags::empty())?;
    // Never recursively: should a mount be left, its files are not ours.
    match std::fs::remove_dir(point) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::io("remove", point, e)),
        _ => Ok(()),
    }
}

pub(super) fn directory(point: &Path) -> Result<()> {
    let made = std::fs::DirBuilder::new().mode(0o700).create(point);
    made.map_err(|e| Error::io("create", point, e))
}
