//! Files that not even root may change or remove.

use std::fs::File;
use std::path::Path;

use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
use rustix::io::Errno;

use crate::error::{Context, Result};

/// Sets or clears the immutable attribute (`FS_IMMUTABLE_FL`). Clearing it where the file system has no such thing is fine.
pub fn set_immutable(path: &Path, on: bool) -> Result<()> {
    let file = File::open(path).on("open", path)?;
    let flags = match ioctl_getflags(&file) {
        Ok(flags) => flags,
        Err(Errno::NOTTY | Errno::OPNOTSUPP) if !on => return Ok(()),
        Err(e) => return Err(e).on("read attributes of", path),
    };
    let mut wanted = flags;
    wanted.set(IFlags::IMMUTABLE, on);
    if wanted == flags {
        return Ok(());
    }
    ioctl_setflags(&file, wanted).on("set attributes of", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_immutable_file_stays() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "body").unwrap();
        if set_immutable(&file, true).is_err() {
            // This file system has no such attribute.
            set_immutable(&file, false).unwrap();
            return;
        }
        assert!(std::fs::remove_file(&file).is_err());
        set_immutable(&file, false).unwrap();
        set_immutable(&file, false).unwrap();
        std::fs::remove_file(&file).unwrap();
    }
}
