//! Walks two trees side by side, in the order of names, parents first.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fgetxattr, openat, statat};
use rustix::io::Errno;

use super::same::{Object, same};
use crate::layer::tree::DIRECTORY;

/// The trees to compare.
pub(crate) struct Trees {
    /// What was there before.
    pub(crate) lower: OwnedFd,
    /// What is there now.
    pub(crate) upper: OwnedFd,
    /// Upper directory of the overlay that `upper` shows over `lower`: only what is in it can have
    /// changed. `None`: look at everything.
    pub(crate) touched: Option<OwnedFd>,
}

/// What became of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Became {
    Added,
    Changed,
    /// As it was, but with other names that may have changed.
    LinkedSame,
    Deleted,
}

/// One difference.
pub(super) struct Change<'a> {
    pub(super) became: Became,
    /// Path below the root.
    pub(super) path: &'a [u8],
    /// The object as it is now; for a deleted one, as it was.
    pub(super) object: Object<'a>,
}

/// A directory on the way down.
struct Level {
    path: Vec<u8>,
    lower: Option<OwnedFd>,
    upper: OwnedFd,
    touched: Option<OwnedFd>,
    /// Names still to be looked at, the next one last.
    names: Vec<Vec<u8>>,
}

/// Tells `visit` every difference.
pub(super) fn walk(trees: Trees, visit: &mut dyn FnMut(Change<'_>) -> io::Result<()>) -> io::Result<()> {
    let Trees { lower, upper, touched } = trees;
    let mut levels = vec![Level::new(Vec::new(), Some(lower), upper, touched)?];
    while let Some(level) = levels.last_mut() {
        let Some(name) = level.names.pop() else {
            levels.pop();
            continue;
        };
        if let Some(deeper) = look(level, &name, visit)? {
            levels.push(deeper);
        }
    }
    Ok(())
}

impl Level {
    fn new(
        path: Vec<u8>,
        lower: Option<OwnedFd>,
        upper: OwnedFd,
        touched: Option<OwnedFd>,
    ) -> io::Result<Self> {
        let mut all = BTreeSet::new();
        match &touched {
            Some(touched) => names(touched, &mut all)?,
            None => {
                names(&upper, &mut all)?;
                if let Some(lower) = &lower {
                    names(lower, &mut all)?;
                }
            }
        }
        Ok(Level { path, lower, upper, touched, names: all.into_iter().rev().collect() })
    }
}

/// Compares one name; the directory to go into, if it is one.
fn look(
    level: &Level,
    name: &[u8],
    visit: &mut dyn FnMut(Change<'_>) -> io::Result<()>,
) -> io::Result<Option<Level>> {
    let path = if level.path.is_empty() { name.to_vec() } else { [&level.path, &b"/"[..], name].concat() };
    let before = level.lower.as_ref().map(|fd| stat(fd, name)).transpose()?.flatten();
    let now = stat(&level.upper, name)?;
    let was = match (&level.lower, &before) {
        (Some(parent), Some(stat)) => Some(Object { parent, name, stat }),
        _ => None,
    };
    let is = now.as_ref().map(|stat| Object { parent: &level.upper, name, stat });
    let (became, object) = match (was, is) {
        (None, None) => return Ok(None),
        (Some(was), None) => (Some(Became::Deleted), was),
        (None, Some(is)) => (Some(Became::Added), is),
        (Some(was), Some(is)) => {
            let linked = is.kind() != FileType::Directory && is.stat.st_nlink > 1;
            match same(was, is)? {
                true if linked => (Some(Became::LinkedSame), is),
                true => (None, is),
                false => (Some(Became::Changed), is),
            }
        }
    };
    if let Some(became) = became {
        visit(Change { became, path: &path, object })?;
    }
    if became == Some(Became::Deleted) || object.kind() != FileType::Directory {
        return Ok(None);
    }
    deeper(level, name, path, was.is_some_and(|o| o.kind() == FileType::Directory)).map(Some)
}

fn deeper(level: &Level, name: &[u8], path: Vec<u8>, in_lower: bool) -> io::Result<Level> {
    let open = |fd: &OwnedFd| openat(fd, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty());
    let upper = open(&level.upper)?;
    let lower = match &level.lower {
        Some(fd) if in_lower => Some(open(fd)?),
        _ => None,
    };
    let touched = match &level.touched {
        Some(fd) => Some(open(fd)?).filter(|fd| !hides_or_moved(fd)),
        None => None,
    };
    Level::new(path, lower, upper, touched)
}

/// Whether an overlay directory shows other things than the lower one of the same name and what is
/// in it: then all must be looked at.
fn hides_or_moved(directory: &OwnedFd) -> bool {
    let mut value = [0u8; 1];
    ["trusted.overlay.opaque", "trusted.overlay.redirect", "user.overlay.opaque", "user.overlay.redirect"]
        .iter()
        .any(|name| !matches!(fgetxattr(directory, *name, &mut value), Err(Errno::NODATA | Errno::OPNOTSUPP)))
}

fn stat(parent: &OwnedFd, name: &[u8]) -> io::Result<Option<Stat>> {
    match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn names(directory: &OwnedFd, out: &mut BTreeSet<Vec<u8>>) -> io::Result<()> {
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            out.insert(name.to_vec());
        }
    }
    Ok(())
}
