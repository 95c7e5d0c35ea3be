//! The image of what was written to an active snapshot.
//!
//! ```text
//! applied by the differ:  layer.erofs is there, .converted is not: it is used as it is
//! written by mounts:      .converted, then mkfs.erofs into layer.new, then layer.erofs; record; then the source goes
//! ```
//! With `.converted` an image is only as good as its record: a commit that was cut short is done again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base::Mount;
use sys::mount::UnmountFlags;

use super::{image, writable};
use crate::backend::Directories;
use crate::error::{Error, Result};

/// Longest that making an image may take.
const LIMIT: Duration = Duration::from_secs(1800);
/// Unlike data in inodes, what this leaves can be shared and read ahead.
const FEATURES: &str = "-Enoinline_data";

/// Makes `layer.erofs`, unless the differ did.
pub(super) fn image_of(directory: &Path) -> Result<()> {
    let image = image(directory);
    let converted = mark(directory);
    if image.exists() && !converted.exists() {
        return Ok(());
    }
    std::fs::write(&converted, b"").map_err(|e| Error::io("create", &converted, e))?;
    if image.exists() {
        sys::fs::set_immutable(&image, false)?;
    }
    let fresh = directory.join("layer.new");
    let failed = "failed to convert upper to erofs layer";
    if writable(directory).exists() {
        from_block(directory, &fresh).map_err(|e| e.during(failed))?;
    } else {
        from_directory(&directory.join("fs"), &fresh).map_err(|e| e.during(failed))?;
    }
    std::fs::rename(&fresh, &image).map_err(|e| Error::io("rename", &fresh, e))
}

/// After the record: nobody needs what the image was made from. `fs` itself stays, for its owner.
pub(super) fn drop_source(directory: &Path) -> Result<()> {
    let fs = directory.join("fs");
    for entry in std::fs::read_dir(&fs).map_err(|e| Error::io("list", &fs, e))? {
        Directories::remove(&entry.map_err(|e| Error::io("list", &fs, e))?.path())?;
    }
    for file in [writable(directory), mark(directory)] {
        match std::fs::remove_file(&file) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::io("remove", &file, e)),
            _ => {}
        }
    }
    Ok(())
}

fn mark(directory: &Path) -> PathBuf {
    directory.join(".converted")
}

fn from_directory(source: &Path, fresh: &Path) -> Result<()> {
    let arguments = ["--quiet".to_owned(), FEATURES.to_owned(), text(fresh), text(source)];
    sys::program::run("mkfs.erofs", &arguments, LIMIT)
        .map_err(|e| Error::from(e).during("erofs apply failed"))?;
    Ok(())
}

/// `upper` of the file system in the writable image; an empty directory when nobody ever mounted the snapshot.
fn from_block(directory: &Path, fresh: &Path) -> Result<()> {
    let fs = directory.join("fs");
    let options = ["ro", "loop", "noload"].map(str::to_owned).into();
    sys::mount::mount(&Mount::new("ext4", text(&writable(directory)), options), &fs)?;
    let upper = fs.join("upper");
    let converted = match upper.try_exists() {
        Ok(true) => from_directory(&upper, fresh),
        Ok(false) => {
            let message = "the writable layer has no upper directory: it was never mounted to its end";
            Err(Error::precondition(message))
        }
        Err(e) => Err(Error::io("stat", &upper, e)),
    };
    let unmounted = sys::mount::unmount_all(&fs, UnmountFlags::empty());
    converted?;
    Ok(unmounted?)
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
