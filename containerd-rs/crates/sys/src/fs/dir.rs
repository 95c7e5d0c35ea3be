//! Directories of our own, with modes that are not too open.

use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags};

use crate::error::{Context, Error, Result};

/// Makes sure that `path` is a directory with at most the permission bits of `mode`.
///
/// Missing parents are made with 0711 (`mode` when that is tighter). A directory that exists keeps its owner; bits that `mode` does
/// not have are taken away, bits that it lacks are not added. Gives whether modes were repaired, so that the caller can log it.
pub fn ensure_dir(path: &Path, mode: u32) -> Result<bool> {
    match rustix::fs::mkdirat(CWD, path, Mode::from_raw_mode(mode)) {
        Ok(()) => {
            set_exact_mode(path, mode)?;
            return Ok(false);
        }
        Err(rustix::io::Errno::EXIST) => {}
        Err(rustix::io::Errno::NOENT) => {
            if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
                make_parents(parent, mode & 0o711 | 0o700)?;
                return ensure_leaf(path, mode);
            }
            return Err(Error::path("create directory", path, rustix::io::Errno::NOENT));
        }
        Err(e) => return Err(Error::path("create directory", path, e)),
    }
    repair(path, mode)
}

fn ensure_leaf(path: &Path, mode: u32) -> Result<bool> {
    match rustix::fs::mkdirat(CWD, path, Mode::from_raw_mode(mode)) {
        Ok(()) => set_exact_mode(path, mode).map(|()| false),
        Err(rustix::io::Errno::EXIST) => repair(path, mode),
        Err(e) => Err(Error::path("create directory", path, e)),
    }
}

fn make_parents(path: &Path, mode: u32) -> Result<()> {
    let missing: Vec<&Path> =
        path.ancestors().take_while(|p| !p.as_os_str().is_empty() && !p.exists()).collect();
    for dir in missing.into_iter().rev() {
        match rustix::fs::mkdirat(CWD, dir, Mode::from_raw_mode(mode)) {
            Ok(()) => set_exact_mode(dir, mode)?,
            Err(rustix::io::Errno::EXIST) => {}
            Err(e) => return Err(Error::path("create directory", dir, e)),
        }
    }
    Ok(())
}

/// Undoes the umask on a directory that was just made.
fn set_exact_mode(path: &Path, mode: u32) -> Result<()> {
    rustix::fs::chmod(path, Mode::from_raw_mode(mode & 0o7777)).on("set mode of", path)
}

fn repair(path: &Path, mode: u32) -> Result<bool> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(CWD, path, flags, Mode::empty()).on("open directory", path)?;
    let stat = rustix::fs::fstat(&fd).on("stat", path)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Err(Error::path("open directory", path, rustix::io::Errno::NOTDIR));
    }
    let have = stat.st_mode & 0o777;
    if have & !mode & 0o777 == 0 {
        return Ok(false);
    }
    // Sticky and set-id bits are kept: they never make a directory more open.
    let repaired = (stat.st_mode & 0o7000) | (have & mode);
    rustix::fs::fchmod(&fd, Mode::from_raw_mode(repaired)).on("set mode of", path)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn creates_with_the_exact_mode_and_closed_parents() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/c");
        assert!(!ensure_dir(&path, 0o700).unwrap());
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&dir.path().join("a")), 0o700);
        let open = dir.path().join("x/y");
        ensure_dir(&open, 0o711).unwrap();
        assert_eq!((mode(&open), mode(&dir.path().join("x"))), (0o711, 0o711));
    }

    #[test]
    fn repairs_what_is_too_open_and_leaves_what_is_tighter() {
        let dir = tempfile::tempdir().unwrap();
        for (before, wanted, after, repaired) in [
            (0o777, 0o700, 0o700, true),
            (0o755, 0o711, 0o711, true),
            (0o700, 0o711, 0o700, false),
            (0o711, 0o711, 0o711, false),
        ] {
            let path = dir.path().join(format!("d{before:o}{wanted:o}"));
            std::fs::create_dir(&path).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(before)).unwrap();
            assert_eq!(ensure_dir(&path, wanted).unwrap(), repaired);
            assert_eq!(mode(&path), after);
        }
    }

    #[test]
    fn a_file_in_the_way_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "").unwrap();
        assert!(ensure_dir(&path, 0o700).unwrap_err().is_errno(rustix::io::Errno::NOTDIR));
    }
}
