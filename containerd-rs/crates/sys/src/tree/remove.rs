//! Removing a tree of any depth with a handful of descriptors.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// How often a directory is emptied again when somebody keeps filling it.
const REFILLS: u32 = 64;

struct Level {
    /// The directory above: device and inode, checked on the way back up.
    above: (u64, u64),
    /// The name of this directory in the one above.
    name: CString,
    /// How often it was found to be filled again.
    refills: u32,
}

/// Removes `name` from `dir` with all that is below it.
pub(super) fn all(dir: impl AsFd, name: &CStr) -> Result<(), Errno> {
    let dir = dir.as_fd();
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        // Linux says EISDIR, POSIX EPERM.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(e) => return Err(e),
    }
    match rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTEMPTY | Errno::EXIST) => {}
        // An immutable file: the first answer was about permission.
        Err(Errno::NOTDIR) => return Err(Errno::PERM),
        Err(e) => return Err(e),
    }
    let mut current = descend(dir, name)?;
    let mut levels = vec![Level { above: identity(dir)?, name: name.to_owned(), refills: 0 }];
    while !levels.is_empty() {
        if let Some(below) = empty_until_directory(&current)? {
            let next = match descend(&current, &below) {
                Err(Errno::NOENT) => continue,
                other => other?,
            };
            levels.push(Level { above: identity(&current)?, name: below, refills: 0 });
            current = next;
            continue;
        }
        // At the top the caller's own descriptor is the directory above.
        let up = if levels.len() == 1 { None } else { Some(ascend(&current)?) };
        let Some(level) = levels.last_mut() else { break };
        let above = up.as_ref().map_or(dir, AsFd::as_fd);
        if identity(above)? != level.above {
            // Somebody moved the directory that we were in: its new place is not ours to change.
            return Err(Errno::STALE);
        }
        match rustix::fs::unlinkat(above, &level.name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::NOTEMPTY | Errno::EXIST) if level.refills < REFILLS => {
                level.refills += 1;
                continue;
            }
            Err(e) => return Err(e),
        }
        levels.pop();
        if let Some(up) = up {
            current = up;
        }
    }
    Ok(())
}

/// Removes entries until one is a directory with something in it; gives its name. `None`: empty now.
fn empty_until_directory(dir: &OwnedFd) -> Result<Option<CString>, Errno> {
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let first =
            if entry.file_type() == FileType::Directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        match rustix::fs::unlinkat(dir, name, first) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::ISDIR) => return Ok(Some(name.to_owned())),
            // Not a directory any more, or the type was unknown.
            Err(Errno::NOTDIR) => match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(e) => return Err(e),
            },
            Err(e) => return Err(e),
        }
    }
    Ok(None)
}

/// Opens a subdirectory, not through a symlink and not across a mount.
fn descend(dir: impl AsFd, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    rustix::fs::openat2(dir, name, flags, Mode::empty(), resolve)
}

fn ascend(dir: &OwnedFd) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(dir, c"..", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

fn identity(dir: impl AsFd) -> Result<(u64, u64), Errno> {
    let stat = rustix::fs::fstat(dir)?;
    Ok((stat.st_dev, stat.st_ino))
}
