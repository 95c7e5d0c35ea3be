//! `loop`: a file as a block device. What is at the mount point is a link to the device.

use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use base::Mount;
use sys::loopdev::{LoopOptions, attach, backing_file, detach};

use crate::error::{Error, Result};

pub(super) fn mount(mount: Mount, point: &Path) -> Result<Mount> {
    let file = Path::new(&mount.source);
    let file = file.canonicalize().map_err(|e| Error::io("resolve", file, e))?;
    let options = LoopOptions {
        read_only: mount.is_read_only(),
        // Until the link is there, a crash must free the device.
        autoclear: true,
        direct_io: mount.options.iter().any(|o| o == "direct-io"),
    };
    let device = attach(&file, options)?;
    symlink(&file, note(point)).map_err(|e| Error::io("note the file of", point, e))?;
    symlink(device.path(), point).map_err(|e| Error::io("link", point, e))?;
    device.keep()?;
    Ok(mount)
}

/// The number of a device that was freed goes to others: it is ours only while the file behind it is the one that we noted.
pub(super) fn is_mounted(point: &Path) -> bool {
    match (std::fs::read_link(point), std::fs::read_link(note(point))) {
        (Ok(device), Ok(file)) => backing_file(&device) == Some(file),
        _ => false,
    }
}

pub(super) fn unmount(point: &Path) -> Result<()> {
    if is_mounted(point) {
        let device = std::fs::read_link(point).map_err(|e| Error::io("read", point, e))?;
        detach(&device)?;
    }
    for link in [point.to_owned(), note(point)] {
        match std::fs::remove_file(&link) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(Error::io("remove", &link, e)),
            _ => {}
        }
    }
    Ok(())
}

fn note(point: &Path) -> PathBuf {
    point.with_extension("file")
}
