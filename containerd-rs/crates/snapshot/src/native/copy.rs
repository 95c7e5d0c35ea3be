//! Copies a tree with everything that belongs to it. What is in it was written by containers, so
//! every step goes through descriptors and follows nothing.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat,
    fchmod, fchown, fgetxattr, flistxattr, flistxattr_query, fsetxattr, fstat, futimens, linkat, mkdirat,
    mknodat, open, openat, readlinkat, statat, symlinkat, utimensat,
};
use rustix::io::{Errno, Result as Sys};

use crate::error::{Error, Result};

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);
const MAX_XATTR: usize = 64 * 1024;

/// Copies what is in `from`, and the looks of `from` itself, to the directory `to`. Sparse files may
/// be filled, sockets are copied as nodes. Blocks.
pub(super) fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    let open = |path: &Path| open(path, DIRECTORY, Mode::empty()).map_err(|e| Error::io("open", path, e));
    let mut copy = Copy { links: HashMap::new(), root: open(to)? };
    let (from_fd, to_fd) = (open(from)?, open(to)?);
    copy.directory(from_fd, to_fd, PathBuf::new())
        .map_err(|(path, errno)| Error::io("copy of parent failed at", &from.join(path), errno))
}

type Failed = (PathBuf, Errno);

struct Copy {
    /// Where files with several names were put first, by device and inode.
    links: HashMap<(u64, u64), PathBuf>,
    root: OwnedFd,
}

impl Copy {
    fn directory(&mut self, from: OwnedFd, to: OwnedFd, path: PathBuf) -> Result<(), Failed> {
        // Depth-first without recursion; a pair of descriptors per open level.
        let at = |path: &Path| {
            let path = path.to_owned();
            move |errno| (path, errno)
        };
        let mut todo = vec![(path, names(&from).map_err(at(Path::new("")))?, from, to)];
        while let Some((path, entries, from, to)) = todo.last_mut() {
            let Some(name) = entries.pop() else {
                let (path, _, from, to) = match todo.pop() {
                    Some(level) => level,
                    None => break,
                };
                let stat = fstat(&from).map_err(at(&path))?;
                finish_open(&from, &to, &stat).map_err(at(&path))?;
                continue;
            };
            let inner = path.join(os(&name));
            let stat = statat(&*from, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW).map_err(at(&inner))?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                mkdirat(&*to, name.as_slice(), Mode::from_raw_mode(0o700)).map_err(at(&inner))?;
                let from = openat(&*from, name.as_slice(), DIRECTORY, Mode::empty()).map_err(at(&inner))?;
                let to = openat(&*to, name.as_slice(), DIRECTORY, Mode::empty()).map_err(at(&inner))?;
                let entries = names(&from).map_err(at(&inner))?;
                todo.push((inner, entries, from, to));
            } else {
                self.leaf(from.as_fd(), to.as_fd(), &name, &inner, &stat).map_err(at(&inner))?;
            }
        }
        Ok(())
    }

    fn leaf(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &[u8],
        path: &Path,
        stat: &Stat,
    ) -> Sys<()> {
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) {
                return linkat(&self.root, first, to, name, AtFlags::empty());
            }
            self.links.insert((stat.st_dev, stat.st_ino), path.to_owned());
        }
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                let flags = OFlags::CLOEXEC | OFlags::NOFOLLOW;
                let source = openat(from, name, flags | OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty())?;
                let create = flags | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
                let target = openat(to, name, create, Mode::from_raw_mode(0o600))?;
                let (source, target) = (File::from(source), File::from(target));
                sys::fs::reflink_or_copy(&source, &target)
                    .map_err(|e| e.errno().map_or(Errno::IO, Errno::from_raw_os_error))?;
                return finish_open(&OwnedFd::from(source), &OwnedFd::from(target), stat);
            }
            FileType::Symlink => symlinkat(readlinkat(from, name, Vec::new())?.as_c_str(), to, name)?,
            kind => mknodat(to, name, kind, Mode::from_raw_mode(0o600), stat.st_rdev)?,
        }
        chownat(
            to,
            name,
            Some(Uid::from_raw(stat.st_uid)),
            Some(Gid::from_raw(stat.st_gid)),
            AtFlags::SYMLINK_NOFOLLOW,
        )?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            chmodat(to, name, Mode::from_raw_mode(stat.st_mode & 0o7777), AtFlags::empty())?;
        }
        utimensat(to, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)
    }
}

fn finish_open(from: &OwnedFd, to: &OwnedFd, stat: &Stat) -> Sys<()> {
    fchown(to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    copy_xattrs(from, to)?;
    fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    futimens(to, &times(stat))
}

/// Attributes that the target cannot hold are left out.
fn copy_xattrs(from: &OwnedFd, to: &OwnedFd) -> Sys<()> {
    // Nearly every file has none: ask for the length first.
    let length = match flistxattr_query(from) {
        Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(()),
        Ok(length) => length,
        Err(errno) => return Err(errno),
    };
    let mut list = vec![0u8; length];
    let length = flistxattr(from, &mut list)?;
    let mut value = vec![0u8; MAX_XATTR];
    for name in list[..length].split(|b| *b == 0).filter(|n| !n.is_empty()) {
        let copied = fgetxattr(from, name, &mut value)
            .and_then(|length| fsetxattr(to, name, &value[..length], XattrFlags::empty()));
        if let Err(errno) = copied {
            tracing::debug!(name = %String::from_utf8_lossy(name), error = %errno, "attribute not copied");
        }
    }
    Ok(())
}

fn times(stat: &Stat) -> Timestamps {
    let spec = |sec: i64, nsec: u64| Timespec { tv_sec: sec, tv_nsec: nsec.cast_signed() };
    Timestamps {
        last_access: spec(stat.st_atime, stat.st_atime_nsec),
        last_modification: spec(stat.st_mtime, stat.st_mtime_nsec),
    }
}

fn names(fd: &OwnedFd) -> Sys<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(fd)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}

fn os(name: &[u8]) -> &std::ffi::OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(name)
}
