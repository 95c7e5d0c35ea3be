//! Taking mounts away.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use super::fuse;
use super::info::{lookup, mounts_below};
use crate::error::{Context, Error, Result};

/// How often and how long a busy mount is waited for: 2.5 s in all.
const BUSY_TRIES: u32 = 50;
const BUSY_PAUSE: Duration = Duration::from_millis(50);

/// Takes the topmost mount on `path` away. A path that is not a mount point is fine, a symlink is not followed. A busy mount is tried
/// again for 2.5 seconds.
pub fn unmount(path: &Path, flags: UnmountFlags) -> Result<()> {
    match once(path, flags) {
        Err(e) if e.is_errno(Errno::INVAL) => Ok(()),
        other => other,
    }
}

/// Takes all mounts on `path` away, however many are stacked there. A missing or empty path is fine.
pub fn unmount_all(path: &Path, flags: UnmountFlags) -> Result<()> {
    if path.as_os_str().is_empty() {
        return Ok(());
    }
    loop {
        match once(path, flags) {
            Ok(()) => {}
            Err(e) if e.is_errno(Errno::INVAL) || e.is_not_found() => return Ok(()),
            Err(e) => return Err(e),
        }
    }
}

/// Takes all mounts on and below `path` away, the deepest first. `path` may contain symlinks; a missing one is fine. Goes on after a
/// failure and gives the first.
pub fn unmount_recursive(path: &Path, flags: UnmountFlags) -> Result<()> {
    if path.as_os_str().is_empty() {
        return Ok(());
    }
    let path = match path.canonicalize() {
        Ok(path) => path,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        // A FUSE file system whose server is gone cannot be looked at, but still be taken away.
        Err(e) if e.raw_os_error() == Some(libc::ENOTCONN) => {
            std::path::absolute(path).on("make absolute", path)?
        }
        Err(e) => return Err(Error::path("resolve", path, e)),
    };
    let mut points: Vec<_> = mounts_below(&path)?.into_iter().map(|m| m.mount_point).collect();
    points.dedup();
    points.sort_by_key(|p| std::cmp::Reverse(p.as_os_str().len()));
    points.dedup();
    let mut first = Ok(());
    for point in points {
        let done = unmount_all(&point, flags);
        if first.is_ok() {
            first = done;
        }
    }
    first
}

fn once(path: &Path, flags: UnmountFlags) -> Result<()> {
    for _ in 0..BUSY_TRIES {
        match rustix::mount::unmount(path, flags | UnmountFlags::NOFOLLOW) {
            Ok(()) => return Ok(()),
            Err(Errno::BUSY) => std::thread::sleep(BUSY_PAUSE),
            // Without privilege only the helper may take a FUSE mount away.
            Err(Errno::PERM) if is_fuse(path) => return by_fusermount(path),
            Err(e) => return Err(e).on("unmount", path),
        }
    }
    Err(Error::path("unmount", path, Errno::BUSY))
}

fn is_fuse(path: &Path) -> bool {
    lookup(path).is_ok_and(|m| m.fstype == "fuse" || m.fstype.starts_with("fuse."))
}

fn by_fusermount(path: &Path) -> Result<()> {
    let gone = || !super::info::is_mount_point(path).unwrap_or(true);
    let unmount_with = |program: &str| {
        let mut command = Command::new(program);
        command.arg("-u").arg(path);
        fuse::run(command, program, gone)
    };
    unmount_with("fusermount3").or_else(|_| unmount_with("fusermount"))
}
