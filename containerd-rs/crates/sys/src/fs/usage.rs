//! How much a tree takes on disk.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::path::Path;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::error::{Context, Result};

/// Counts the inodes below and including `path` and the bytes of disk that they take (blocks, not lengths). An inode with several
/// names counts once. Symlinks are not followed, other file systems mounted below are not entered, and what vanishes while it is
/// counted is left out.
pub fn disk_usage(path: &Path) -> Result<(u64, u64)> {
    let stat = rustix::fs::lstat(path).on("stat", path)?;
    let mut count = Count { device: stat.st_dev, ..Count::default() };
    count.add(&stat);
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        let top = open_dir(CWD, path).on("open directory", path)?;
        count.walk(top).on("read directories below", path)?;
    }
    Ok((count.inodes, count.bytes))
}

/// As [`disk_usage`], without what is the same inode, unchanged, at the same place below `base`: what a snapshot of `base` has added.
pub fn disk_usage_over(path: &Path, base: &Path) -> Result<(u64, u64)> {
    let stat = rustix::fs::lstat(path).on("stat", path)?;
    let top = open_dir(CWD, path).on("open directory", path)?;
    let below = open_dir(CWD, base).on("open directory", base)?;
    let mut count = Count { device: stat.st_dev, base: Some(below), ..Count::default() };
    count.walk(top).on("read directories below", path)?;
    Ok((count.inodes, count.bytes))
}

#[derive(Default)]
struct Count {
    device: u64,
    /// What is not counted: the directory at the place of the walk, or the last one above it that is there.
    base: Option<OwnedFd>,
    /// How many levels below `base` the walk is.
    missing: usize,
    inodes: u64,
    bytes: u64,
    linked: HashSet<u64>,
}

struct Level {
    /// Identity of the directory, checked on the way back up.
    inode: u64,
    /// Subdirectories still to enter.
    pending: Vec<CString>,
}

impl Count {
    fn add(&mut self, stat: &Stat) {
        let several_names = stat.st_nlink > 1 && FileType::from_raw_mode(stat.st_mode) != FileType::Directory;
        if several_names && !self.linked.insert(stat.st_ino) {
            return;
        }
        self.inodes += 1;
        self.bytes += stat.st_blocks as u64 * 512;
    }

    /// Depth first with one open directory, whatever the depth.
    fn walk(&mut self, top: OwnedFd) -> Result<(), Errno> {
        let inode = rustix::fs::fstat(&top)?.st_ino;
        let pending = self.scan(&top)?;
        let mut levels = vec![Level { inode, pending }];
        let mut current = top;
        while let Some(level) = levels.last_mut() {
            let Some(name) = level.pending.pop() else {
                levels.pop();
                let Some(above) = levels.last() else { break };
                current = open_dir(&current, c"..")?;
                self.leave()?;
                if rustix::fs::fstat(&current)?.st_ino != above.inode {
                    // Somebody moved the directory we were in: going on would count another tree.
                    return Err(Errno::STALE);
                }
                continue;
            };
            match open_dir(&current, &name) {
                Ok(fd) => {
                    let stat = rustix::fs::fstat(&fd)?;
                    if stat.st_dev != self.device {
                        continue;
                    }
                    self.enter(&name);
                    let pending = self.scan(&fd)?;
                    levels.push(Level { inode: stat.st_ino, pending });
                    current = fd;
                }
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn enter(&mut self, name: &CStr) {
        match &self.base {
            Some(base) if self.missing == 0 => match open_dir(base, name) {
                Ok(below) => self.base = Some(below),
                Err(_) => self.missing = 1,
            },
            Some(_) => self.missing += 1,
            None => {}
        }
    }

    fn leave(&mut self) -> Result<(), Errno> {
        match &self.base {
            Some(base) if self.missing == 0 => self.base = Some(open_dir(base, c"..")?),
            Some(_) => self.missing -= 1,
            None => {}
        }
        Ok(())
    }

    /// Whether the base has the same inode there, in the same state.
    fn is_in_base(&self, name: &CStr, stat: &Stat) -> bool {
        let Some(base) = self.base.as_ref().filter(|_| self.missing == 0) else { return false };
        rustix::fs::statat(base, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|there| {
            (there.st_ino, there.st_size, there.st_ctime, there.st_ctime_nsec)
                == (stat.st_ino, stat.st_size, stat.st_ctime, stat.st_ctime_nsec)
        })
    }

    /// Counts the entries of one directory and gives the names of its subdirectories.
    fn scan(&mut self, dir: &OwnedFd) -> Result<Vec<CString>, Errno> {
        let mut below = Vec::new();
        for entry in Dir::read_from(dir)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => {
                    if stat.st_dev != self.device {
                        continue;
                    }
                    if !self.is_in_base(name, &stat) {
                        self.add(&stat);
                    }
                    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                        below.push(name.to_owned());
                    }
                }
                Err(Errno::NOENT) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(below)
    }
}

fn open_dir(at: impl AsFd, name: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, name, flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn counts_hard_links_once_and_does_not_follow_symlinks() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("tree");
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::write(root.join("a/one"), vec![1u8; 8192]).unwrap();
        std::fs::hard_link(root.join("a/one"), root.join("a/b/two")).unwrap();
        std::os::unix::fs::symlink("/etc", root.join("a/b/outside")).unwrap();
        let expected: u64 = ["", "a", "a/b", "a/one", "a/b/outside"]
            .iter()
            .map(|p| std::fs::symlink_metadata(root.join(p)).unwrap().blocks() * 512)
            .sum();
        assert_eq!(disk_usage(&root).unwrap(), (5, expected));
        assert_eq!(disk_usage(&root.join("a/one")).unwrap().0, 1);
        assert!(disk_usage(&dir.path().join("missing")).unwrap_err().is_not_found());
    }

    #[test]
    fn what_the_base_has_is_not_counted() {
        let dir = tempfile::tempdir().unwrap();
        let (base, tree) = (dir.path().join("base"), dir.path().join("tree"));
        for path in ["base/old/deep", "tree/old/deep", "tree/new/deep"] {
            std::fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        std::fs::write(base.join("old/deep/f"), vec![1u8; 8192]).unwrap();
        std::fs::hard_link(base.join("old/deep/f"), tree.join("old/deep/f")).unwrap();
        std::fs::hard_link(base.join("old/deep/f"), tree.join("new/deep/f")).unwrap();
        std::fs::write(tree.join("old/deep/g"), vec![1u8; 4096]).unwrap();
        // old, old/deep (other inodes here), g, new, new/deep, new/deep/f; not old/deep/f.
        assert_eq!(disk_usage_over(&tree, &base).unwrap().0, 6);
        assert_eq!(disk_usage_over(&base, &base).unwrap(), (0, 0));
    }

    #[test]
    fn walks_trees_deeper_than_any_path() {
        let dir = tempfile::tempdir().unwrap();
        let mut fd = open_dir(CWD, dir.path()).unwrap();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&fd, "deeper", Mode::from_raw_mode(0o700)).unwrap();
            fd = open_dir(&fd, "deeper").unwrap();
        }
        assert_eq!(disk_usage(dir.path()).unwrap().0, 3001);
        // std's remove_dir_all recurses one descriptor per level; climb instead.
        for _ in 0..3000 {
            fd = open_dir(&fd, "..").unwrap();
            rustix::fs::unlinkat(&fd, "deeper", AtFlags::REMOVEDIR).unwrap();
        }
    }
}
