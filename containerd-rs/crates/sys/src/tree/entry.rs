//! One name in an open directory.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::meta::{Kind, Meta, Time};
use super::root::reopen_file;
use super::{remove, resolve};
use crate::error::{Context, Error, Result};
use crate::xattr;

/// Number shared by all architectures (Linux 6.6).
const SYS_FCHMODAT2: libc::c_long = 452;

/// A name in a directory that stays open, whatever happens to the path that led to it. The name is never followed when it is a symlink.
#[derive(Clone, Debug)]
pub struct Entry {
    pub(super) dir: Arc<OwnedFd>,
    pub(super) name: CString,
    /// For errors only.
    pub(super) shown: PathBuf,
}

impl Entry {
    /// The last name; "." for the root itself.
    pub fn name(&self) -> OsString {
        OsString::from_vec(self.name.as_bytes().to_vec())
    }

    /// Another name in the same directory. It must be one component.
    pub fn sibling(&self, name: impl AsRef<Path>) -> Result<Entry> {
        let name = name.as_ref();
        let bytes = name.as_os_str().as_bytes();
        let plain = !bytes.is_empty() && bytes != b"." && bytes != b".." && !bytes.contains(&b'/');
        match CString::new(bytes) {
            Ok(c) if plain => {
                Ok(Entry { dir: Arc::clone(&self.dir), name: c, shown: self.shown.with_file_name(name) })
            }
            _ => Err(Error::Invalid(format!("not a file name: {:?}", name.display().to_string()))),
        }
    }

    /// Attributes of what stands there; `None` when nothing does.
    pub fn metadata(&self) -> Result<Option<Meta>> {
        match rustix::fs::statat(&*self.dir, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(Meta::of(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(e).on("stat", &self.shown),
        }
    }

    /// Makes a new file with `mode` (exactly), open for reading and writing. EEXIST when anything is there.
    pub fn create_file(&self, mode: u32) -> Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&*self.dir, &self.name, flags, Mode::from_raw_mode(0o600))
            .on("create file", &self.shown)?;
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode & 0o7777)).on("set mode of", &self.shown)?;
        Ok(File::from(fd))
    }

    /// Opens a regular file for reading; anything else is refused without being opened.
    pub fn open_file(&self) -> Result<File> {
        let handle = self.handle().on("open", &self.shown)?;
        let again = || {
            let flags = super::root::FILE_FLAGS | OFlags::NOFOLLOW;
            rustix::fs::openat(&*self.dir, &self.name, flags, Mode::empty())
        };
        reopen_file(&handle, again).on("open file", &self.shown)
    }

    /// Makes a directory with `mode`, exactly. EEXIST when anything is there.
    pub fn create_dir(&self, mode: u32) -> Result<()> {
        rustix::fs::mkdirat(&*self.dir, &self.name, Mode::from_raw_mode(mode & 0o777))
            .on("create directory", &self.shown)?;
        // The umask may have taken bits, and mkdir takes no set-id bits.
        self.chmod(mode)
    }

    /// Makes a symlink that says `target`, whatever that is.
    pub fn symlink(&self, target: impl AsRef<Path>) -> Result<()> {
        rustix::fs::symlinkat(target.as_ref(), &*self.dir, &self.name).on("create symlink", &self.shown)
    }

    /// What the symlink says.
    pub fn read_link(&self) -> Result<PathBuf> {
        let target =
            rustix::fs::readlinkat(&*self.dir, &self.name, Vec::new()).on("read symlink", &self.shown)?;
        Ok(PathBuf::from(OsString::from_vec(target.into_bytes())))
    }

    /// Makes this a second name of `existing` (of the link itself when that is a symlink).
    pub fn link_from(&self, existing: &Entry) -> Result<()> {
        rustix::fs::linkat(&*existing.dir, &existing.name, &*self.dir, &self.name, AtFlags::empty())
            .on("create hard link", &self.shown)
    }

    /// Makes a device, FIFO or socket node with `mode` (exactly). Device numbers that do not fit are refused.
    pub fn mknod(&self, kind: Kind, mode: u32, device: (u32, u32)) -> Result<()> {
        let kind = match kind {
            Kind::Char => FileType::CharacterDevice,
            Kind::Block => FileType::BlockDevice,
            Kind::Fifo => FileType::Fifo,
            Kind::Socket => FileType::Socket,
            Kind::File => FileType::RegularFile,
            other => return Err(Error::Invalid(format!("cannot make a node of kind {other:?}"))),
        };
        let (major, minor) = device;
        // The kernel's own width: 12 bits of major, 20 of minor.
        if major >= 1 << 12 || minor >= 1 << 20 {
            return Err(Error::Invalid(format!("device number {major}:{minor} is out of range")));
        }
        let number = rustix::fs::makedev(major, minor);
        let bits = Mode::from_raw_mode(mode & 0o7777);
        rustix::fs::mknodat(&*self.dir, &self.name, kind, bits, number).on("create node", &self.shown)?;
        self.chmod(mode)
    }

    /// Makes overlay's mark for "removed": a character device 0/0.
    pub fn whiteout(&self) -> Result<()> {
        let bits = Mode::empty();
        rustix::fs::mknodat(&*self.dir, &self.name, FileType::CharacterDevice, bits, 0)
            .on("create whiteout", &self.shown)
    }

    /// Makes a directory hide the ones below it in an overlay; `user` for overlays mounted with `userxattr`.
    pub fn set_opaque(&self, user: bool) -> Result<()> {
        let name = if user { xattr::USER_OVERLAY_OPAQUE } else { xattr::OVERLAY_OPAQUE };
        self.set_xattr(name, b"y")
    }

    /// Sets owner and group.
    pub fn chown(&self, uid: u32, gid: u32) -> Result<()> {
        if uid == u32::MAX || gid == u32::MAX {
            // To the kernel it means "leave".
            return Err(Error::Invalid(format!("owner {uid}:{gid} is out of range")));
        }
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        rustix::fs::chownat(&*self.dir, &self.name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
            .on("set owner of", &self.shown)
    }

    /// Sets permission, set-id and sticky bits. EOPNOTSUPP on a symlink, which has none.
    pub fn chmod(&self, mode: u32) -> Result<()> {
        let mode = mode & 0o7777;
        // SAFETY: the name is a terminated string that outlives the call; nothing is written.
        let rc = unsafe {
            libc::syscall(
                SYS_FCHMODAT2,
                self.dir.as_raw_fd(),
                self.name.as_ptr(),
                mode,
                libc::AT_SYMLINK_NOFOLLOW,
            )
        };
        if rc == 0 {
            return Ok(());
        }
        let error = std::io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::ENOSYS) {
            return Err(error).on("set mode of", &self.shown);
        }
        self.chmod_through_proc(mode).on("set mode of", &self.shown)
    }

    /// Before Linux 6.6.
    fn chmod_through_proc(&self, mode: u32) -> Result<(), Errno> {
        let handle = self.handle()?;
        if FileType::from_raw_mode(rustix::fs::fstat(&handle)?.st_mode) == FileType::Symlink {
            return Err(Errno::OPNOTSUPP);
        }
        let link = format!("/proc/self/fd/{}", handle.as_raw_fd());
        match rustix::fs::chmodat(CWD, &link, Mode::from_raw_mode(mode), AtFlags::empty()) {
            Err(Errno::NOENT) => Err(Errno::NOSYS),
            other => other,
        }
    }

    /// Sets times; `None` leaves one as it is.
    pub fn set_times(&self, accessed: Option<Time>, modified: Option<Time>) -> Result<()> {
        let spec = |time: Option<Time>| match time {
            Some(t) => Timespec { tv_sec: t.secs, tv_nsec: i64::from(t.nanos) },
            None => Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
        };
        let times = Timestamps { last_access: spec(accessed), last_modification: spec(modified) };
        rustix::fs::utimensat(&*self.dir, &self.name, &times, AtFlags::SYMLINK_NOFOLLOW)
            .on("set times of", &self.shown)
    }

    /// Sets an extended attribute, whether it is there or not.
    pub fn set_xattr(&self, name: &str, value: &[u8]) -> Result<()> {
        xattr::set_at(&*self.dir, &self.name, &xattr::c_name(name)?, value)
            .on("set extended attribute of", &self.shown)
    }

    /// The value of an extended attribute; `None` when it is not there.
    pub fn xattr(&self, name: &str) -> Result<Option<Vec<u8>>> {
        xattr::get_at(&*self.dir, &self.name, &xattr::c_name(name)?)
            .on("get extended attribute of", &self.shown)
    }

    /// The names of all extended attributes.
    pub fn xattrs(&self) -> Result<Vec<OsString>> {
        xattr::list_at(&*self.dir, &self.name).on("list extended attributes of", &self.shown)
    }

    /// Removes an extended attribute. One that is not there is fine.
    pub fn remove_xattr(&self, name: &str) -> Result<()> {
        xattr::remove_at(&*self.dir, &self.name, &xattr::c_name(name)?)
            .on("remove extended attribute of", &self.shown)
    }

    /// Renames, replacing a file (or an empty directory by a directory).
    pub fn rename_to(&self, to: &Entry) -> Result<()> {
        rustix::fs::renameat(&*self.dir, &self.name, &*to.dir, &to.name).on("rename to", &to.shown)
    }

    /// Removes a name that is no directory.
    pub fn remove_file(&self) -> Result<()> {
        rustix::fs::unlinkat(&*self.dir, &self.name, AtFlags::empty()).on("remove", &self.shown)
    }

    /// Removes an empty directory.
    pub fn remove_dir(&self) -> Result<()> {
        rustix::fs::unlinkat(&*self.dir, &self.name, AtFlags::REMOVEDIR).on("remove directory", &self.shown)
    }

    /// Removes whatever stands there with all that is below it, however deep. Nothing there is fine. Stops with EXDEV at something
    /// mounted below: other file systems are not ours to empty.
    pub fn remove_all(&self) -> Result<()> {
        remove::all(&self.dir, &self.name).on("remove", &self.shown)
    }

    /// The names in this directory, without "." and "..", in the order of the file system. ENOTDIR or ELOOP when it is none.
    pub fn read_dir(&self) -> Result<Vec<super::DirEntry>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&*self.dir, &self.name, flags, Mode::empty())
            .on("open directory", &self.shown)?;
        super::root::names(&fd).on("read directory", &self.shown)
    }

    /// This directory as a parent for further names. ENOTDIR or ELOOP when it is none.
    pub fn child(&self, name: impl AsRef<Path>) -> Result<Entry> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&*self.dir, &self.name, flags, Mode::empty())
            .on("open directory", &self.shown)?;
        let name = name.as_ref();
        let below = Entry { dir: Arc::new(fd), name: self.name.clone(), shown: self.shown.join("-") };
        below.sibling(name)
    }

    fn handle(&self) -> Result<OwnedFd, Errno> {
        resolve::open_name(&self.dir, &self.name, OFlags::PATH)
    }
}
