//! Snapshots as subvolumes of a btrfs file system.
//!
//! `active/<number>`, `view/<number>` and `snapshots/<number>` (committed, read-only) are subvolumes; they are mounted by their id
//! from the device that the root is on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::{Labels, Mount};

use crate::backend::{Chain, taken_by};
use crate::error::{Error, Result, blocking};
use crate::info::{Kind, Usage};
use crate::volume::{Found, Storage, Volumes};

/// Opens the btrfs snapshotter at `root`, making it when it is new.
///
/// # Errors
/// A failed precondition, with the words for the plugin list, when `root` is not on btrfs.
pub async fn open(root: &Path) -> Result<Volumes> {
    let storage = {
        let root = root.to_owned();
        blocking(move || Subvolumes::open(&root)).await?
    };
    Volumes::open(root, Arc::new(storage)).await
}

struct Subvolumes {
    root: PathBuf,
    device: String,
}

const DIRECTORIES: [(&str, Kind); 3] =
    [("active", Kind::Active), ("view", Kind::View), ("snapshots", Kind::Committed)];

impl Subvolumes {
    fn open(root: &Path) -> Result<Self> {
        sys::fs::ensure_dir(root, 0o700)?;
        let mount = sys::mount::lookup(root)?;
        if mount.fstype != "btrfs" {
            return Err(Error::precondition(format!(
                "path {} ({}) must be a btrfs filesystem to be used with the btrfs snapshotter",
                root.display(),
                mount.fstype
            )));
        }
        for (name, _) in DIRECTORIES {
            sys::fs::ensure_dir(&root.join(name), 0o755)?;
        }
        Ok(Subvolumes { root: root.to_owned(), device: mount.source })
    }

    fn path(&self, kind: Kind, id: u64) -> PathBuf {
        let directory = DIRECTORIES.iter().find(|(_, k)| *k == kind).map_or("snapshots", |(name, _)| name);
        self.root.join(directory).join(id.to_string())
    }
}

impl Storage for Subvolumes {
    fn create(&self, chain: &Chain, _: &Labels) -> Result<()> {
        let path = self.path(chain.kind, chain.id);
        match chain.parents.first() {
            None => {
                use std::os::unix::fs::PermissionsExt;
                sys::btrfs::create_subvolume(&path)?;
                // Whatever the umask is.
                let mode = std::fs::Permissions::from_mode(0o755);
                std::fs::set_permissions(&path, mode).map_err(|e| Error::io("chmod", &path, e))
            }
            Some(parent) => {
                let parent = self.path(Kind::Committed, *parent);
                Ok(sys::btrfs::snapshot(&parent, &path, chain.kind == Kind::View)?)
            }
        }
    }

    fn mounts(&self, chain: &Chain, _: &Labels) -> Result<Vec<Mount>> {
        let id = sys::btrfs::subvolume_id(&self.path(chain.kind, chain.id))?;
        let mut options = vec![format!("subvolid={id}")];
        if chain.kind != Kind::Active {
            options.push("ro".into());
        }
        Ok(vec![Mount::new("btrfs", self.device.clone(), options)])
    }

    fn usage(&self, id: u64, parent: Option<u64>) -> Result<Usage> {
        let path = self.path(Kind::Active, id);
        match parent {
            None => taken_by(&path),
            Some(parent) => {
                let parent = self.path(Kind::Committed, parent);
                Ok(Usage::of(sys::fs::disk_usage_over(&path, &parent)?))
            }
        }
    }

    fn seal(&self, id: u64) -> Result<()> {
        let committed = self.path(Kind::Committed, id);
        // From a commit that a crash cut short.
        sys::btrfs::delete_subvolume(&committed)?;
        Ok(sys::btrfs::snapshot(&self.path(Kind::Active, id), &committed, true)?)
    }

    fn sealed(&self, id: u64) -> Result<()> {
        Ok(sys::btrfs::delete_subvolume(&self.path(Kind::Active, id))?)
    }

    fn remove(&self, id: u64, kind: Option<Kind>) -> Result<()> {
        for (_, here) in DIRECTORIES.iter().filter(|(_, here)| kind.is_none_or(|kind| kind == *here)) {
            sys::btrfs::delete_subvolume(&self.path(*here, id))?;
        }
        Ok(())
    }

    fn found(&self) -> Result<Vec<Found>> {
        let mut found = Vec::new();
        for (name, kind) in DIRECTORIES {
            let directory = self.root.join(name);
            let failed = |e| Error::io("list", &directory, e);
            for entry in std::fs::read_dir(&directory).map_err(failed)? {
                let name = entry.map_err(failed)?.file_name();
                if let Some(id) = name.to_str().and_then(|n| n.parse().ok()) {
                    found.push(Found { id, kind: Some(kind) });
                }
            }
        }
        Ok(found)
    }
}
