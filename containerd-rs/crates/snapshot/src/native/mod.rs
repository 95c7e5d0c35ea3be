//! Snapshots as plain directories: every active one is a full copy of its parent.

mod copy;

use std::path::Path;

use async_trait::async_trait;
use base::filter::FilterSet;
use base::{Labels, Mount};

use crate::backend::{Backend, Chain, Fill, make_dir};
use crate::error::Result;
use crate::info::{CommitOptions, Info, Kind, Usage};
use crate::snapshotter::Snapshotter;

/// The native snapshotter.
pub struct Native {
    backend: Backend,
}

impl Native {
    /// Opens the snapshotter at `root`, making it when it is new.
    pub async fn open(root: &Path) -> Result<Self> {
        Ok(Native { backend: Backend::open(root).await? })
    }

    async fn create(&self, kind: Kind, key: &str, parent: &str, labels: Labels) -> Result<Vec<Mount>> {
        let fill = CopyOfParent { backend: self.backend.clone() };
        let (chain, _) = self.backend.create(kind, key, parent, labels, fill).await?;
        Ok(self.mounts_of(&chain))
    }

    fn mounts_of(&self, chain: &Chain) -> Vec<Mount> {
        let (flag, id) = match (chain.kind, chain.parents.first()) {
            (Kind::View, Some(parent)) => ("ro", *parent),
            (Kind::View, None) => ("ro", chain.id),
            _ => ("rw", chain.id),
        };
        let source = self.backend.directory(id).display().to_string();
        vec![Mount::new("bind", source, vec!["rbind".into(), flag.into()])]
    }
}

struct CopyOfParent {
    backend: Backend,
}

impl Fill for CopyOfParent {
    fn fill(&self, directory: &Path, chain: &Chain, _: &Labels) -> Result<()> {
        match (chain.kind, chain.parents.first()) {
            // A view shows its parent's directory.
            (Kind::View, Some(_)) => Ok(()),
            (_, None) => make_dir(directory, 0o755),
            (_, Some(parent)) => {
                make_dir(directory, 0o755)?;
                copy::copy_tree(&self.backend.directory(*parent), directory)
            }
        }
    }
}

#[async_trait]
impl Snapshotter for Native {
    async fn stat(&self, key: &str) -> Result<Info> {
        Ok(self.backend.stat(key)?.0)
    }

    async fn update(&self, info: Info, mask: &[String]) -> Result<Info> {
        Ok(self.backend.update(info, mask).await?.0)
    }

    async fn usage(&self, key: &str) -> Result<Usage> {
        self.backend.usage(key, "").await
    }

    async fn mounts(&self, key: &str) -> Result<Vec<Mount>> {
        let (chain, _) = self.backend.chain(key).map_err(|e| e.during("failed to get snapshot mount"))?;
        Ok(self.mounts_of(&chain))
    }

    async fn prepare(&self, key: &str, parent: &str, labels: Labels) -> Result<Vec<Mount>> {
        self.create(Kind::Active, key, parent, labels).await
    }

    async fn view(&self, key: &str, parent: &str, labels: Labels) -> Result<Vec<Mount>> {
        self.create(Kind::View, key, parent, labels).await
    }

    async fn commit(&self, name: &str, key: &str, options: CommitOptions) -> Result<()> {
        // A copy cannot be put on another parent afterwards.
        self.backend.commit(name, key, options, "").await
    }

    async fn remove(&self, key: &str) -> Result<()> {
        self.backend.remove(key, true).await
    }

    async fn walk(&self, filters: &FilterSet) -> Result<Vec<Info>> {
        Ok(self.backend.walk(filters)?.into_iter().map(|(info, _)| info).collect())
    }

    async fn cleanup(&self) -> Result<()> {
        self.backend.cleanup().await
    }

    fn capabilities(&self) -> &[&'static str] {
        &[]
    }

    fn root(&self) -> &Path {
        self.backend.root()
    }
}
