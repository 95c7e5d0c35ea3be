//! Keeps a layer from filling the file system that it is written to.

use std::os::fd::OwnedFd;

use rustix::fs::fstatvfs;

use crate::layer::LayerError;

/// Part of a file system that is kept free at most: a hundredth, so that small ones can be used.
const SHARE: u64 = 100;
/// Inodes that are kept free at most.
const INODES: u64 = 1000;

/// Looks at the file system of a directory.
pub(super) struct Space {
    directory: OwnedFd,
    keep: u64,
}

impl Space {
    /// Keeps `keep` bytes free where `directory` is, at most a hundredth of the file system; 0 is no guard.
    pub(super) fn new(directory: OwnedFd, keep: u64) -> Self {
        Space { directory, keep }
    }

    /// Whether there is room for `more` bytes.
    ///
    /// # Errors
    /// [`LayerError::Space`] when too little is left. A file system that does not tell its size has room.
    pub(super) fn check(&self, more: u64) -> Result<(), LayerError> {
        if self.keep == 0 {
            return Ok(());
        }
        let Ok(stat) = fstatvfs(&self.directory) else { return Ok(()) };
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        let kept = self.keep.min(bytes(stat.f_blocks) / SHARE);
        if bytes(stat.f_bfree) < kept.saturating_add(more) {
            return Err(LayerError::Space { what: "bytes", free: bytes(stat.f_bfree), kept });
        }
        let kept = INODES.min(stat.f_files / SHARE);
        if stat.f_ffree < kept {
            return Err(LayerError::Space { what: "inodes", free: stat.f_ffree, kept });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use std::fs::File;

    use base::Mount;
    use sys::mount::{UnmountFlags, mount, unmount};

    use super::*;

    #[test]
    fn the_last_bytes_and_inodes_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let options = vec!["size=4m".into(), "nr_inodes=1000".into()];
        mount(&Mount::new("tmpfs", "tmpfs", options), dir.path()).unwrap();
        let space = |keep| Space::new(File::open(dir.path()).unwrap().into(), keep);
        assert!(space(1 << 30).check(0).is_ok());
        assert!(space(1 << 30).check(4 << 20).is_err());
        // A hundredth of 4 MiB are ten blocks.
        std::fs::write(dir.path().join("big"), vec![1; (4 << 20) - 8 * 4096]).unwrap();
        let full = space(1 << 30).check(0);
        let (little, none) = (space(4096).check(0), space(0).check(0));
        std::fs::remove_file(dir.path().join("big")).unwrap();
        for n in 0..994 {
            File::create(dir.path().join(n.to_string())).unwrap();
        }
        let crowded = space(1 << 30).check(0);
        unmount(dir.path(), UnmountFlags::DETACH).unwrap();
        assert!(matches!(full, Err(LayerError::Space { what: "bytes", kept: 41943, .. })), "{full:?}");
        assert!(little.is_ok() && none.is_ok(), "{little:?} {none:?}");
        assert!(matches!(crowded, Err(LayerError::Space { what: "inodes", kept: 10, .. })), "{crowded:?}");
    }
}
