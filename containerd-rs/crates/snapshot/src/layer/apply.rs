//! Applies an archive to a directory.

use std::io::BufRead;
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use super::LayerError;
use super::apart::Undecided;
use super::attributes;
use super::entry::{Entry, Kind, Time};
use super::name::{Meaning, clean, meaning, split};
use super::node::{Place, make};
use super::reader::Archive;
use super::steps::step;
use super::tree::Tree;
use super::whiteout::{Brought, Hiding};

/// How much a layer may bring; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Entries of the archive.
    pub entries: Option<u64>,
    /// Bytes of the archive, uncompressed.
    pub bytes: Option<u64>,
}

/// How to apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// How what the layer hides is expressed.
    pub whiteouts: Hiding,
    /// Leave devices out: they cannot be made in a user namespace.
    pub skip_devices: bool,
    /// The layers below are not there yet: note what depends on them. For [`Hiding::Overlay`] only.
    #[serde(default)]
    pub apart: bool,
    /// What is too much.
    pub limits: Limits,
}

/// Where to apply.
pub struct Target {
    /// Root of the tree; must be open for reading.
    pub root: OwnedFd,
    /// Roots of the layers below, top first. Parents that the archive leaves out are made like theirs.
    pub lowers: Vec<OwnedFd>,
}

/// What was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Entries of the archive.
    pub entries: u64,
    /// What the layers below will decide, when the layer was applied apart; `None`: too much of it,
    /// the layer must be applied again.
    pub undecided: Option<Vec<Undecided>>,
}

/// A directory whose times are set when all is made.
struct Late {
    path: Vec<u8>,
    atime: Time,
    mtime: Time,
}

/// Applies the archive on `stream` to `target`; the stream is left behind the end mark, what follows
/// is the caller's to read. May move the working directory of the process, and makes
/// parents under its umask: meant for a process of its own.
pub fn apply<R: BufRead>(stream: R, target: Target, rules: Rules) -> Result<(Applied, R), LayerError> {
    let mut tree = Tree::new(target.root, target.lowers)?;
    let mut brought = Brought::new(rules.whiteouts, rules.apart);
    let mut archive = Archive::new(stream);
    let mut late = Vec::new();
    let mut entries = 0;
    while let Some(entry) = archive.next()? {
        entries += 1;
        step();
        if let Some(limit) = rules.limits.entries.filter(|limit| entries > *limit) {
            return Err(LayerError::Limit { what: "entries", limit });
        }
        if rules.skip_devices && matches!(entry.kind, Kind::CharDevice | Kind::BlockDevice) {
            continue;
        }
        apply_entry(&mut tree, &mut brought, &entry, &mut archive, &mut late)?;
    }
    set_late_times(&mut tree, late)?;
    Ok((Applied { entries, undecided: brought.undecided() }, archive.into_inner()))
}

fn apply_entry<R: BufRead>(
    tree: &mut Tree,
    brought: &mut Brought,
    entry: &Entry,
    archive: &mut Archive<R>,
    late: &mut Vec<Late>,
) -> Result<(), LayerError> {
    let path = clean(&entry.name);
    if path.contains(&0) || entry.link.contains(&0) {
        return Err(LayerError::malformed("name with a NUL"));
    }
    let (above, base) = split(&path);
    // The root is not the layer's to change.
    if base.is_empty() {
        return Ok(());
    }
    let meaning = meaning(base)?;
    let parent = tree.find_or_make(above, brought)?;
    brought.note_holder(&tree.root(), &parent).map_err(LayerError::write("stat", above))?;
    match meaning {
        Meaning::Opaque => brought.hide_all(tree, &parent, above),
        Meaning::Hide(hidden) => brought.hide(tree, &parent, above, hidden, entry),
        Meaning::Object => {
            make(tree, brought, &Place { parent: &parent, base, path: &path }, entry, archive)?;
            if entry.kind == Kind::Directory {
                let (atime, mtime) = (attributes::access_time(entry), entry.mtime.bounded());
                late.push(Late { path, atime, mtime });
            }
            Ok(())
        }
    }
}

fn set_late_times(tree: &mut Tree, late: Vec<Late>) -> Result<(), LayerError> {
    for Late { path, atime, mtime } in late {
        let (above, base) = split(&path);
        // A later entry may have replaced it.
        let Some(parent) = tree.find(above)? else { continue };
        match attributes::directory_times(&parent.fd, base, atime, mtime) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(errno) => return Err(LayerError::write("utimes", &path)(errno)),
        }
    }
    Ok(())
}
