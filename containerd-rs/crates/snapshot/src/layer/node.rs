//! Makes one object of an archive in its directory.

use std::fs::File;
use std::io::{BufRead, Write};
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, linkat, makedev, mkdirat, mknodat, openat, statat, symlinkat,
};
use rustix::io::{Errno, Result};

use super::entry::{Entry, Kind};
use super::reader::Archive;
use super::remove::remove_all;
use super::tree::{DIRECTORY, Directory, Maker, Tree};
use super::whiteout::Brought;
use super::{LayerError, attributes, name};

/// Where an object goes.
pub(crate) struct Place<'a> {
    pub(crate) parent: &'a Directory,
    pub(crate) base: &'a [u8],
    /// Cleaned path of the object.
    pub(crate) path: &'a [u8],
}

/// Makes `entry` at its place, replacing what stands there; only directories are merged.
pub(crate) fn make<R: BufRead>(
    tree: &mut Tree,
    brought: &mut Brought,
    place: &Place<'_>,
    entry: &Entry,
    archive: &mut Archive<R>,
) -> std::result::Result<(), LayerError> {
    match entry.kind {
        Kind::Directory => make_directory(tree, brought, place, entry)?,
        Kind::File => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = replacing(tree, place, "create", || {
                openat(&place.parent.fd, place.base, flags, Mode::from_raw_mode(0o600))
            })?;
            let file = File::from(fd);
            fill(&file, entry, archive)?;
            attributes::on_descriptor(&file, entry)?;
        }
        Kind::Symlink => {
            replacing(tree, place, "symlink", || {
                symlinkat(entry.link.as_slice(), &place.parent.fd, place.base)
            })?;
            attributes::on_name(&place.parent.fd, place.base, entry)?;
        }
        Kind::HardLink => make_link(tree, place, entry)?,
        Kind::CharDevice => make_device(tree, place, entry, FileType::CharacterDevice)?,
        Kind::BlockDevice => make_device(tree, place, entry, FileType::BlockDevice)?,
        Kind::Fifo => make_device(tree, place, entry, FileType::Fifo)?,
    }
    brought.note(place.parent, place.base);
    Ok(())
}

/// Runs a call that refuses to replace; when something is there, removes it and runs it again.
fn replacing<T>(
    tree: &mut Tree,
    place: &Place<'_>,
    op: &'static str,
    make: impl Fn() -> Result<T>,
) -> std::result::Result<T, LayerError> {
    match make() {
        Err(Errno::EXIST) => {
            tree.forget();
            remove_all(&place.parent.fd, place.base).map_err(LayerError::write("replace", place.path))?;
            make().map_err(LayerError::write(op, place.path))
        }
        other => other.map_err(LayerError::write(op, place.path)),
    }
}

fn make_directory(
    tree: &mut Tree,
    brought: &mut Brought,
    place: &Place<'_>,
    entry: &Entry,
) -> std::result::Result<(), LayerError> {
    let mkdir = || mkdirat(&place.parent.fd, place.base, Mode::from_raw_mode(0o700));
    let mut merged = false;
    match mkdir() {
        Err(Errno::EXIST) => {
            let stat = statat(&place.parent.fd, place.base, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(LayerError::write("stat", place.path))?;
            merged = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            if !merged {
                replacing(tree, place, "mkdir", mkdir)?;
            }
        }
        other => other.map_err(LayerError::write("mkdir", place.path))?,
    }
    let fd = openat(&place.parent.fd, place.base, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
        .map_err(LayerError::write("open", place.path))?;
    attributes::on_descriptor(&fd, entry)?;
    let directory: Rc<Directory> = Directory::new(fd).map_err(LayerError::write("stat", place.path))?;
    if merged {
        brought.says(&directory);
    } else {
        brought.made(place.parent, place.base, &directory).map_err(LayerError::write("note", place.path))?;
    }
    tree.remember(place.path, directory);
    Ok(())
}

fn make_link(tree: &mut Tree, place: &Place<'_>, entry: &Entry) -> std::result::Result<(), LayerError> {
    let target = name::clean(&entry.link);
    let (parent, base) = name::split(&target);
    let found = if base.is_empty() { None } else { tree.find(parent)? };
    let Some(from) = found else {
        return Err(LayerError::write("link", &entry.link)(Errno::NOENT));
    };
    // The link itself, not what it points to, when the target is a symbolic link.
    replacing(tree, place, "link", || {
        linkat(&from.fd, base, &place.parent.fd, place.base, AtFlags::empty())
    })?;
    attributes::on_name(&place.parent.fd, place.base, entry)
}

fn make_device(
    tree: &mut Tree,
    place: &Place<'_>,
    entry: &Entry,
    kind: FileType,
) -> std::result::Result<(), LayerError> {
    let device = makedev(entry.device.0, entry.device.1);
    let mode = Mode::from_raw_mode(entry.mode & 0o777);
    replacing(tree, place, "mknod", || mknodat(&place.parent.fd, place.base, kind, mode, device))?;
    attributes::on_name(&place.parent.fd, place.base, entry)
}

/// Writes the bytes of a file.
fn fill<R: BufRead>(
    mut file: &File,
    entry: &Entry,
    archive: &mut Archive<R>,
) -> std::result::Result<(), LayerError> {
    let failed = |source| LayerError::Write {
        op: "write",
        path: String::from_utf8_lossy(&entry.name).into_owned(),
        source,
    };
    let Some(sparse) = &entry.sparse else {
        loop {
            let chunk = archive.chunk()?;
            if chunk.is_empty() {
                return Ok(());
            }
            let n = chunk.len();
            file.write_all(chunk).map_err(failed)?;
            archive.consume(n);
        }
    };
    file.set_len(sparse.size).map_err(failed)?;
    for (offset, length) in &sparse.segments {
        let (mut at, end) = (*offset, offset + length);
        while at < end {
            let chunk = archive.chunk()?;
            let n = chunk.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
            if n == 0 {
                return Err(LayerError::malformed("archive is cut short"));
            }
            file.write_all_at(&chunk[..n], at).map_err(failed)?;
            archive.consume(n);
            at += n as u64;
        }
    }
    Ok(())
}
