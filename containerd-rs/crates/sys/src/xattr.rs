//! Extended attributes of names in a directory, never through a symlink at the name.
//!
//! On Linux 6.13 by the `*xattrat` calls, before that through `/proc/self/fd` (which a jail may not have: then the error is ENOSYS).

use std::ffi::{CStr, CString, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Mode, OFlags, XattrFlags};
use rustix::io::Errno;

use crate::error::{Context, Error, Result};

// Numbers shared by all architectures.
const SYS_SETXATTRAT: libc::c_long = 463;
const SYS_GETXATTRAT: libc::c_long = 464;
const SYS_LISTXATTRAT: libc::c_long = 465;
const SYS_REMOVEXATTRAT: libc::c_long = 466;

/// Largest value and largest list of names that the kernel keeps (XATTR_SIZE_MAX, XATTR_LIST_MAX).
const MAX_BYTES: usize = 65536;

/// The name of the attribute that makes an overlay directory hide those below it.
pub const OVERLAY_OPAQUE: &str = "trusted.overlay.opaque";
/// The same for overlays mounted with `userxattr`.
pub const USER_OVERLAY_OPAQUE: &str = "user.overlay.opaque";

/// `struct xattr_args`.
#[repr(C)]
struct XattrArgs {
    value: u64,
    size: u32,
    flags: u32,
}

/// Sets an attribute, whether it is there or not.
pub fn set(path: &Path, name: &str, value: &[u8]) -> Result<()> {
    set_at(rustix::fs::CWD, &c_path(path)?, &c_name(name)?, value).on("set extended attribute of", path)
}

/// The value of an attribute; `None` when it is not there.
pub fn get(path: &Path, name: &str) -> Result<Option<Vec<u8>>> {
    get_at(rustix::fs::CWD, &c_path(path)?, &c_name(name)?).on("get extended attribute of", path)
}

/// The names of all attributes. File systems without any give none.
pub fn list(path: &Path) -> Result<Vec<OsString>> {
    list_at(rustix::fs::CWD, &c_path(path)?).on("list extended attributes of", path)
}

/// Removes an attribute. One that is not there is fine.
pub fn remove(path: &Path, name: &str) -> Result<()> {
    remove_at(rustix::fs::CWD, &c_path(path)?, &c_name(name)?).on("remove extended attribute of", path)
}

pub(crate) fn c_name(name: &str) -> Result<CString> {
    CString::new(name).map_err(|_| Error::Invalid(format!("attribute name {name:?} holds a zero byte")))
}

fn c_path(path: &Path) -> Result<CString> {
    let bytes = path.as_os_str().as_encoded_bytes();
    CString::new(bytes).map_err(|_| Error::Invalid(format!("path {} holds a zero byte", path.display())))
}

/// Whether the kernel lacks the `*xattrat` calls; learnt from the first that fails.
static OLD_KERNEL: AtomicBool = AtomicBool::new(false);

fn modern<T>(call: impl FnOnce() -> Result<T, Errno>) -> Option<Result<T, Errno>> {
    if OLD_KERNEL.load(Ordering::Relaxed) {
        return None;
    }
    match call() {
        Err(Errno::NOSYS) => {
            OLD_KERNEL.store(true, Ordering::Relaxed);
            None
        }
        other => Some(other),
    }
}

/// A path that leads right to the inode of `name`, also when that is a symlink.
fn through_proc<T>(
    dir: BorrowedFd<'_>,
    name: &CStr,
    call: impl FnOnce(&str) -> Result<T, Errno>,
) -> Result<T, Errno> {
    let handle =
        rustix::fs::openat(dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let link = format!("/proc/self/fd/{}", handle.as_raw_fd());
    match call(&link) {
        // The handle is open, so only /proc can be missing.
        Err(Errno::NOENT) => Err(Errno::NOSYS),
        other => other,
    }
}

fn result(rc: libc::c_long) -> Result<usize, Errno> {
    usize::try_from(rc)
        .map_err(|_| Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
}

pub(crate) fn set_at(dir: impl AsFd, name: &CStr, attribute: &CStr, value: &[u8]) -> Result<(), Errno> {
    let dir = dir.as_fd();
    let call = || {
        let size = u32::try_from(value.len()).map_err(|_| Errno::TOOBIG)?;
        let args = XattrArgs { value: value.as_ptr() as u64, size, flags: 0 };
        // SAFETY: both strings are terminated, `args` has the size given and points to `size` readable bytes; all outlive the call.
        let rc = unsafe {
            let at = libc::AT_SYMLINK_NOFOLLOW;
            let (size, attribute) = (size_of::<XattrArgs>(), attribute.as_ptr());
            libc::syscall(
                SYS_SETXATTRAT,
                dir.as_raw_fd(),
                name.as_ptr(),
                at,
                attribute,
                &raw const args,
                size,
            )
        };
        result(rc).map(|_| ())
    };
    modern(call).unwrap_or_else(|| {
        through_proc(dir, name, |link| rustix::fs::setxattr(link, attribute, value, XattrFlags::empty()))
    })
}

pub(crate) fn get_at(dir: impl AsFd, name: &CStr, attribute: &CStr) -> Result<Option<Vec<u8>>, Errno> {
    let dir = dir.as_fd();
    let mut value = vec![0u8; 256];
    loop {
        match read_at(dir, name, attribute, &mut value) {
            Ok(len) => {
                value.truncate(len);
                return Ok(Some(value));
            }
            Err(Errno::NODATA) => return Ok(None),
            Err(Errno::RANGE) if value.len() < MAX_BYTES => value.resize(MAX_BYTES, 0),
            Err(e) => return Err(e),
        }
    }
}

fn read_at(dir: BorrowedFd<'_>, name: &CStr, attribute: &CStr, value: &mut [u8]) -> Result<usize, Errno> {
    let call = || {
        let args = XattrArgs { value: value.as_mut_ptr() as u64, size: value.len() as u32, flags: 0 };
        // SAFETY: both strings are terminated, `args` has the size given and points to `size` writable bytes; all outlive the call.
        let rc = unsafe {
            let at = libc::AT_SYMLINK_NOFOLLOW;
            let (size, attribute) = (size_of::<XattrArgs>(), attribute.as_ptr());
            libc::syscall(
                SYS_GETXATTRAT,
                dir.as_raw_fd(),
                name.as_ptr(),
                at,
                attribute,
                &raw const args,
                size,
            )
        };
        result(rc)
    };
    if let Some(done) = modern(call) {
        return done;
    }
    through_proc(dir, name, |link| rustix::fs::getxattr(link, attribute, value))
}

pub(crate) fn list_at(dir: impl AsFd, name: &CStr) -> Result<Vec<OsString>, Errno> {
    let dir = dir.as_fd();
    let mut names = vec![0u8; 1024];
    let len = loop {
        match read_names_at(dir, name, &mut names) {
            Ok(len) => break len,
            Err(Errno::RANGE) if names.len() < MAX_BYTES => names.resize(MAX_BYTES, 0),
            Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            Err(e) => return Err(e),
        }
    };
    let parts = names[..len].split(|b| *b == 0).filter(|n| !n.is_empty());
    Ok(parts.map(|n| OsString::from_vec(n.to_vec())).collect())
}

fn read_names_at(dir: BorrowedFd<'_>, name: &CStr, names: &mut [u8]) -> Result<usize, Errno> {
    let call = || {
        // SAFETY: the string is terminated and `names` is writable for its length; both outlive the call.
        let rc = unsafe {
            let at = libc::AT_SYMLINK_NOFOLLOW;
            libc::syscall(
                SYS_LISTXATTRAT,
                dir.as_raw_fd(),
                name.as_ptr(),
                at,
                names.as_mut_ptr(),
                names.len(),
            )
        };
        result(rc)
    };
    if let Some(done) = modern(call) {
        return done;
    }
    through_proc(dir, name, |link| rustix::fs::listxattr(link, names))
}

pub(crate) fn remove_at(dir: impl AsFd, name: &CStr, attribute: &CStr) -> Result<(), Errno> {
    let dir = dir.as_fd();
    let call = || {
        let at = libc::AT_SYMLINK_NOFOLLOW;
        // SAFETY: both strings are terminated and outlive the call.
        let rc = unsafe {
            libc::syscall(SYS_REMOVEXATTRAT, dir.as_raw_fd(), name.as_ptr(), at, attribute.as_ptr())
        };
        result(rc).map(|_| ())
    };
    let removed = modern(call)
        .unwrap_or_else(|| through_proc(dir, name, |link| rustix::fs::removexattr(link, attribute)));
    match removed {
        Err(Errno::NODATA) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn attributes_of_files_directories_and_symlinks() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        std::fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink("file", &link).unwrap();
        // Both ways, the second as on an old kernel.
        for old in [false, true] {
            OLD_KERNEL.store(old, Ordering::Relaxed);
            let large = vec![b'x'; 3000];
            for path in [file.as_path(), dir.path(), link.as_path()] {
                set(path, "trusted.test", &large).unwrap();
                assert_eq!(get(path, "trusted.test").unwrap(), Some(large.clone()), "{path:?} {old}");
                assert_eq!(list(path).unwrap(), ["trusted.test"]);
                set(path, "trusted.test", b"").unwrap();
                assert_eq!(get(path, "trusted.test").unwrap(), Some(Vec::new()));
                remove(path, "trusted.test").unwrap();
                remove(path, "trusted.test").unwrap();
                assert_eq!(get(path, "trusted.test").unwrap(), None);
            }
            set(&link, "trusted.on-link", b"1").unwrap();
            assert!(list(&file).unwrap().is_empty(), "the symlink must not be followed");
            remove(&link, "trusted.on-link").unwrap();
            assert!(set(&link, "user.x", b"1").unwrap_err().is_errno(Errno::PERM));
            assert!(get(&dir.path().join("missing"), "user.x").unwrap_err().is_not_found());
        }
        OLD_KERNEL.store(false, Ordering::Relaxed);
        assert!(matches!(set(&file, "user.a\0b", b""), Err(Error::Invalid(_))));
    }
}
