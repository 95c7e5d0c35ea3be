//! Everything that can be said about a directory tree, so that two can be compared: kinds, modes, owners, times, devices, links, names of the same
//! file, attributes, content.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use sha2::{Digest, Sha256};

/// One line per object, by its path.
pub type Tree = BTreeMap<PathBuf, String>;

/// Reads the tree below `root`. Times from `now` (seconds since 1970) on are only told as "later": they are those of the making, not of an archive.
pub fn read(root: &Path, now: i64) -> anyhow::Result<Tree> {
    let mut tree = Tree::new();
    let mut names = HashMap::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(at) = todo.pop() {
        let full = root.join(&at);
        let facts = facts(&full, &at, now, &mut names).with_context(|| full.display().to_string())?;
        if fs::symlink_metadata(&full)?.is_dir() {
            let mut below: Vec<_> =
                fs::read_dir(&full)?.map(|e| e.map(|e| at.join(e.file_name()))).collect::<Result<_, _>>()?;
            // The first name of a file is the same in every reading.
            below.sort_by(|a, b| b.cmp(a));
            todo.extend(below);
        }
        tree.insert(at, facts);
    }
    Ok(tree)
}

fn facts(
    full: &Path,
    at: &Path,
    now: i64,
    names: &mut HashMap<(u64, u64), PathBuf>,
) -> anyhow::Result<String> {
    let meta = fs::symlink_metadata(full)?;
    let kind = meta.file_type();
    let mut out = format!("{:o} {}:{}", meta.mode(), meta.uid(), meta.gid());
    if meta.mtime() >= now {
        out.push_str(" later");
    } else {
        out.push_str(&format!(" {}.{:09}", meta.mtime(), meta.mtime_nsec()));
    }
    if kind.is_symlink() {
        out.push_str(&format!(" -> {:?}", fs::read_link(full)?));
    }
    if kind.is_block_device() || kind.is_char_device() {
        out.push_str(&format!(" device {:#x}", meta.rdev()));
    }
    if !kind.is_dir() && meta.nlink() > 1 {
        let first = names.entry((meta.dev(), meta.ino())).or_insert_with(|| at.to_owned());
        out.push_str(&format!(" same as {first:?}"));
    }
    if kind.is_file() {
        let mut hash = Sha256::new();
        let mut file = fs::File::open(full)?;
        // A file of holes may be bigger than memory.
        if meta.len() <= 1 << 28 {
            std::io::copy(&mut file, &mut Hashing(&mut hash))?;
        }
        out.push_str(&format!(" {} bytes {}", meta.len(), hex::encode(hash.finalize())));
    }
    let mut attributes = sys::xattr::list(full)?;
    attributes.sort();
    for name in attributes {
        let Some(name) = name.to_str() else { continue };
        // Overlay's own are how a tree is stored, not what it is.
        if !name.starts_with("trusted.overlay.") {
            let value = sys::xattr::get(full, name)?.unwrap_or_default();
            out.push_str(&format!(" {name}={:?}", std::ffi::OsStr::from_bytes(&value)));
        }
    }
    Ok(out)
}

struct Hashing<'a>(&'a mut Sha256);

impl std::io::Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What one tree has other than the other; empty when they are the same.
pub fn differences(one: &Tree, other: &Tree) -> Vec<String> {
    let mut out = Vec::new();
    for (path, facts) in one {
        match other.get(path) {
            None => out.push(format!("{}: {facts} | absent", path.display())),
            Some(there) if there != facts => out.push(format!("{}: {facts} | {there}", path.display())),
            Some(_) => {}
        }
    }
    let more = other.iter().filter(|(path, _)| !one.contains_key(*path));
    out.extend(more.map(|(path, facts)| format!("{}: absent | {facts}", path.display())));
    out
}
