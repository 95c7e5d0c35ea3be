//! Paths that the kernel resolves inside a directory (openat2(2)).

use std::ffi::CStr;
use std::path::Path;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// How often a look-up is tried again when the tree changed under it.
const RACE_TRIES: u32 = 256;

/// Opens `path` with `root` as its "/": absolute symlinks and ".." stay inside, magic links (`/proc/*/fd`) are refused. The descriptor is
/// close-on-exec. An empty path is the root itself.
pub(crate) fn open_in_root(root: impl AsFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let mut last = Errno::AGAIN;
    for _ in 0..RACE_TRIES {
        match rustix::fs::openat2(&root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            // A rename or mount somewhere made the kernel unsure whether ".." stays inside.
            Err(e @ (Errno::AGAIN | Errno::INTR)) => {
                last = e;
                std::thread::yield_now();
            }
            other => return other,
        }
    }
    Err(last)
}

/// Opens one name of a directory without following it.
pub(crate) fn open_name(dir: impl AsFd, name: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(dir, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}
