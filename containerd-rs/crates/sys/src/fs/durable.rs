//! Writing so that a crash leaves the old content or the new, never half of it.

use std::fs::File;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use super::{parent_of, unique_suffix};
use crate::error::{Context, Error, Result};

/// Replaces `path` with `data` under `mode` (exact, whatever the umask): temporary file, fsync, rename, fsync of the directory.
/// After `Ok` the content is on disk; after an error or a crash the old file is untouched (a crash may leave a `.tmp-*` beside it). A symlink at `path` is replaced, not
/// followed.
pub fn write_atomic(path: &Path, data: &[u8], mode: u32) -> Result<()> {
    let parent = parent_of(path);
    let name =
        path.file_name().ok_or_else(|| Error::Invalid(format!("no file name in {}", path.display())))?;
    let dir = open_dir(&parent)?;
    let temp = format!(".tmp-{}", unique_suffix());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(&dir, &temp, flags, Mode::from_raw_mode(0o600))
        .on("create temporary file for", path)?;
    let written = write_durably(File::from(fd), data, mode)
        .on("write", path)
        .and_then(|()| rustix::fs::renameat(&dir, &temp, &dir, name.as_bytes()).on("rename to", path));
    if let Err(e) = written {
        // The file is ours and has a name nobody else knows; a failure to remove it changes nothing for the caller.
        let _ = rustix::fs::unlinkat(&dir, &temp, AtFlags::empty());
        return Err(e);
    }
    rustix::fs::fsync(&dir).on("fsync directory", &parent)
}

fn write_durably(mut file: File, data: &[u8], mode: u32) -> std::io::Result<()> {
    file.write_all(data)?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode & 0o7777))?;
    file.sync_all()
}

/// Makes created, renamed and removed names in `dir` durable.
pub fn fsync_dir(dir: &Path) -> Result<()> {
    let fd = open_dir(dir)?;
    rustix::fs::fsync(&fd).on("fsync directory", dir)
}

/// Writes back everything of the file system that holds `path`.
pub fn syncfs(path: &Path) -> Result<()> {
    let fd =
        rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())
            .on("open", path)?;
    rustix::fs::syncfs(&fd).on("syncfs", path)
}

fn open_dir(path: &Path) -> Result<rustix::fd::OwnedFd> {
    rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .on("open directory", path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    #[test]
    fn replaces_content_and_mode_and_leaves_no_temporary() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        write_atomic(&path, b"one", 0o600).unwrap();
        let first = std::fs::metadata(&path).unwrap().ino();
        write_atomic(&path, b"two", 0o644).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        let meta = std::fs::metadata(&path).unwrap();
        assert_eq!(meta.permissions().mode() & 0o7777, 0o644);
        assert_ne!(meta.ino(), first, "the file must be replaced, not rewritten");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn does_not_write_through_a_symlink() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("target");
        std::fs::write(&target, "keep").unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&target, &link).unwrap();
        write_atomic(&link, b"new", 0o600).unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"keep");
        assert!(std::fs::symlink_metadata(&link).unwrap().is_file());
    }

    #[test]
    fn a_failed_write_leaves_the_old_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("taken");
        std::fs::create_dir(&path).unwrap();
        let err = write_atomic(&path, b"x", 0o600).unwrap_err();
        assert!(err.is_errno(rustix::io::Errno::ISDIR), "{err:?}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(write_atomic(&dir.path().join("no/such/dir/f"), b"x", 0o600).unwrap_err().is_not_found());
    }

    #[test]
    fn syncs_directories_and_file_systems() {
        let dir = tempfile::tempdir().unwrap();
        fsync_dir(dir.path()).unwrap();
        syncfs(dir.path()).unwrap();
        assert!(fsync_dir(&dir.path().join("missing")).unwrap_err().is_not_found());
    }
}
