//! Layers applied before those below them are there.
//!
//! Two things of an overlay's upper directory depend on what is below: whether a removed name has
//! anything to hide (a 0/0 device where nothing is merged would show in listings), and the looks of
//! parent directories that the archive leaves out. A layer that is applied apart makes every device
//! and plain parents, and notes both; [`settle`] decides them once the layers below are known. The
//! tree is then the one that applying in order gives.

use std::collections::HashMap;
use std::os::fd::OwnedFd;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps, fgetxattr, fstat, futimens, openat2,
    statat, unlinkat,
};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::LayerError;
use super::apply::Target;
use super::below::{Below, descend};
use super::name::split;
use super::tree::{DIRECTORY, Directory, Tree};

/// Most things that are noted; a layer with more of them is applied again, in order.
pub(crate) const MAX_UNDECIDED: usize = 10_000;

/// Something that only the layers below can decide.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Undecided {
    /// A device at this path hides a name, if there is one below.
    Hidden(Vec<u8>),
    /// A parent that the archive left out.
    Parent {
        /// Where it is.
        path: Vec<u8>,
        /// Device and inode: another directory at its path is not meant.
        id: (u64, u64),
    },
}

/// What is noted while a layer is applied.
#[derive(Default)]
pub(crate) struct Notes {
    /// By hash of directory and name.
    hidden: HashMap<u64, Vec<u8>>,
    parents: HashMap<(u64, u64), Vec<u8>>,
    overflown: bool,
}

impl Notes {
    fn has_room(&mut self) -> bool {
        self.overflown |= self.hidden.len() + self.parents.len() >= MAX_UNDECIDED;
        !self.overflown
    }

    /// A device was made that hides `name` in the directory at `path`.
    pub(crate) fn hidden(&mut self, key: u64, path: &[u8], name: &[u8]) {
        if self.has_room() {
            let full = if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() };
            self.hidden.insert(key, full);
        }
    }

    /// Something else stands where a name was hidden.
    pub(crate) fn shown(&mut self, key: u64) {
        self.hidden.remove(&key);
    }

    /// A parent was made that the archive left out.
    pub(crate) fn parent(&mut self, directory: &Directory, path: &[u8]) {
        if self.has_room() {
            self.parents.insert(directory.id, path.to_vec());
        }
    }

    /// The archive says itself how a directory looks.
    pub(crate) fn explicit(&mut self, id: (u64, u64)) {
        self.parents.remove(&id);
    }

    /// All that was noted, parents before what is in them; `None`: too much.
    pub(crate) fn finish(self) -> Option<Vec<Undecided>> {
        if self.overflown {
            return None;
        }
        let mut parents: Vec<_> = self.parents.into_iter().collect();
        parents.sort_by(|a, b| a.1.cmp(&b.1));
        let parents = parents.into_iter().map(|(id, path)| Undecided::Parent { path, id });
        Some(parents.chain(self.hidden.into_values().map(Undecided::Hidden)).collect())
    }
}

/// What became of the undecided things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// The tree is as if the layer had been applied in order.
    Yes,
    /// It cannot be made so: a parent below hands something down to what is made in it (a group, an
    /// access list). The layer must be applied again.
    ApplyAgain,
}

/// Decides what was left open, now that the layers below are known. May block.
///
/// # Errors
/// When a look at the layers below, or a change of the target, fails.
pub fn settle(target: Target, undecided: &[Undecided]) -> Result<Settled, LayerError> {
    let tree = Tree::new(target.root, target.lowers)?;
    let mut below = Below::default();
    for one in undecided {
        match one {
            Undecided::Parent { path, id } => {
                if hands_down(&tree, path)? {
                    return Ok(Settled::ApplyAgain);
                }
                match plain_directory(&tree, path)? {
                    Some(found) if found.id == *id => tree.look_like_lower(&found, path)?,
                    _ => {}
                }
            }
            Undecided::Hidden(path) => decide_hidden(&tree, &mut below, path)?,
        }
    }
    Ok(Settled::Yes)
}

/// Takes a device away that hides nothing; its directory keeps its times.
fn decide_hidden(tree: &Tree, below: &mut Below, path: &[u8]) -> Result<(), LayerError> {
    let failed = |op| LayerError::write(op, path);
    let (above, name) = split(path);
    let Some(directory) = plain_directory(tree, above)? else { return Ok(()) };
    match statat(&directory.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat)
            if FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0 => {}
        Ok(_) | Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(failed("stat")(errno)),
    }
    if below.may_have(tree, &directory, above, name).map_err(failed("look below"))? {
        return Ok(());
    }
    let stat = fstat(&directory.fd).map_err(failed("stat"))?;
    unlinkat(&directory.fd, name, AtFlags::empty()).map_err(failed("remove"))?;
    let spec = |sec: i64, nsec: u64| Timespec { tv_sec: sec, tv_nsec: nsec.cast_signed() };
    let times = Timestamps {
        last_access: spec(stat.st_atime, stat.st_atime_nsec),
        last_modification: spec(stat.st_mtime, stat.st_mtime_nsec),
    };
    futimens(&directory.fd, &times).map_err(failed("utimes"))
}

/// The directory at a path that leads through no link.
fn plain_directory(tree: &Tree, path: &[u8]) -> Result<Option<std::rc::Rc<Directory>>, LayerError> {
    if path.is_empty() {
        return Ok(Some(tree.root()));
    }
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    match openat2(&tree.root().fd, path, DIRECTORY | OFlags::NOFOLLOW, Mode::empty(), resolve) {
        Ok(fd) => Directory::new(fd).map(Some).map_err(LayerError::write("stat", path)),
        Err(Errno::LOOP | Errno::NOENT | Errno::NOTDIR | Errno::AGAIN) => Ok(None),
        Err(errno) => Err(LayerError::write("open", path)(errno)),
    }
}

/// Whether the topmost directory below at `path` gives what is made in it a group or an access list.
fn hands_down(tree: &Tree, path: &[u8]) -> Result<bool, LayerError> {
    for lower in tree.lowers() {
        let found = descend(lower, path).map_err(LayerError::write("open lower", path))?;
        if let Some(directory) = found.directory {
            return gives(&directory).map_err(LayerError::write("stat lower", path));
        }
        if found.ends {
            // Its looks come through a link: rare enough to be left to applying in order.
            return Ok(super::tree::open_below(lower, path).is_ok());
        }
    }
    Ok(false)
}

fn gives(directory: &OwnedFd) -> rustix::io::Result<bool> {
    let stat = fstat(directory)?;
    if stat.st_mode & 0o2000 != 0 {
        return Ok(true);
    }
    match fgetxattr(directory, "system.posix_acl_default", &mut [0u8; 0][..]) {
        Ok(length) => Ok(length > 0),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(false),
        Err(Errno::RANGE) => Ok(true),
        Err(errno) => Err(errno),
    }
}
