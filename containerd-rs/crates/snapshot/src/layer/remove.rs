//! Removes a tree below an open directory without following anything in it.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, fstat, openat, statat, unlinkat};
use rustix::io::{Errno, Result};

use super::steps::step;
use super::tree::DIRECTORY;

/// What a sweep leaves alone.
pub(crate) trait Keep {
    /// Whether the entry `name` of the directory with this device and inode stays.
    fn keeps(&self, directory: (u64, u64), name: &[u8]) -> bool;
    /// Whether the directory with this device and inode stays, for what is in it.
    fn keeps_directory(&self, directory: (u64, u64)) -> bool;
    /// Whether to look into a directory that stays.
    fn enters(&self, directory: (u64, u64)) -> bool;
}

/// A directory on the way down.
struct Level {
    id: (u64, u64),
    name: Vec<u8>,
    keep: bool,
    /// Directories in it that are still to be entered; whether each one stays.
    todo: Vec<(Vec<u8>, bool)>,
}

/// Removes `name` in `parent`, with everything below when it is a directory. Gone already is fine.
pub(crate) fn remove_all(parent: impl AsFd, name: &[u8]) -> Result<()> {
    match unlinkat(&parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(errno),
    }
    let top = match openat(&parent, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    sweep(top, None)?;
    absent_is_fine(unlinkat(&parent, name, AtFlags::REMOVEDIR))
}

/// Empties a directory of all that `keep` does not keep. One descriptor is open at a time, so the
/// depth of the tree does not matter.
pub(crate) fn sweep(top: OwnedFd, keep: Option<&dyn Keep>) -> Result<()> {
    let mut here = top;
    let id = identity(&here)?;
    let mut levels = vec![Level { id, name: Vec::new(), keep: true, todo: list(&here, id, keep)? }];
    while let Some(level) = levels.last_mut() {
        step();
        if let Some((name, stays)) = level.todo.pop() {
            let child = openat(&here, name.as_slice(), DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
            let id = identity(&child)?;
            if stays && keep.is_some_and(|k| !k.enters(id)) {
                continue;
            }
            here = child;
            let todo = list(&here, id, keep.filter(|_| stays))?;
            levels.push(Level { id, name, keep: stays, todo });
            continue;
        }
        let done = levels.pop();
        let (Some(done), Some(above)) = (done, levels.last()) else {
            return Ok(());
        };
        here = openat(&here, "..", DIRECTORY, Mode::empty())?;
        // A tree that is moved while it is removed must not lead us elsewhere.
        if identity(&here)? != above.id {
            return Err(Errno::AGAIN);
        }
        if !done.keep {
            absent_is_fine(unlinkat(&here, done.name.as_slice(), AtFlags::REMOVEDIR))?;
        }
    }
    Ok(())
}

/// Unlinks what is no directory and gives the directories.
fn list(here: &OwnedFd, id: (u64, u64), keep: Option<&dyn Keep>) -> Result<Vec<(Vec<u8>, bool)>> {
    let mut directories = Vec::new();
    let mut files = Vec::new();
    for entry in Dir::read_from(here)? {
        let entry = entry?;
        step();
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => {
                FileType::from_raw_mode(statat(here, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode)
            }
            kind => kind,
        };
        let mut stays = keep.is_some_and(|k| k.keeps(id, name));
        if kind == FileType::Directory {
            if let Some(keep) = keep.filter(|_| !stays) {
                let stat = statat(here, name, AtFlags::SYMLINK_NOFOLLOW)?;
                stays = keep.keeps_directory((stat.st_dev, stat.st_ino));
            }
            directories.push((name.to_vec(), stays));
        } else if !stays {
            files.push(name.to_vec());
        }
    }
    for name in files {
        absent_is_fine(unlinkat(here, name.as_slice(), AtFlags::empty()))?;
    }
    Ok(directories)
}

fn identity(fd: &OwnedFd) -> Result<(u64, u64)> {
    let stat = fstat(fd)?;
    Ok((stat.st_dev, stat.st_ino))
}

fn absent_is_fine(result: Result<()>) -> Result<()> {
    match result {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}
