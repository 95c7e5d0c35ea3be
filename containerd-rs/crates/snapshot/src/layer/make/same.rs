//! Whether an object of two trees is the same.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, Stat, fgetxattr, fstat, openat, readlinkat};
use rustix::io::Errno;

/// Room for a `security.capability` of any version.
const MAX_CAPABILITY: usize = 64;

/// An object: its directory, name and what `stat` says.
#[derive(Clone, Copy)]
pub(super) struct Object<'a> {
    pub(super) parent: &'a OwnedFd,
    pub(super) name: &'a [u8],
    pub(super) stat: &'a Stat,
}

impl Object<'_> {
    pub(super) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    /// Opens a regular file; an error when something else stands there by now.
    pub(super) fn open(&self) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = openat(self.parent, self.name, flags, Mode::empty())?;
        let stat = fstat(&fd)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::Error::other("file was replaced while it was read"));
        }
        Ok(File::from(fd))
    }
}

/// File capabilities, if there are any.
pub(super) fn capability(file: impl AsFd) -> io::Result<Option<Vec<u8>>> {
    let mut value = [0u8; MAX_CAPABILITY];
    match fgetxattr(file, "security.capability", &mut value) {
        Ok(length) => Ok(Some(value[..length].to_vec())),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Whether two objects of the same path are the same, as far as a layer can tell.
///
/// Archives cut times to seconds. So when either time has no fraction, equal seconds prove nothing
/// and the content decides.
pub(super) fn same(a: Object<'_>, b: Object<'_>) -> io::Result<bool> {
    let (x, y) = (a.stat, b.stat);
    if (x.st_dev, x.st_ino) == (y.st_dev, y.st_ino) {
        return Ok(true);
    }
    if (x.st_mode, x.st_uid, x.st_gid, x.st_rdev) != (y.st_mode, y.st_uid, y.st_gid, y.st_rdev) {
        return Ok(false);
    }
    if a.kind() == FileType::Directory {
        return Ok(true);
    }
    if x.st_size != y.st_size || x.st_mtime != y.st_mtime {
        return Ok(false);
    }
    let exact = x.st_mtime_nsec != 0 && y.st_mtime_nsec != 0;
    if exact && x.st_mtime_nsec != y.st_mtime_nsec {
        return Ok(false);
    }
    match a.kind() {
        FileType::RegularFile => {
            let (a, b) = (a.open()?, b.open()?);
            Ok(capability(&a)? == capability(&b)? && (exact || x.st_size == 0 || same_bytes(a, b)?))
        }
        FileType::Symlink if !exact => {
            let link = |o: Object<'_>| readlinkat(o.parent, o.name, Vec::new());
            Ok(link(a)? == link(b)?)
        }
        _ => Ok(true),
    }
}

fn same_bytes(a: File, b: File) -> io::Result<bool> {
    let (mut one, mut two) = (vec![0u8; 64 * 1024], vec![0u8; 64 * 1024]);
    loop {
        let (n, m) = (fill(&a, &mut one)?, fill(&b, &mut two)?);
        if one[..n] != two[..m] {
            return Ok(false);
        }
        if n < one.len() {
            return Ok(true);
        }
    }
}

fn fill(mut file: &File, buf: &mut [u8]) -> io::Result<usize> {
    let mut have = 0;
    while have < buf.len() {
        match file.read(&mut buf[have..]) {
            Ok(0) => break,
            Ok(n) => have += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(have)
}
