//! The directory that a layer is written into, and the parents of its objects.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, fchmod, mkdirat, openat, openat2, readlinkat, statat,
    unlinkat,
};
use rustix::io::Errno;

use super::LayerError;
use super::attributes::copy_directory;
use super::below::descend;
use super::steps::step;

/// Most links that one path may lead through, as Go's path walk allows.
const MAX_LINKS: usize = 255;
/// Most parents that are kept open.
const MAX_OPEN: usize = 64;
/// Times that a lookup is tried when the kernel saw a rename next to it.
const MAX_RETRIES: usize = 64;

/// Flags of every directory that is opened.
pub(crate) const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// An open directory below the root.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) fd: OwnedFd,
    /// Device and inode.
    pub(crate) id: (u64, u64),
}

impl Directory {
    pub(crate) fn new(fd: OwnedFd) -> rustix::io::Result<Rc<Self>> {
        let stat = rustix::fs::fstat(&fd)?;
        Ok(Rc::new(Directory { fd, id: (stat.st_dev, stat.st_ino) }))
    }
}

/// Who knows what the layer did to the tree.
pub(crate) trait Maker {
    /// Whether `name` is only a device that hides what is below.
    fn hid(&self, parent: &Directory, name: &[u8]) -> bool;
    /// Whether a directory hides all that lower layers have at its path.
    fn seals(&self, directory: &Directory) -> bool;
    /// A parent was made that the archive left out; whether its looks are decided later.
    fn left_out(&mut self, made: &Directory, path: &[u8]) -> bool;
    /// A directory was made.
    fn made(&mut self, parent: &Directory, name: &[u8], made: &Directory) -> rustix::io::Result<()>;
}

/// A root directory with the parents that are open in it.
pub(crate) struct Tree {
    root: Rc<Directory>,
    lowers: Vec<OwnedFd>,
    open: HashMap<Vec<u8>, Rc<Directory>>,
}

impl Tree {
    /// `lowers`: directories of the layers below, top first; parents that an archive leaves out are
    /// made like theirs.
    pub(crate) fn new(root: OwnedFd, lowers: Vec<OwnedFd>) -> Result<Self, LayerError> {
        let root = Directory::new(root).map_err(LayerError::write("stat", b"/"))?;
        Ok(Tree { root, lowers, open: HashMap::new() })
    }

    /// Roots of the layers below, top first.
    pub(crate) fn lowers(&self) -> &[OwnedFd] {
        &self.lowers
    }

    pub(crate) fn root(&self) -> Rc<Directory> {
        Rc::clone(&self.root)
    }

    /// Forgets the open parents: something that one of their paths may lead through went away.
    pub(crate) fn forget(&mut self) {
        self.open.clear();
    }

    /// Remembers a directory that has just been made or found at `path`.
    pub(crate) fn remember(&mut self, path: &[u8], directory: Rc<Directory>) {
        if self.open.len() >= MAX_OPEN {
            self.open.clear();
        }
        self.open.insert(path.to_vec(), directory);
    }

    /// The directory at a cleaned path; links inside stay below the root.
    pub(crate) fn find(&mut self, path: &[u8]) -> Result<Option<Rc<Directory>>, LayerError> {
        if path.is_empty() {
            return Ok(Some(self.root()));
        }
        if let Some(open) = self.open.get(path) {
            return Ok(Some(Rc::clone(open)));
        }
        match open_below(&self.root.fd, path) {
            Ok(fd) => {
                let directory = Directory::new(fd).map_err(LayerError::write("stat", path))?;
                self.remember(path, Rc::clone(&directory));
                Ok(Some(directory))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(LayerError::write("open", path)(errno)),
        }
    }

    /// As `find`, but makes what is missing; `maker` is told of it.
    pub(crate) fn find_or_make(
        &mut self,
        path: &[u8],
        maker: &mut dyn Maker,
    ) -> Result<Rc<Directory>, LayerError> {
        let found = match self.find(path) {
            // It may be one of our own devices that is in the way.
            Err(LayerError::Write { source, .. })
                if source.raw_os_error() == Some(Errno::NOTDIR.raw_os_error()) =>
            {
                None
            }
            other => other?,
        };
        match found {
            Some(found) => Ok(found),
            None => {
                let directory = self.make_missing(path, maker)?;
                self.remember(path, Rc::clone(&directory));
                Ok(directory)
            }
        }
    }

    /// Walks the path one component at a time. Links that lead nowhere are followed too, so that
    /// the directories they name are made, inside the root.
    fn make_missing(&mut self, path: &[u8], maker: &mut dyn Maker) -> Result<Rc<Directory>, LayerError> {
        let mut todo = components_reversed(path);
        let mut at: Vec<u8> = Vec::new();
        let mut here = self.root();
        let mut links = 0;
        // From here down the layers below do not show: nothing is to look like them.
        let mut sealed = maker.seals(&here);
        while let Some(part) = todo.pop() {
            step();
            if part == b".." {
                let cut = at.iter().rposition(|b| *b == b'/').unwrap_or(0);
                at.truncate(cut);
                here = self.reopen(&at)?;
                sealed = maker.seals(&here);
                continue;
            }
            let kind = match statat(&here.fd, part.as_slice(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => Some(FileType::from_raw_mode(stat.st_mode)),
                Err(Errno::NOENT) => None,
                Err(errno) => return Err(LayerError::write("stat", path)(errno)),
            };
            let hidden = kind == Some(FileType::CharacterDevice) && maker.hid(&here, &part);
            if hidden {
                unlinkat(&here.fd, part.as_slice(), AtFlags::empty())
                    .map_err(LayerError::write("replace", path))?;
            }
            match kind.filter(|_| !hidden) {
                Some(FileType::Symlink) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(LayerError::write("open", path)(Errno::LOOP));
                    }
                    let to = readlinkat(&here.fd, part.as_slice(), Vec::new())
                        .map_err(LayerError::write("readlink", path))?;
                    if to.to_bytes().starts_with(b"/") {
                        at.clear();
                        here = self.root();
                        sealed = maker.seals(&here);
                    }
                    todo.extend(components_reversed(to.to_bytes()));
                }
                Some(FileType::Directory) => {
                    here = self.step(&here, &mut at, &part)?;
                    sealed |= maker.seals(&here);
                }
                Some(_) => return Err(LayerError::write("make parent", path)(Errno::NOTDIR)),
                None => {
                    mkdirat(&here.fd, part.as_slice(), Mode::from_raw_mode(0o755))
                        .map_err(LayerError::write("mkdir", path))?;
                    let child = self.step(&here, &mut at, &part)?;
                    // Below a set-group-id directory the kernel gives that bit on.
                    fchmod(&child.fd, Mode::from_raw_mode(0o755))
                        .map_err(LayerError::write("chmod", path))?;
                    maker.made(&here, &part, &child).map_err(LayerError::write("note", path))?;
                    here = child;
                    sealed |= maker.seals(&here);
                    if !sealed && !maker.left_out(&here, &at) {
                        self.look_like_lower(&here, &at)?;
                    }
                }
            }
        }
        Ok(here)
    }

    fn step(&self, from: &Directory, at: &mut Vec<u8>, part: &[u8]) -> Result<Rc<Directory>, LayerError> {
        if !at.is_empty() {
            at.push(b'/');
        }
        at.extend_from_slice(part);
        openat(&from.fd, part, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
            .and_then(Directory::new)
            .map_err(LayerError::write("open", at))
    }

    fn reopen(&self, at: &[u8]) -> Result<Rc<Directory>, LayerError> {
        if at.is_empty() {
            return Ok(self.root());
        }
        open_below(&self.root.fd, at).and_then(Directory::new).map_err(LayerError::write("open", at))
    }

    /// Gives a parent that the archive left out the looks of the topmost lower one.
    pub(crate) fn look_like_lower(&self, made: &Directory, path: &[u8]) -> Result<(), LayerError> {
        for lower in &self.lowers {
            let found = descend(lower, path).map_err(LayerError::write("open lower", path))?;
            if let Some(found) = found.directory {
                return copy_directory(&found, &made.fd, path);
            }
            if found.ends {
                // A link that leads to a directory gives its looks; anything else is replaced.
                return match open_below(lower, path) {
                    Ok(found) => copy_directory(&found, &made.fd, path),
                    Err(_) => Ok(()),
                };
            }
        }
        Ok(())
    }
}

/// Opens a directory by a path whose links cannot lead above `root`.
pub(crate) fn open_below(root: &OwnedFd, path: &[u8]) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let mut tries = 0;
    loop {
        match openat2(root, path, DIRECTORY, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) if tries < MAX_RETRIES => tries += 1,
            other => return other,
        }
    }
}

fn components_reversed(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|b| *b == b'/').filter(|p| !p.is_empty() && *p != b".").map(<[u8]>::to_vec).rev().collect()
}
