//! Owner, mode, extended attributes and times of what was made.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat, fchmod, fchown,
    fgetxattr, flistxattr, flistxattr_query, fsetxattr, fstat, futimens, lsetxattr, statat, utimensat,
};
use rustix::io::{Errno, Result};

use super::LayerError;
use super::entry::{Entry, Time};

/// Biggest attribute value of Linux.
const MAX_XATTR: usize = 64 * 1024;

/// Sets everything on an open file or directory. Owner first: it takes set-id bits and capabilities
/// away; mode last of those, it gives set-id bits back.
pub(crate) fn on_descriptor(fd: impl AsFd, entry: &Entry) -> std::result::Result<(), LayerError> {
    let path = &entry.name;
    fchown(&fd, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))
        .map_err(LayerError::write("chown", path))?;
    for (name, value) in &entry.xattrs {
        set_xattr(entry, name, true, |name| fsetxattr(&fd, name, value, XattrFlags::empty()))?;
    }
    fchmod(&fd, Mode::from_raw_mode(entry.mode)).map_err(LayerError::write("chmod", path))?;
    futimens(&fd, &times(entry)).map_err(LayerError::write("utimes", path))
}

/// Sets everything on a name that cannot be opened (links, devices, fifos) or has other names.
pub(crate) fn on_name(
    directory: impl AsFd,
    name: &[u8],
    entry: &Entry,
) -> std::result::Result<(), LayerError> {
    let path = &entry.name;
    let stat =
        statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW).map_err(LayerError::write("stat", path))?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    // Taking over an owner that is right already would drop the capabilities of a linked file.
    if (stat.st_uid, stat.st_gid) != (entry.uid, entry.gid) {
        let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
        chownat(&directory, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(LayerError::write("chown", path))?;
    }
    if !entry.xattrs.is_empty() {
        // There is no call for an attribute of a name in a directory, so stand in the directory.
        rustix::process::fchdir(&directory).map_err(LayerError::write("chdir", path))?;
        let here = [b"./", name].concat();
        let plain = matches!(kind, FileType::RegularFile | FileType::Directory);
        for (key, value) in &entry.xattrs {
            set_xattr(entry, key, plain, |key| lsetxattr(here.as_slice(), key, value, XattrFlags::empty()))?;
        }
    }
    if kind != FileType::Symlink {
        chmodat(&directory, name, Mode::from_raw_mode(entry.mode), AtFlags::empty())
            .map_err(LayerError::write("chmod", path))?;
    }
    utimensat(&directory, name, &times(entry), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(LayerError::write("utimes", path))
}

/// Sets the times of a directory, once nothing is made in it any more.
pub(crate) fn directory_times(directory: impl AsFd, name: &[u8], atime: Time, mtime: Time) -> Result<()> {
    utimensat(directory, name, &timestamps(atime, mtime), AtFlags::SYMLINK_NOFOLLOW)
}

/// Access time that an entry asks for: the later of its two.
pub(crate) fn access_time(entry: &Entry) -> Time {
    entry.atime.map_or(entry.mtime, |a| a.max(entry.mtime)).bounded()
}

fn times(entry: &Entry) -> Timestamps {
    timestamps(access_time(entry), entry.mtime.bounded())
}

fn timestamps(atime: Time, mtime: Time) -> Timestamps {
    let spec = |t: Time| Timespec { tv_sec: t.seconds, tv_nsec: t.nanos.into() };
    Timestamps { last_access: spec(atime), last_modification: spec(mtime) }
}

/// Sets one attribute. What a file system or kind of file cannot hold is left out, as are the
/// administrator's attributes, which no image may bring.
fn set_xattr(
    entry: &Entry,
    name: &[u8],
    plain: bool,
    set: impl FnOnce(&[u8]) -> Result<()>,
) -> std::result::Result<(), LayerError> {
    if name.starts_with(b"trusted.") {
        tracing::debug!(path = %String::from_utf8_lossy(&entry.name), "trusted attribute of the archive left out");
        return Ok(());
    }
    match set(name) {
        Ok(()) => Ok(()),
        Err(errno @ Errno::OPNOTSUPP) => {
            left_out(entry, name, errno);
            Ok(())
        }
        Err(errno @ Errno::PERM) if name.starts_with(b"user.") && !plain => {
            left_out(entry, name, errno);
            Ok(())
        }
        Err(errno) => Err(LayerError::write("set attribute", &entry.name)(errno)),
    }
}

fn left_out(entry: &Entry, name: &[u8], errno: Errno) {
    let (path, name) = (String::from_utf8_lossy(&entry.name), String::from_utf8_lossy(name));
    tracing::warn!(%path, %name, error = %errno, "attribute of the archive left out");
}

/// Gives `to` the owner, mode, times and attributes of `from`; both are directories.
pub(crate) fn copy_directory(
    from: &OwnedFd,
    to: &OwnedFd,
    path: &[u8],
) -> std::result::Result<(), LayerError> {
    let stat = fstat(from).map_err(LayerError::write("stat lower", path))?;
    fchown(to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))
        .map_err(LayerError::write("chown", path))?;
    copy_xattrs(from, to).map_err(LayerError::write("copy attributes", path))?;
    fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777)).map_err(LayerError::write("chmod", path))?;
    let spec = |sec: i64, nsec: u64| Timespec { tv_sec: sec, tv_nsec: nsec.cast_signed() };
    let times = Timestamps {
        last_access: spec(stat.st_atime, stat.st_atime_nsec),
        last_modification: spec(stat.st_mtime, stat.st_mtime_nsec),
    };
    futimens(to, &times).map_err(LayerError::write("utimes", path))
}

fn copy_xattrs(from: &OwnedFd, to: &OwnedFd) -> Result<()> {
    // Nearly every directory has none: ask for the length first.
    let length = match flistxattr_query(from) {
        Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(()),
        Ok(length) => length,
        Err(errno) => return Err(errno),
    };
    let mut names = vec![0u8; length];
    let length = flistxattr(from, &mut names)?;
    for name in names[..length].split(|b| *b == 0).filter(|n| !n.is_empty() && !n.starts_with(b"trusted.")) {
        let mut value = vec![0u8; MAX_XATTR];
        match fgetxattr(from, name, &mut value) {
            Ok(length) => match fsetxattr(to, name, &value[..length], XattrFlags::empty()) {
                Ok(()) | Err(Errno::OPNOTSUPP) => {}
                Err(errno) => return Err(errno),
            },
            Err(Errno::OPNOTSUPP | Errno::NODATA) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
