//! What a layer hides of the layers below it.
//!
//! A marker only speaks about lower layers: what the same layer brings stays, in whatever order the
//! entries come.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::os::fd::OwnedFd;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Uid, XattrFlags, chownat, fsetxattr, mknodat, openat, statat,
};
use rustix::io::Errno;

use super::apart::{Notes, Undecided};
use super::below::Below;
use super::entry::Entry;
use super::remove::{Keep, remove_all, sweep};
use super::steps::step;
use super::tree::{DIRECTORY, Directory, Maker, Tree};
use super::{LayerError, OVERLAY_OPAQUE};

/// How hidden things are expressed in the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hiding {
    /// The target shows the merged tree: hidden things are removed from it.
    Remove,
    /// The target is the upper directory of an overlay: a 0/0 character device hides a name, an
    /// attribute makes a directory opaque.
    Overlay,
}

/// What this layer has brought and hidden so far.
pub(crate) struct Brought {
    hiding: Hiding,
    hasher: RandomState,
    /// Names that this layer made, as hashes of directory and name.
    names: HashSet<u64>,
    /// Directories that this layer put something below (only needed where things are removed).
    holders: HashSet<(u64, u64)>,
    /// Directories that are already free of lower things.
    opaque: HashSet<(u64, u64)>,
    /// Names hidden by a 0/0 device (overlay only).
    hidden: HashSet<u64>,
    /// How often this layer made a directory with this inode: a removed one's is used again.
    epochs: HashMap<(u64, u64), u32>,
    below: Below,
    /// What the layers below will decide, when they are not there yet.
    notes: Option<Notes>,
}

impl Keep for Brought {
    fn keeps(&self, directory: (u64, u64), name: &[u8]) -> bool {
        self.names.contains(&self.key(directory, name))
    }
    fn keeps_directory(&self, directory: (u64, u64)) -> bool {
        self.holders.contains(&directory)
    }
    fn enters(&self, directory: (u64, u64)) -> bool {
        !self.opaque.contains(&directory)
    }
}

impl Maker for Brought {
    fn hid(&self, parent: &Directory, name: &[u8]) -> bool {
        self.hidden.contains(&self.key(parent.id, name))
    }

    fn seals(&self, directory: &Directory) -> bool {
        self.opaque.contains(&directory.id)
    }

    fn left_out(&mut self, made: &Directory, path: &[u8]) -> bool {
        self.notes.as_mut().map(|notes| notes.parent(made, path)).is_some()
    }

    fn made(&mut self, parent: &Directory, name: &[u8], made: &Directory) -> rustix::io::Result<()> {
        self.fresh(made);
        self.note(parent, name);
        // The layer hid the lower directory and then made a new one: nothing may shine through.
        if self.take_hidden(parent, name) && self.opaque.insert(made.id) {
            fsetxattr(&made.fd, OVERLAY_OPAQUE, b"y", XattrFlags::empty())?;
        }
        Ok(())
    }
}

impl Brought {
    /// `apart`: the layers below are not there yet.
    pub(crate) fn new(hiding: Hiding, apart: bool) -> Self {
        Brought {
            hiding,
            hasher: RandomState::new(),
            names: HashSet::new(),
            holders: HashSet::new(),
            opaque: HashSet::new(),
            hidden: HashSet::new(),
            epochs: HashMap::new(),
            below: Below::default(),
            notes: apart.then(Notes::default),
        }
    }

    fn key(&self, directory: (u64, u64), name: &[u8]) -> u64 {
        let epoch = self.epochs.get(&directory).copied().unwrap_or(0);
        self.hasher.hash_one((directory, epoch, name))
    }

    /// Forgets what is known of a directory that had the inode of one just made.
    fn fresh(&mut self, made: &Directory) {
        *self.epochs.entry(made.id).or_insert(0) += 1;
        self.opaque.remove(&made.id);
        self.holders.remove(&made.id);
        self.below.forget();
        self.says(made);
    }

    /// The archive itself says how a directory looks.
    pub(crate) fn says(&mut self, directory: &Directory) {
        if let Some(notes) = &mut self.notes {
            notes.explicit(directory.id);
        }
    }

    /// What the layers below will decide; `None`: too much of it.
    pub(crate) fn undecided(self) -> Option<Vec<Undecided>> {
        self.notes.map_or_else(|| Some(Vec::new()), Notes::finish)
    }

    /// Notes that this layer made `name`.
    pub(crate) fn note(&mut self, directory: &Directory, name: &[u8]) {
        let key = self.key(directory.id, name);
        self.names.insert(key);
        if let Some(notes) = &mut self.notes {
            notes.shown(key);
        }
    }

    /// Notes that this layer puts something into `directory`: it and all above it stay.
    pub(crate) fn note_holder(&mut self, root: &Directory, directory: &Directory) -> rustix::io::Result<()> {
        if self.hiding == Hiding::Overlay {
            return Ok(());
        }
        let mut id = directory.id;
        let mut at = None;
        while id != root.id && self.holders.insert(id) {
            step();
            let above = match &at {
                None => openat(&directory.fd, "..", DIRECTORY, Mode::empty())?,
                Some(fd) => openat(fd, "..", DIRECTORY, Mode::empty())?,
            };
            let above = Directory::new(above)?;
            id = above.id;
            at = std::rc::Rc::into_inner(above).map(|d| d.fd);
        }
        Ok(())
    }

    /// Whether this layer made `name`.
    fn has(&self, directory: &Directory, name: &[u8]) -> bool {
        self.names.contains(&self.key(directory.id, name))
    }

    /// Whether `name` is a directory that this layer put something into.
    fn holds(&self, directory: &Directory, name: &[u8]) -> bool {
        !self.holders.is_empty()
            && statat(&directory.fd, name, AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|stat| self.holders.contains(&(stat.st_dev, stat.st_ino)))
    }

    /// Whether `name` was hidden before it is made again; asked once.
    fn take_hidden(&mut self, directory: &Directory, name: &[u8]) -> bool {
        !self.hidden.is_empty() && {
            let key = self.key(directory.id, name);
            self.hidden.remove(&key)
        }
    }

    /// Carries out an opaque marker in `directory`.
    pub(crate) fn hide_all(
        &mut self,
        tree: &mut Tree,
        directory: &Directory,
        path: &[u8],
    ) -> Result<(), LayerError> {
        // Once a directory above is free of lower things, so is all below it: nothing is looked at twice.
        let free =
            self.is_below_opaque(&tree.root(), directory).map_err(LayerError::write("look above", path))?;
        if !self.opaque.insert(directory.id) {
            return Ok(());
        }
        match self.hiding {
            Hiding::Overlay => {
                fsetxattr(&directory.fd, OVERLAY_OPAQUE, b"y", XattrFlags::empty())
                    .map_err(LayerError::write("set opaque", path))?;
                // Nothing is merged here any more, so nothing is left to hide name by name.
                if free || self.hidden.is_empty() {
                    return Ok(());
                }
                sweep(reopen(directory, path)?, Some(&Devices(self)))
                    .map_err(LayerError::write("empty", path))
            }
            Hiding::Remove if free => Ok(()),
            Hiding::Remove => {
                tree.forget();
                sweep(reopen(directory, path)?, Some(self)).map_err(LayerError::write("empty", path))
            }
        }
    }

    /// Carries out a whiteout of `name` in `directory`.
    pub(crate) fn hide(
        &mut self,
        tree: &mut Tree,
        directory: &Directory,
        path: &[u8],
        name: &[u8],
        entry: &Entry,
    ) -> Result<(), LayerError> {
        if self.has(directory, name) || self.holds(directory, name) {
            return self.hide_below(tree, directory, name, &entry.name);
        }
        match self.hiding {
            Hiding::Remove => {
                tree.forget();
                remove_all(&directory.fd, name).map_err(LayerError::write("remove", &entry.name))
            }
            Hiding::Overlay => {
                let key = self.key(directory.id, name);
                let failed = LayerError::write("look below", &entry.name);
                if self.hidden.contains(&key)
                    || !self.is_merged(tree, directory, path, name).map_err(failed)?
                {
                    return Ok(());
                }
                self.hidden.insert(key);
                if let Some(notes) = &mut self.notes {
                    notes.hidden(key, path, name);
                }
                hide_by_device(directory, name, entry)
            }
        }
    }

    /// Whether something below may show through at this name.
    fn is_merged(
        &mut self,
        tree: &Tree,
        directory: &Directory,
        path: &[u8],
        name: &[u8],
    ) -> rustix::io::Result<bool> {
        Ok(!self.is_below_opaque(&tree.root(), directory)?
            && self.below.may_have(tree, directory, path, name)?)
    }

    /// Whether the directory or one above it hides all lower ones.
    fn is_below_opaque(&self, root: &Directory, directory: &Directory) -> rustix::io::Result<bool> {
        if self.opaque.is_empty() {
            return Ok(false);
        }
        let mut at = Directory::new(openat(&directory.fd, ".", DIRECTORY, Mode::empty())?)?;
        loop {
            step();
            if self.opaque.contains(&at.id) {
                return Ok(true);
            }
            if at.id == root.id {
                return Ok(false);
            }
            at = Directory::new(openat(&at.fd, "..", DIRECTORY, Mode::empty())?)?;
        }
    }

    /// A name that this layer brought itself is also whited out: a directory keeps what is its own
    /// and loses what lower layers add to it; anything else hides the lower one by being there.
    fn hide_below(
        &mut self,
        tree: &mut Tree,
        directory: &Directory,
        name: &[u8],
        path: &[u8],
    ) -> Result<(), LayerError> {
        let stat = statat(&directory.fd, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(LayerError::write("stat", path))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Ok(());
        }
        let inner = openat(&directory.fd, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
            .and_then(Directory::new)
            .map_err(LayerError::write("open", path))?;
        self.hide_all(tree, &inner, path)
    }
}

/// Sweeps away the devices that hide names, and nothing else.
struct Devices<'a>(&'a Brought);

impl Keep for Devices<'_> {
    fn keeps(&self, directory: (u64, u64), name: &[u8]) -> bool {
        let key = self.0.key(directory, name);
        self.0.names.contains(&key) || !self.0.hidden.contains(&key)
    }
    fn keeps_directory(&self, _: (u64, u64)) -> bool {
        true
    }
    fn enters(&self, directory: (u64, u64)) -> bool {
        self.0.enters(directory)
    }
}

fn reopen(directory: &Directory, path: &[u8]) -> Result<OwnedFd, LayerError> {
    openat(&directory.fd, ".", DIRECTORY, Mode::empty()).map_err(LayerError::write("open", path))
}

fn hide_by_device(directory: &Directory, name: &[u8], entry: &Entry) -> Result<(), LayerError> {
    let path = &entry.name;
    let make = || mknodat(&directory.fd, name, FileType::CharacterDevice, Mode::empty(), 0);
    match make() {
        Err(Errno::EXIST) => {
            remove_all(&directory.fd, name).map_err(LayerError::write("remove", path))?;
            make()
        }
        other => other,
    }
    .map_err(LayerError::write("mknod", path))?;
    let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
    chownat(&directory.fd, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(LayerError::write("chown", path))
}
