//! What the layers below have in a directory, as far as it can be known.
//!
//! A 0/0 device hides a name only in a directory that is merged with one below. Elsewhere overlay
//! shows it in listings, as a name that cannot be looked up. So devices are made only where there is
//! something to hide.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, fgetxattr, openat, openat2, statat};
use rustix::io::Errno;

use super::OVERLAY_OPAQUE;
use super::steps::step;
use super::tree::{DIRECTORY, Directory, Tree};

/// Directories of the layers below that a directory is merged with; the last one asked for is kept.
#[derive(Default)]
pub(crate) struct Below {
    last: Option<Asked>,
}

/// What was asked last.
struct Asked {
    /// Device and inode of the directory.
    id: (u64, u64),
    /// What it is merged with; `None`: not known.
    lowers: Option<Vec<OwnedFd>>,
}

impl Below {
    /// Forgets what was asked last.
    pub(crate) fn forget(&mut self) {
        self.last = None;
    }

    /// Whether a layer below may have `name` in `directory`, which is at `path`.
    pub(crate) fn may_have(
        &mut self,
        tree: &Tree,
        directory: &Directory,
        path: &[u8],
        name: &[u8],
    ) -> rustix::io::Result<bool> {
        let known = match self.last.take() {
            Some(asked) if asked.id == directory.id => asked.lowers,
            _ => find(tree, directory, path)?,
        };
        let found = match &known {
            None => true,
            Some(lowers) => {
                let mut found = false;
                for lower in lowers {
                    match statat(lower, name, AtFlags::SYMLINK_NOFOLLOW) {
                        Ok(_) => found = true,
                        Err(Errno::NOENT) => continue,
                        Err(errno) => return Err(errno),
                    }
                    break;
                }
                found
            }
        };
        self.last = Some(Asked { id: directory.id, lowers: known });
        Ok(found)
    }
}

/// `None`: not known, because the layers below were not given or links are in the way.
fn find(tree: &Tree, directory: &Directory, path: &[u8]) -> rustix::io::Result<Option<Vec<OwnedFd>>> {
    if tree.lowers().is_empty() || !is_plain(tree, directory, path)? {
        return Ok(None);
    }
    let mut found = Vec::new();
    for lower in tree.lowers() {
        step();
        let Descent { directory, ends } = descend(lower, path)?;
        found.extend(directory);
        if ends {
            break;
        }
    }
    Ok(Some(found))
}

/// What one layer has at a path.
pub(crate) struct Descent {
    /// The directory there.
    pub(crate) directory: Option<OwnedFd>,
    /// It, or something on the way, hides the layers further below.
    pub(crate) ends: bool,
}

/// Goes down a path in one layer, following nothing.
pub(crate) fn descend(layer: &OwnedFd, path: &[u8]) -> rustix::io::Result<Descent> {
    let mut at = openat(layer, ".", DIRECTORY, Mode::empty())?;
    let mut ends = is_opaque(&at)?;
    for part in path.split(|b| *b == b'/').filter(|p| !p.is_empty()) {
        step();
        at = match openat(&at, part, DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(Descent { directory: None, ends }),
            Err(Errno::NOTDIR | Errno::LOOP) => return Ok(Descent { directory: None, ends: true }),
            Err(errno) => return Err(errno),
        };
        ends |= is_opaque(&at)?;
    }
    Ok(Descent { directory: Some(at), ends })
}

fn is_opaque(directory: &OwnedFd) -> rustix::io::Result<bool> {
    let mut value = [0u8; 1];
    match fgetxattr(directory, OVERLAY_OPAQUE, &mut value) {
        Ok(length) => Ok(value[..length] == *b"y"),
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::RANGE) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Whether the path leads to the directory without any link.
fn is_plain(tree: &Tree, directory: &Directory, path: &[u8]) -> rustix::io::Result<bool> {
    if path.is_empty() {
        return Ok(true);
    }
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    match openat2(&tree.root().fd, path, DIRECTORY | OFlags::NOFOLLOW, Mode::empty(), resolve) {
        Ok(fd) => Ok(Directory::new(fd)?.id == directory.id),
        Err(Errno::LOOP | Errno::NOENT | Errno::AGAIN) => Ok(false),
        Err(errno) => Err(errno),
    }
}
