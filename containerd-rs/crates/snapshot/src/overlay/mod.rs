//! Snapshots as layers of an overlay file system.
//!
//! `snapshots/<number>/fs` is the directory of a snapshot's own files, `work` what overlay needs
//! beside it. Nothing is mounted here: the mounts that are given say how.

mod idmap;
mod mounts;
mod support;

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use base::filter::FilterSet;
use base::labels::snapshot as label;
use base::{Labels, Mount};

use crate::backend::{Backend, Chain, Fill, make_dir};
use crate::error::{Error, Result, blocking};
use crate::info::{CommitOptions, Info, Kind, ONLY_REMAP_IDS, REBASE, REMAP_IDS, Usage};
use crate::snapshotter::Snapshotter;

pub(crate) use idmap::mapped_root;
pub use support::{Unsupported, supported};
pub(crate) use support::{check_entry_types, in_user_namespace, maps_ids};

/// Settings, as in the config table of the plugin.
#[derive(Debug, Clone, Default)]
pub struct OverlayOptions {
    /// Say in a label where the directory of each snapshot is.
    pub upperdir_label: bool,
    /// Remove directories before the answer to a remove, not at cleanup.
    pub sync_remove: bool,
    /// Allow clients to fall back to a recursive chown where mounts cannot map ids.
    pub slow_chown: bool,
    /// Options for every overlay mount; bind mounts do not get them.
    pub mount_options: Vec<String>,
}

/// The overlay snapshotter.
pub struct Overlay {
    backend: Backend,
    upperdir_label: bool,
    sync_remove: bool,
    options: Vec<String>,
    remap_ids: bool,
    capabilities: Vec<&'static str>,
}

impl Overlay {
    /// Opens the snapshotter at `root`, making it when it is new.
    ///
    /// # Errors
    /// When the file system does not tell the kinds of directory entries, or the records cannot be opened.
    pub async fn open(root: &Path, options: OverlayOptions) -> Result<Self> {
        let backend = Backend::open(root).await?;
        let root = root.to_owned();
        let probe = blocking(move || {
            support::check_entry_types(&root).map_err(|e| Error::precondition(e.to_string()))?;
            Ok(support::Probe::run(&root))
        })
        .await?;
        let mut mount_options = options.mount_options;
        if !has_option(&mount_options, "userxattr") && probe.needs_user_xattr {
            mount_options.push("userxattr".into());
        }
        // The last one counts in the kernel: do not overrule what the operator has set.
        if !has_option(&mount_options, "index") && probe.has_index {
            mount_options.push("index=off".into());
        }
        let mut capabilities = Vec::new();
        if probe.maps_ids {
            capabilities.push(REMAP_IDS);
        }
        if !options.slow_chown {
            capabilities.push(ONLY_REMAP_IDS);
        }
        // Rebased layers hide things by devices, which a user namespace cannot make.
        if !probe.in_user_namespace {
            capabilities.push(REBASE);
        }
        Ok(Overlay {
            backend,
            upperdir_label: options.upperdir_label,
            sync_remove: options.sync_remove,
            options: mount_options,
            remap_ids: probe.maps_ids,
            capabilities,
        })
    }

    fn upper(&self, id: u64) -> PathBuf {
        self.backend.directory(id).join("fs")
    }

    fn shown(&self, (mut info, id): (Info, u64)) -> Info {
        if self.upperdir_label {
            info.labels.insert(label::OVERLAY_UPPERDIR.into(), self.upper(id).display().to_string());
        }
        info
    }

    async fn create(&self, kind: Kind, key: &str, parent: &str, labels: Labels) -> Result<Vec<Mount>> {
        let fill = Directories { backend: self.backend.clone() };
        let (chain, labels) = self.backend.create(kind, key, parent, labels, fill).await?;
        Ok(self.mounts_of(&chain, &labels))
    }
}

/// Makes `fs` and `work`.
struct Directories {
    backend: Backend,
}

impl Fill for Directories {
    fn fill(&self, directory: &Path, chain: &Chain, labels: &Labels) -> Result<()> {
        make_dir(directory, 0o700)?;
        let fs = directory.join("fs");
        make_dir(&fs, 0o755)?;
        if chain.kind == Kind::Active {
            make_dir(&directory.join("work"), 0o711)?;
        }
        if let Some((uid, gid)) = self.owner(chain, labels)? {
            std::os::unix::fs::lchown(&fs, Some(uid), Some(gid)).map_err(|e| Error::io("chown", &fs, e))?;
        }
        Ok(())
    }
}

impl Directories {
    /// Who owns the root of the tree: the mapped root, or whoever owns the parent's.
    fn owner(&self, chain: &Chain, labels: &Labels) -> Result<Option<(u32, u32)>> {
        use std::os::unix::fs::MetadataExt;
        if let Some(root) = idmap::mapped_root(labels)? {
            return Ok(Some(root));
        }
        let Some(parent) = chain.parents.first() else {
            return Ok(None);
        };
        let parent = self.backend.directory(*parent).join("fs");
        let meta = std::fs::metadata(&parent).map_err(|e| Error::io("stat parent", &parent, e))?;
        Ok(Some((meta.uid(), meta.gid())))
    }
}

#[async_trait]
impl Snapshotter for Overlay {
    async fn stat(&self, key: &str) -> Result<Info> {
        Ok(self.shown(self.backend.stat(key)?))
    }

    async fn update(&self, info: Info, mask: &[String]) -> Result<Info> {
        Ok(self.shown(self.backend.update(info, mask).await?))
    }

    async fn usage(&self, key: &str) -> Result<Usage> {
        self.backend.usage(key, "fs").await
    }

    async fn mounts(&self, key: &str) -> Result<Vec<Mount>> {
        let (chain, labels) = self.backend.chain(key).map_err(|e| e.during("failed to get active mount"))?;
        Ok(self.mounts_of(&chain, &labels))
    }

    async fn prepare(&self, key: &str, parent: &str, labels: Labels) -> Result<Vec<Mount>> {
        self.create(Kind::Active, key, parent, labels).await
    }

    async fn view(&self, key: &str, parent: &str, labels: Labels) -> Result<Vec<Mount>> {
        self.create(Kind::View, key, parent, labels).await
    }

    async fn commit(&self, name: &str, key: &str, options: CommitOptions) -> Result<()> {
        self.backend.commit(name, key, options, "fs").await
    }

    async fn remove(&self, key: &str) -> Result<()> {
        self.backend.remove(key, self.sync_remove).await
    }

    async fn walk(&self, filters: &FilterSet) -> Result<Vec<Info>> {
        Ok(self.backend.walk(filters)?.into_iter().map(|found| self.shown(found)).collect())
    }

    async fn cleanup(&self) -> Result<()> {
        self.backend.cleanup().await
    }

    fn capabilities(&self) -> &[&'static str] {
        &self.capabilities
    }

    fn root(&self) -> &Path {
        self.backend.root()
    }
}

/// Whether `key` is set, alone or as `key=value`.
fn has_option(options: &[String], key: &str) -> bool {
    options.iter().any(|o| o.split('=').next() == Some(key))
}
