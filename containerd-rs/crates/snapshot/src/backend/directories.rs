//! The numbered directories of snapshots.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};

use super::numbers::Numbers;
use crate::error::{Error, Result};
use crate::layer::remove_tree;

/// Where the numbered directories are.
pub(crate) struct Directories {
    parent: PathBuf,
    pub(super) numbers: Numbers,
}

impl Directories {
    /// `recorded`: the highest number of a record. Numbers of leftover directories are not given out.
    pub(crate) fn open(parent: PathBuf, recorded: u64) -> Result<Self> {
        let on_disk = list(&parent)?.iter().filter_map(|name| name.parse().ok()).max().unwrap_or(0);
        Ok(Directories { parent, numbers: Numbers::after(recorded.max(on_disk)) })
    }

    pub(crate) fn path(&self, id: u64) -> PathBuf {
        self.parent.join(id.to_string())
    }

    /// Removes every directory that has no record. The order matters: what is on disk, then what is
    /// under way, then what is recorded; so a directory is removed only if its record was never
    /// written or is gone.
    pub(crate) fn remove_unnamed(
        &self,
        recorded: impl FnOnce() -> Result<HashSet<u64>>,
        remove: fn(&Path) -> Result<()>,
    ) -> Result<()> {
        let names = list(&self.parent)?;
        let under_way = self.numbers.under_way();
        let recorded = recorded()?;
        for name in names {
            let named = name.parse().is_ok_and(|id: u64| under_way.contains(&id) || recorded.contains(&id));
            if named {
                continue;
            }
            // One that cannot go (still mounted, say) must not keep the others.
            let path = self.parent.join(&name);
            if let Err(e) = remove(&path) {
                tracing::warn!(path = %path.display(), error = %base::chain(&e), "failed to remove directory");
            }
        }
        Ok(())
    }

    /// Removes a directory tree; gone already is fine.
    pub(crate) fn remove(path: &Path) -> Result<()> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(());
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = open(parent, flags, Mode::empty()).map_err(|e| Error::io("open", parent, e))?;
        remove_tree(&parent, name.as_encoded_bytes()).map_err(|e| Error::io("remove", path, e))
    }
}

fn list(parent: &Path) -> Result<Vec<String>> {
    let failed = |e| Error::io("list", parent, e);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(parent).map_err(failed)? {
        if let Ok(name) = entry.map_err(failed)?.file_name().into_string() {
            names.push(name);
        }
    }
    Ok(names)
}
