//! A directory that nothing below it leads out of.

use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::entry::Entry;
use super::meta::{DirEntry, Kind, Meta};
use super::{mkdir, resolve};
use crate::error::{Context, Error, Result};

/// A directory used as "/" for everything below it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Root {
    pub(super) fd: Arc<OwnedFd>,
    /// For errors only.
    pub(super) shown: PathBuf,
}

impl Root {
    /// Opens a directory by a path that is trusted (symlinks in it are followed on the host).
    pub fn open_at(path: &Path) -> Result<Root> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(CWD, path, flags, Mode::empty()).on("open directory", path)?;
        Ok(Root { fd: Arc::new(fd), shown: path.to_owned() })
    }

    /// Takes an open directory; `shown` is what errors call it.
    pub fn from_fd(fd: OwnedFd, shown: &Path) -> Root {
        Root { fd: Arc::new(fd), shown: shown.to_owned() }
    }

    /// A directory below as a root of its own: absolute symlinks below it then start there.
    pub fn sub_root(&self, path: impl AsRef<Path>) -> Result<Root> {
        let path = path.as_ref();
        let fd = self.open(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        Ok(Root { fd: Arc::new(fd), shown: self.shown(path) })
    }

    /// Opens something below, following symlinks inside the root unless `flags` has `NOFOLLOW`. Opening a device or FIFO has its usual
    /// effects: use [`Root::open_file`] for what should be a file.
    pub fn open(&self, path: impl AsRef<Path>, flags: OFlags) -> Result<OwnedFd> {
        let path = path.as_ref();
        resolve::open_in_root(&self.fd, path, flags).on("open", self.shown(path))
    }

    /// Opens a regular file for reading, following symlinks inside the root. FIFOs, devices, sockets and directories are refused
    /// without being opened.
    pub fn open_file(&self, path: impl AsRef<Path>) -> Result<File> {
        let path = path.as_ref();
        let handle = self.open(path, OFlags::PATH)?;
        reopen_file(&handle, || resolve::open_in_root(&self.fd, path, FILE_FLAGS))
            .on("open file", self.shown(path))
    }

    /// Reads a regular file of at most `max` bytes (see [`Root::open_file`]).
    pub fn read_bounded(&self, path: impl AsRef<Path>, max: u64) -> Result<Vec<u8>> {
        let path = path.as_ref();
        let file = self.open_file(path)?;
        let mut data = Vec::new();
        let read = file.take(max.saturating_add(1)).read_to_end(&mut data).on("read", self.shown(path))?;
        if read as u64 > max {
            return Err(Error::Malformed {
                path: self.shown(path),
                what: format!("larger than {max} bytes"),
            });
        }
        Ok(data)
    }

    /// The parent directory of `path` resolved in the root, with the last name untouched.
    ///
    /// `path` is cleaned first: a leading "/", "." and ".." are taken out of the text (".." above the root stays at the root). An empty
    /// path is the root itself.
    pub fn entry(&self, path: impl AsRef<Path>) -> Result<Entry> {
        let path = path.as_ref();
        let (parent, name) = split(path)?;
        let dir = match &parent {
            None => Arc::clone(&self.fd),
            Some(parent) => {
                let flags = OFlags::PATH | OFlags::DIRECTORY;
                Arc::new(
                    resolve::open_in_root(&self.fd, parent, flags)
                        .on("open directory", self.shown(parent))?,
                )
            }
        };
        Ok(Entry { dir, name, shown: self.shown(path) })
    }

    /// Like [`Root::entry`], making missing parents with `mode` (exactly). Gives the directories that were made, from the top down, as
    /// paths below the root without symlinks. A dangling symlink among the parents is made to lead somewhere, inside the root.
    pub fn entry_creating(&self, path: impl AsRef<Path>, mode: u32) -> Result<(Entry, Vec<PathBuf>)> {
        let path = path.as_ref();
        match self.entry(path) {
            Err(e) if e.is_not_found() => {}
            other => return other.map(|entry| (entry, Vec::new())),
        }
        let (parent, name) = split(path)?;
        let (dir, made) = mkdir::all(self, parent.as_deref().unwrap_or(Path::new("")), mode)?;
        Ok((Entry { dir: Arc::new(dir), name, shown: self.shown(path) }, made))
    }

    /// Makes a directory and its missing parents, all with `mode` (exactly). Gives those that were made (see
    /// [`Root::entry_creating`]). One that is there already is fine.
    pub fn mkdir_all(&self, path: impl AsRef<Path>, mode: u32) -> Result<Vec<PathBuf>> {
        let cleaned = clean(path.as_ref())?;
        mkdir::all(self, &cleaned, mode).map(|(_, made)| made)
    }

    /// Attributes of what stands at `path`, itself when it is a symlink; `None` when nothing does.
    pub fn metadata(&self, path: impl AsRef<Path>) -> Result<Option<Meta>> {
        match self.entry(path) {
            Ok(entry) => entry.metadata(),
            Err(e) if e.is_not_found() || e.is_errno(Errno::NOTDIR) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The names in a directory (followed inside the root), without "." and "..", in the order of the file system.
    pub fn read_dir(&self, path: impl AsRef<Path>) -> Result<Vec<DirEntry>> {
        let path = path.as_ref();
        let fd = self.open(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        names(&fd).on("read directory", self.shown(path))
    }

    /// Makes a directory with `mode`, exactly.
    pub fn create_dir(&self, path: impl AsRef<Path>, mode: u32) -> Result<()> {
        self.entry(path)?.create_dir(mode)
    }

    /// Makes a symlink at `path` that says `target`.
    pub fn symlink(&self, target: impl AsRef<Path>, path: impl AsRef<Path>) -> Result<()> {
        self.entry(path)?.symlink(target)
    }

    /// Gives `existing` (not followed) a second name.
    pub fn link(&self, existing: impl AsRef<Path>, path: impl AsRef<Path>) -> Result<()> {
        self.entry(path)?.link_from(&self.entry(existing)?)
    }

    /// Makes a device, FIFO or socket node.
    pub fn mknod(&self, path: impl AsRef<Path>, kind: Kind, mode: u32, device: (u32, u32)) -> Result<()> {
        self.entry(path)?.mknod(kind, mode, device)
    }

    /// Renames within the root, replacing a file (or an empty directory by a directory).
    pub fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
        self.entry(from)?.rename_to(&self.entry(to)?)
    }

    /// Removes whatever stands at `path` with all that is below it. Nothing there is fine.
    pub fn remove_all(&self, path: impl AsRef<Path>) -> Result<()> {
        match self.entry(path) {
            Ok(entry) => entry.remove_all(),
            Err(e) if e.is_not_found() || e.is_errno(Errno::NOTDIR) => Ok(()),
            Err(e) => Err(e),
        }
    }

    pub(super) fn shown(&self, path: &Path) -> PathBuf {
        self.shown.join(path.strip_prefix("/").unwrap_or(path))
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// How a file is opened for reading once it is known to be one.
pub(super) const FILE_FLAGS: OFlags =
    OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// Opens the regular file behind an `O_PATH` handle: through `/proc`, or where there is none by looking it up `again`.
pub(super) fn reopen_file(
    handle: &OwnedFd,
    again: impl FnOnce() -> Result<OwnedFd, Errno>,
) -> Result<File, Errno> {
    let expected = rustix::fs::fstat(handle)?;
    match FileType::from_raw_mode(expected.st_mode) {
        FileType::RegularFile => {}
        FileType::Directory => return Err(Errno::ISDIR),
        _ => return Err(Errno::INVAL),
    }
    let link = format!("/proc/self/fd/{}", handle.as_raw_fd());
    let fd = match rustix::fs::openat(CWD, &link, FILE_FLAGS, Mode::empty()) {
        Err(Errno::NOENT) => again()?,
        other => other?,
    };
    let got = rustix::fs::fstat(&fd)?;
    if (got.st_dev, got.st_ino) != (expected.st_dev, expected.st_ino) {
        return Err(Errno::STALE);
    }
    Ok(File::from(fd))
}

pub(super) fn names(dir: impl AsFd) -> Result<Vec<DirEntry>, Errno> {
    let mut entries = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            use std::os::unix::ffi::OsStringExt;
            let name = std::ffi::OsString::from_vec(name.to_vec());
            entries.push(DirEntry { name, kind: Kind::of(entry.file_type()), ino: entry.ino() });
        }
    }
    Ok(entries)
}

/// Takes a leading "/", "." and ".." out of the text of a path.
pub(super) fn clean(path: &Path) -> Result<PathBuf> {
    if path.as_os_str().as_encoded_bytes().contains(&0) {
        return Err(Error::Invalid(format!("path {:?} holds a zero byte", path.display().to_string())));
    }
    let mut cleaned = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => cleaned.push(name),
            Component::ParentDir => {
                cleaned.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Ok(cleaned)
}

/// Parent (`None` for the root) and last name ("." for the root itself).
fn split(path: &Path) -> Result<(Option<PathBuf>, CString)> {
    let cleaned = clean(path)?;
    let name = cleaned.file_name().map_or(b".".as_slice(), |n| n.as_encoded_bytes());
    let name = CString::new(name).map_err(|_| Error::Invalid("zero byte in path".to_owned()))?;
    let parent = cleaned.parent().filter(|p| !p.as_os_str().is_empty()).map(Path::to_owned);
    Ok((parent, name))
}
