//! Changes to a tree, applied to a mounted snapshot and to a plain directory alike, and the
//! comparison of two trees.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// One change.
#[derive(Clone)]
pub enum Change {
    File(String, String, u32),
    Dir(String, u32),
    RemoveAll(String),
    Chown(String, u32, u32),
    Rename(String, String),
    Link(String, String),
}

pub fn file(path: &str, body: &str, mode: u32) -> Change {
    Change::File(path.into(), body.into(), mode)
}
pub fn dir(path: &str, mode: u32) -> Change {
    Change::Dir(path.into(), mode)
}
pub fn remove_all(path: &str) -> Change {
    Change::RemoveAll(path.into())
}
pub fn chown(path: &str, uid: u32, gid: u32) -> Change {
    Change::Chown(path.into(), uid, gid)
}
pub fn rename(from: &str, to: &str) -> Change {
    Change::Rename(from.into(), to.into())
}
pub fn link(from: &str, to: &str) -> Change {
    Change::Link(from.into(), to.into())
}

/// Carries the changes out below `root`.
pub fn apply(root: &Path, changes: &[Change]) {
    let at = |p: &str| root.join(p.trim_start_matches('/'));
    let chmod = |p: &str, mode: u32| fs::set_permissions(at(p), fs::Permissions::from_mode(mode)).unwrap();
    for change in changes {
        match change {
            Change::File(path, body, mode) => {
                fs::write(at(path), body).unwrap();
                chmod(path, *mode);
            }
            Change::Dir(path, mode) => {
                fs::create_dir(at(path)).unwrap();
                chmod(path, *mode);
            }
            Change::RemoveAll(path) => {
                let path = at(path);
                if fs::symlink_metadata(&path).unwrap().is_dir() {
                    fs::remove_dir_all(path).unwrap();
                } else {
                    fs::remove_file(path).unwrap();
                }
            }
            Change::Chown(path, uid, gid) => {
                std::os::unix::fs::lchown(at(path), Some(*uid), Some(*gid)).unwrap();
            }
            Change::Rename(from, to) => fs::rename(at(from), at(to)).unwrap(),
            Change::Link(from, to) => fs::hard_link(at(from), at(to)).unwrap(),
        }
    }
}

/// All that a tree shows: path -> mode, owner, content or link.
pub fn listing(root: &Path) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let kind = meta.file_type();
        let content = if kind.is_symlink() {
            fs::read_link(&path).unwrap().display().to_string()
        } else if kind.is_file() {
            fs::read_to_string(&path).unwrap()
        } else {
            String::new()
        };
        if kind.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        }
        let name = path.strip_prefix(root).unwrap().display().to_string();
        if !name.is_empty() {
            out.insert(name, format!("{:o} {}:{} {content}", meta.mode(), meta.uid(), meta.gid()));
        }
    }
    out
}

#[track_caller]
pub fn assert_same(a: &Path, b: &Path) {
    assert_eq!(listing(a), listing(b), "{} and {} differ", a.display(), b.display());
}
