//! Directories and files without a way out of them.
//!
//! A descriptor of a directory leads everywhere: `..` goes up to the root of the file system, and a `chroot` does not hold
//! descriptors that were opened before it. A private mount has an end: it is a clone (`open_tree`) that hangs nowhere, so `..`
//! of its root is its root, and links and renames do not cross it. It can be read-only, and without devices and programs.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;

use crate::error::{Context, Result};

/// Number shared by all architectures (since Linux 5.12).
const SYS_MOUNT_SETATTR: libc::c_long = 442;

// <linux/mount.h>
const RDONLY: u64 = 0x1;
const NOSUID: u64 = 0x2;
const NODEV: u64 = 0x4;
const NOEXEC: u64 = 0x8;

/// What a descriptor is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Everything is made and removed below it. Devices can be made, not opened.
    Change,
    /// It is looked at; every change fails.
    Look,
}

impl Purpose {
    fn attributes(self) -> u64 {
        match self {
            Purpose::Change => NOSUID | NODEV | NOEXEC,
            Purpose::Look => RDONLY | NOSUID | NODEV | NOEXEC,
        }
    }
}

/// What was opened.
#[derive(Debug)]
pub struct Enclosed {
    /// The directory or file, close-on-exec.
    pub fd: OwnedFd,
    /// Whether it is the root of a private mount. Not so where the kernel is older than Linux 5.12 or refuses to clone this mount: then it
    /// is a plain descriptor, and what it leads to is for the rest of the jail to refuse.
    pub private: bool,
}

/// Opens a directory. What is mounted below one that is to be changed shows in it; below one that is looked at it does not.
pub fn directory(path: &Path, purpose: Purpose) -> Result<Enclosed> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let plain = rustix::fs::open(path, flags, Mode::empty()).on("open", path)?;
    match private_mount(&plain, purpose) {
        Ok(mount) => {
            let fd = rustix::fs::openat(&mount, c".", flags, Mode::empty()).on("open", path)?;
            Ok(Enclosed { fd, private: true })
        }
        Err(errno) if not_here(errno) => Ok(Enclosed { fd: plain, private: false }),
        Err(errno) => Err(errno).on("make a private mount of", path),
    }
}

/// Opens the file behind `fd` once more, for reading only, so that its owner, mode and attributes cannot be changed through it. `fd` must be
/// of a regular file; others are only duplicated.
pub fn file(fd: impl AsFd) -> Result<Enclosed> {
    let fd = fd.as_fd();
    let again =
        |private| Ok(Enclosed { fd: fd.try_clone_to_owned().doing("duplicate a descriptor")?, private });
    let stat = rustix::fs::fstat(fd).doing("stat a descriptor")?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::RegularFile {
        return again(false);
    }
    let mount = match private_mount(fd, Purpose::Look) {
        Ok(mount) => mount,
        Err(errno) if not_here(errno) => return again(false),
        Err(errno) => return Err(errno).doing("make a private mount of a file"),
    };
    // A file has no "." to open: its descriptor is opened again.
    let link = format!("/proc/self/fd/{}", mount.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let reopened = rustix::fs::openat(CWD, link.as_str(), flags, Mode::empty()).on("reopen", &link)?;
    Ok(Enclosed { fd: reopened, private: true })
}

/// Old kernels, mounts that may not be cloned, and processes that may not mount.
fn not_here(errno: Errno) -> bool {
    matches!(errno, Errno::NOSYS | Errno::INVAL | Errno::PERM)
}

fn private_mount(fd: impl AsFd, purpose: Purpose) -> std::result::Result<OwnedFd, Errno> {
    let mut flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let mut at = AtFlags::EMPTY_PATH.bits();
    if purpose == Purpose::Change {
        flags |= OpenTreeFlags::AT_RECURSIVE;
        at |= OpenTreeFlags::AT_RECURSIVE.bits();
    }
    let mount = rustix::mount::open_tree(&fd, c"", flags)?;
    set_attributes(&mount, at, purpose.attributes())?;
    Ok(mount)
}

/// `struct mount_attr`.
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

fn set_attributes(mount: &OwnedFd, at: u32, set: u64) -> std::result::Result<(), Errno> {
    let attr = MountAttr { set, clear: 0, propagation: libc::MS_PRIVATE, user_namespace: 0 };
    // SAFETY: the path is an empty C string, `attr` a mount_attr of the size given; the kernel only reads both.
    let rc = unsafe {
        libc::syscall(
            SYS_MOUNT_SETATTR,
            mount.as_raw_fd(),
            c"".as_ptr(),
            at,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    if rc == 0 {
        Ok(())
    } else {
        Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
    }
}
