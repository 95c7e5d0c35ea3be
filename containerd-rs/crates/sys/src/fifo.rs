//! Named pipes between clients and the processes that they started.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Context, Error, Result};

/// Makes a FIFO with exactly `mode`. One that is there already is fine and left as it is; anything else there is `Exists`.
pub fn create(path: &Path, mode: u32) -> Result<()> {
    match rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(mode), 0) {
        Ok(()) => rustix::fs::chmod(path, Mode::from_raw_mode(mode)).on("set mode of", path),
        Err(Errno::EXIST) if is_fifo(path)? => Ok(()),
        Err(Errno::EXIST) => Err(Error::Exists(format!("{} exists and is not a fifo", path.display()))),
        Err(e) => Err(Error::path("create fifo", path, e)),
    }
}

/// Whether there is a FIFO at `path` (symlinks are followed). A missing path is `false`.
pub fn is_fifo(path: &Path) -> Result<bool> {
    match rustix::fs::stat(path) {
        Ok(stat) => Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Fifo),
        Err(Errno::NOENT) => Ok(false),
        Err(e) => Err(e).on("stat", path),
    }
}

/// Opens the reading end at once, with or without a writer; reads give end of file while there is no writer.
pub fn open_read_nonblock(path: &Path) -> Result<File> {
    open(path, OFlags::RDONLY)
}

/// Opens the writing end at once. ENXIO while there is no reader.
pub fn open_write_nonblock(path: &Path) -> Result<File> {
    open(path, OFlags::WRONLY)
}

/// Opens both ends in one descriptor. Never waits and never fails for want of a peer. While it is open readers see no end of
/// file and writers no EPIPE: this keeps a stream alive while clients come and go.
pub fn open_read_write(path: &Path) -> Result<File> {
    open(path, OFlags::RDWR)
}

/// Sets the size of the pipe's buffer in bytes (rounded up by the kernel). Gives the size that it has now.
pub fn set_buffer(fd: impl AsFd, bytes: usize) -> Result<usize> {
    rustix::pipe::fcntl_setpipe_size(fd, bytes).doing("set pipe size")
}

/// Opens without waiting, and only a FIFO: not a terminal that would become ours, nor a device with side effects on reading.
fn open(path: &Path, access: OFlags) -> Result<File> {
    let handle =
        rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).on("open", path)?;
    let stat = rustix::fs::fstat(&handle).on("stat", path)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Fifo {
        return Err(Error::Invalid(format!("{} is not a fifo", path.display())));
    }
    // Through the handle, so that the thing checked is the thing opened.
    use std::os::fd::AsRawFd;
    let link = format!("/proc/self/fd/{}", handle.as_raw_fd());
    let flags = access | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    rustix::fs::openat(CWD, &link, flags, Mode::empty()).map(File::from).on("open", path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::io::{ErrorKind, Read, Write};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn creates_once_with_the_exact_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stdout");
        assert!(!is_fifo(&path).unwrap());
        create(&path, 0o666).unwrap();
        create(&path, 0o600).unwrap();
        assert!(is_fifo(&path).unwrap());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(matches!(create(&file, 0o600), Err(Error::Exists(_))));
        assert!(matches!(open_read_write(&file), Err(Error::Invalid(_))));
    }

    #[test]
    fn ends_open_without_waiting() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        create(&path, 0o600).unwrap();
        assert!(open_write_nonblock(&path).unwrap_err().is_errno(Errno::NXIO));
        let mut reader = open_read_nonblock(&path).unwrap();
        assert_eq!(reader.read(&mut [0; 8]).unwrap(), 0);
        let mut writer = open_write_nonblock(&path).unwrap();
        writer.write_all(b"hi").unwrap();
        let mut buf = [0; 8];
        assert_eq!(reader.read(&mut buf).unwrap(), 2);
        assert_eq!(reader.read(&mut buf).unwrap_err().kind(), ErrorKind::WouldBlock);
    }

    #[test]
    fn the_keep_alive_hides_comings_and_goings() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        create(&path, 0o600).unwrap();
        let keep = open_read_write(&path).unwrap();
        let mut writer = open_write_nonblock(&path).unwrap();
        writer.write_all(b"kept").unwrap();
        drop(writer);
        let mut reader = open_read_nonblock(&path).unwrap();
        let mut buf = [0; 8];
        assert_eq!(reader.read(&mut buf).unwrap(), 4);
        assert_eq!(reader.read(&mut buf).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert!(set_buffer(&keep, 1 << 17).unwrap() >= 1 << 17);
        drop(keep);
        assert_eq!(reader.read(&mut buf).unwrap(), 0);
    }
}
