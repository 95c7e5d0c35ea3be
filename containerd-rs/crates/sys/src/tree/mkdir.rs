//! Making a directory with all that leads to it, inside a root.

use std::collections::VecDeque;
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::entry::Entry;
use super::resolve::{open_in_root, open_name};
use super::root::Root;
use crate::error::{Context, Error, Result};

/// Most symlinks on one way, as in Go containerd's path resolver.
const MAX_LINKS: u32 = 255;

/// Makes what is missing of `path` with `mode`. Gives the directory and the paths (without symlinks) of those that were made.
///
/// The kernel cannot say where a dangling symlink would lead inside a root, so this walks: one name at a time from an open directory,
/// never following, and reading symlinks itself.
pub(super) fn all(root: &Root, path: &Path, mode: u32) -> Result<(OwnedFd, Vec<PathBuf>)> {
    let mut walk = Walk { root, mode, at: PathBuf::new(), made: Vec::new() };
    let mut dir = walk.reopen()?;
    let mut pending: VecDeque<OsString> = names(path).collect();
    let mut links = 0;
    while let Some(name) = pending.pop_front() {
        if name == ".." {
            walk.at.pop();
            dir = walk.reopen()?;
            continue;
        }
        match walk.step(dir, &name)? {
            Step::Into(next) => dir = next,
            Step::Link(from, target) => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Error::path("resolve", root.shown(path), Errno::LOOP));
                }
                dir = from;
                if target.is_absolute() {
                    walk.at = PathBuf::new();
                    dir = walk.reopen()?;
                }
                for part in names(&target).collect::<Vec<_>>().into_iter().rev() {
                    pending.push_front(part);
                }
            }
        }
    }
    Ok((dir, walk.made))
}

/// The names of a path and its "..", without "/" and ".".
fn names(path: &Path) -> impl Iterator<Item = OsString> + '_ {
    path.components().filter_map(|c| match c {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        _ => None,
    })
}

enum Step {
    Into(OwnedFd),
    Link(OwnedFd, PathBuf),
}

struct Walk<'a> {
    root: &'a Root,
    mode: u32,
    /// Where the walk is, without symlinks.
    at: PathBuf,
    made: Vec<PathBuf>,
}

impl Walk<'_> {
    fn reopen(&self) -> Result<OwnedFd> {
        open_in_root(&self.root.fd, &self.at, OFlags::PATH | OFlags::DIRECTORY)
            .on("open directory", self.root.shown(&self.at))
    }

    /// Goes into `name`, making it when it is missing.
    fn step(&mut self, dir: OwnedFd, name: &OsStr) -> Result<Step> {
        let next = self.at.join(name);
        let shown = self.root.shown(&next);
        let c_name =
            CString::new(name.as_bytes()).map_err(|_| Error::Invalid("zero byte in path".to_owned()))?;
        let handle = match open_name(&dir, &c_name, OFlags::PATH) {
            Err(Errno::NOENT) => {
                match rustix::fs::mkdirat(&dir, &c_name, Mode::from_raw_mode(self.mode & 0o777)) {
                    Ok(()) => {
                        let entry = Entry {
                            dir: dir.try_clone().on("open", &shown)?.into(),
                            name: c_name.clone(),
                            shown: shown.clone(),
                        };
                        entry.chmod(self.mode)?;
                        self.made.push(next.clone());
                    }
                    // Somebody else made it in the meantime.
                    Err(Errno::EXIST) => {}
                    Err(e) => return Err(Error::path("create directory", shown, e)),
                }
                open_name(&dir, &c_name, OFlags::PATH).on("open", &shown)?
            }
            other => other.on("open", &shown)?,
        };
        match FileType::from_raw_mode(rustix::fs::fstat(&handle).on("stat", &shown)?.st_mode) {
            FileType::Directory => {
                self.at = next;
                Ok(Step::Into(handle))
            }
            FileType::Symlink => {
                // An empty name reads the link that the handle is on.
                let target = rustix::fs::readlinkat(&handle, "", Vec::new()).on("read symlink", &shown)?;
                Ok(Step::Link(dir, PathBuf::from(OsString::from_vec(target.into_bytes()))))
            }
            _ => Err(Error::path("create directory", shown, Errno::NOTDIR)),
        }
    }
}
