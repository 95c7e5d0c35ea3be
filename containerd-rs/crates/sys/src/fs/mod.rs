//! Files that survive a crash, directories with the right modes, and copies.

mod copy;
mod dir;
mod durable;
mod immutable;
mod unique;
mod usage;

pub use copy::{copy_range, copy_sparse, reflink_or_copy};
pub use dir::ensure_dir;
pub use durable::{fsync_dir, syncfs, write_atomic};
pub use immutable::set_immutable;
pub use unique::create_unique_dir;
pub(crate) use unique::unique_suffix;
pub use usage::{disk_usage, disk_usage_over};

use std::path::{Path, PathBuf};

/// Reads a small text file, refusing more than `max` bytes.
pub fn read_text(path: &Path, max: u64) -> crate::Result<String> {
    use crate::error::Context;
    use std::io::Read;
    let file = std::fs::File::open(path).on("open", path)?;
    let mut text = String::new();
    let read = file.take(max + 1).read_to_string(&mut text).on("read", path)?;
    if read as u64 > max {
        return Err(crate::Error::Malformed {
            path: path.to_owned(),
            what: format!("larger than {max} bytes"),
        });
    }
    Ok(text)
}

/// The directory that holds `path`; "." for a bare name.
pub(crate) fn parent_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p.to_owned(),
        Some(_) => PathBuf::from("."),
        None => PathBuf::from("/"),
    }
}
