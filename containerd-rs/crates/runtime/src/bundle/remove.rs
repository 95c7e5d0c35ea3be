//! Takes a bundle away: mounts first, then out of sight, then off the disk.

use std::fs;
use std::io;
use std::path::Path;

use super::Bundle;
use crate::error::Error;

impl Bundle {
    /// Unmounts what is mounted on the root file system, then removes the bundle and its work directory. A bundle
    /// that is gone already is fine. Nothing is deleted while anything is still mounted below it.
    ///
    /// Blocking.
    pub(crate) fn remove(&self) -> Result<(), Error> {
        let work = fs::read_link(self.file("work")).unwrap_or_else(|_| self.work.clone());
        let bundle = self.clear_rootfs().and_then(|()| remove_aside(&self.path));
        // Only a place where work directories are may be removed through a link that others could have changed.
        let work = if work == self.work { remove_aside(&work) } else { remove_aside(&self.work) };
        bundle.and(work)
    }

    fn clear_rootfs(&self) -> Result<(), Error> {
        let rootfs = self.file("rootfs");
        // An unmounted, empty root file system goes without a look at the mount table.
        match fs::remove_dir(&rootfs) {
            Ok(()) => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(_) => {}
        }
        sys::mount::unmount_recursive(&rootfs, sys::mount::UnmountFlags::empty())
            .map_err(Error::sys("unmount rootfs", &rootfs))
    }
}

/// Renames `path` to a hidden name beside it, then deletes that: no one ever sees half of it.
pub(crate) fn remove_aside(path: &Path) -> Result<(), Error> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(());
    };
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    let aside = parent.join(hidden);
    if aside.exists() {
        delete(&aside)?;
    }
    match fs::rename(path, &aside) {
        Ok(()) => delete(&aside),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::io("rename aside", path)(e)),
    }
}

/// Deletes a directory tree in which nothing is mounted.
fn delete(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path)(e)),
        _ => Ok(()),
    }
}
