//! Mounts that show other owners than those on disk.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::apply::Target;
use super::lowers::{Lower, below_common_directory, escape};
use super::unmount::unmount_recursive;
use crate::error::{Context, Error, Result};
use crate::idmap::{self, IdMap};

/// Prefix of the directories that a mapped clone is attached to for a moment.
pub(super) const PREFIX: &str = "ovl-idmapped";

static TEMP_LOCATION: OnceLock<PathBuf> = OnceLock::new();

/// Says where temporary clones of id-mapped layers go (made with mode 0700). Only the first call counts; without one it is
/// `$XDG_RUNTIME_DIR`, or the system's temporary directory. [`super::clean_temp_mounts`] on it clears what a crash left.
pub fn set_temp_location(dir: &Path) -> Result<()> {
    crate::fs::ensure_dir(dir, 0o700)?;
    let _ = TEMP_LOCATION.set(dir.canonicalize().on("resolve", dir)?);
    Ok(())
}

fn temp_location() -> PathBuf {
    TEMP_LOCATION
        .get()
        .cloned()
        .or_else(|| std::env::var_os("XDG_RUNTIME_DIR").filter(|d| !d.is_empty()).map(PathBuf::from))
        .unwrap_or_else(std::env::temp_dir)
}

/// Replaces the mount on `target` by a clone of it with the ids mapped.
pub(super) fn remap_in_place(uids: &str, gids: &str, target: &Target) -> Result<()> {
    let namespace = idmap::user_namespace(&IdMap::parse_list(uids)?, &IdMap::parse_list(gids)?)?;
    let tree = idmap::clone_mapped(&target.kernel, &namespace, false)?;
    idmap::attach(&tree, &target.kernel)
}

/// Layers of an overlay seen through one read-only mapped clone of the directory that holds them all. Dropping it takes the clone away.
pub(super) struct MappedLowers {
    /// The layers under their temporary paths.
    pub layers: Vec<Lower>,
    clone: PathBuf,
}

impl MappedLowers {
    pub fn new(uids: &str, gids: &str, layers: &[Lower]) -> Result<MappedLowers> {
        let namespace = idmap::user_namespace(&IdMap::parse_list(uids)?, &IdMap::parse_list(gids)?)?;
        let (directory, relative) = below_common_directory(layers)
            .ok_or_else(|| Error::Invalid("the layers to map have no directory in common".to_owned()))?;
        let tree = idmap::clone_mapped(Path::new(&directory), &namespace, true)?;
        let clone = crate::fs::create_unique_dir(&temp_location(), PREFIX)?;
        let prefix = escape(&clone.to_string_lossy());
        let layers =
            relative.into_iter().map(|l| Lower { escaped: format!("{prefix}/{}", l.escaped), ..l }).collect();
        let mapped = MappedLowers { layers, clone };
        // From here on a failure drops `mapped`, which takes the directory away again.
        idmap::attach(&tree, &mapped.clone)?;
        Ok(mapped)
    }
}

impl Drop for MappedLowers {
    fn drop(&mut self) {
        let removed = unmount_recursive(&self.clone, rustix::mount::UnmountFlags::empty())
            .and_then(|()| std::fs::remove_dir(&self.clone).on("remove directory", &self.clone));
        if let Err(e) = removed {
            tracing::warn!(error = %base::chain(&e), "cannot remove the temporary clone of id-mapped layers");
        }
    }
}
