//! Snapshotters whose snapshots are volumes: subvolumes, image files, thin devices, datasets.
//!
//! The records are the backend's; a [`Storage`] makes, mounts, seals and removes the volumes that they name.
//!
//! ```text
//! prepare: create volume -> record             a crash leaves a volume that no record names
//! commit:  seal volume -> record -> sealed     the same; sealing is done again
//! remove:  record -> remove volume             the same
//! cleanup: removes volumes that no record names, or names for another kind, and nobody works with
//! ```

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use base::filter::FilterSet;
use base::{Labels, Mount};

use crate::backend::{Backend, Chain, Fill, Seal};
use crate::error::{Result, blocking, carried_through};
use crate::info::{CommitOptions, Info, Kind, Usage};
use crate::snapshotter::Snapshotter;

/// A volume that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) id: u64,
    /// What it is there for, where that can be told.
    pub(crate) kind: Option<Kind>,
}

/// Where volumes come from. All of it may block.
pub(crate) trait Storage: Send + Sync + 'static {
    /// Makes the volume of a new snapshot, a writable copy of its nearest parent if it has one.
    fn create(&self, chain: &Chain, labels: &Labels) -> Result<()>;

    /// How the volume is mounted.
    fn mounts(&self, chain: &Chain, labels: &Labels) -> Result<Vec<Mount>>;

    /// What an active volume takes beside its parent.
    fn usage(&self, id: u64, parent: Option<u64>) -> Result<Usage>;

    /// Makes the volume of an active snapshot fit to be a parent, before its record says so. May be done again after a crash.
    fn seal(&self, _id: u64) -> Result<()> {
        Ok(())
    }

    /// After the record.
    fn sealed(&self, _id: u64) -> Result<()> {
        Ok(())
    }

    /// Removes a volume; gone already is fine.
    fn remove(&self, id: u64, kind: Option<Kind>) -> Result<()>;

    /// Every volume.
    fn found(&self) -> Result<Vec<Found>>;

    /// What else is to be said of a snapshot, in labels.
    fn labels(&self, _id: u64) -> Labels {
        Labels::new()
    }
}

/// A snapshotter on volumes.
pub struct Volumes {
    backend: Backend,
    storage: Arc<dyn Storage>,
    /// Volumes are removed at cleanup only.
    defers_removal: bool,
}

impl Volumes {
    /// Opens the records at `root` for these volumes.
    pub(crate) async fn open(root: &Path, storage: Arc<dyn Storage>) -> Result<Self> {
        let backend = Backend::open(root).await?;
        let found = {
            let storage = Arc::clone(&storage);
            blocking(move || storage.found()).await?
        };
        backend.skip_numbers(found.iter().map(|f| f.id).max().unwrap_or(0));
        Ok(Volumes { backend, storage, defers_removal: false })
    }

    /// Leaves the removal of volumes to cleanup.
    pub(crate) fn with_deferred_removal(self, on: bool) -> Self {
        Volumes { defers_removal: on, ..self }
    }

    fn shown(&self, (mut info, id): (Info, u64)) -> Info {
        info.labels.extend(self.storage.labels(id));
        info
    }

    async fn mounts_of(&self, chain: Chain, labels: Labels) -> Result<Vec<Mount>> {
        let storage = Arc::clone(&self.storage);
        blocking(move || storage.mounts(&chain, &labels)).await
    }

    async fn create(&self, kind: Kind, key: &str, parent: &str, labels: Labels) -> Result<Vec<Mount>> {
        let fill = Volume { storage: Arc::clone(&self.storage) };
        let (chain, labels) = self.backend.create(kind, key, parent, labels, fill).await?;
        self.mounts_of(chain, labels).await
    }
}

/// What happens to the volume of one snapshot.
struct Volume {
    storage: Arc<dyn Storage>,
}

impl Fill for Volume {
    fn fill(&self, _: &Path, chain: &Chain, labels: &Labels) -> Result<()> {
        self.storage.create(chain, labels)
    }

    fn undo(&self, _: &Path, chain: &Chain) -> Result<()> {
        self.storage.remove(chain.id, None)
    }
}

impl Seal for Volume {
    fn seal(&self, chain: &Chain) -> Result<Usage> {
        let usage = self
            .storage
            .usage(chain.id, chain.parents.first().copied())
            .map_err(|e| e.during("failed to compute usage"))?;
        self.storage.seal(chain.id)?;
        Ok(usage)
    }

    fn sealed(&self, id: u64) -> Result<()> {
        self.storage.sealed(id)
    }
}

#[async_trait]
impl Snapshotter for Volumes {
    async fn stat(&self, key: &str) -> Result<Info> {
        Ok(self.shown(self.backend.stat(key)?))
    }

    async fn update(&self, info: Info, mask: &[String]) -> Result<Info> {
        Ok(self.shown(self.backend.update(info, mask).await?))
    }

    async fn usage(&self, key: &str) -> Result<Usage> {
        let (kind, id, usage, parent) = self.backend.recorded(key)?;
        if kind != Kind::Active {
            return Ok(usage);
        }
        let storage = Arc::clone(&self.storage);
        blocking(move || storage.usage(id, parent)).await
    }

    async fn mounts(&self, key: &str) -> Result<Vec<Mount>> {
        let (chain, labels) =
            self.backend.chain(key).map_err(|e| e.during("failed to get active snapshot"))?;
        self.mounts_of(chain, labels).await
    }

    async fn prepare(&self, key: &str, parent: &str, labels: Labels) -> Result<Vec<Mount>> {
        self.create(Kind::Active, key, parent, labels).await
    }

    async fn view(&self, key: &str, parent: &str, labels: Labels) -> Result<Vec<Mount>> {
        self.create(Kind::View, key, parent, labels).await
    }

    async fn commit(&self, name: &str, key: &str, options: CommitOptions) -> Result<()> {
        let seal = Volume { storage: Arc::clone(&self.storage) };
        self.backend.commit_sealed(name, key, options, seal).await
    }

    async fn remove(&self, key: &str) -> Result<()> {
        let (storage, deferred) = (Arc::clone(&self.storage), self.defers_removal);
        let rest = move |id, _| if deferred { Ok(()) } else { storage.remove(id, None) };
        self.backend.remove_with(key, rest).await
    }

    async fn walk(&self, filters: &FilterSet) -> Result<Vec<Info>> {
        Ok(self.backend.walk(filters)?.into_iter().map(|found| self.shown(found)).collect())
    }

    async fn cleanup(&self) -> Result<()> {
        let (backend, storage) = (self.backend.clone(), Arc::clone(&self.storage));
        carried_through(async move { blocking(move || remove_unnamed(&backend, &*storage)).await }).await
    }

    fn capabilities(&self) -> &[&'static str] {
        // A volume is a whole tree: it cannot be put on another parent afterwards.
        &[]
    }

    fn root(&self) -> &Path {
        self.backend.root()
    }
}

/// The order matters: what is there, then what is under way, then what is recorded; so a volume is removed only if its record was
/// never written, is gone, or says that it is something else by now.
fn remove_unnamed(backend: &Backend, storage: &dyn Storage) -> Result<()> {
    let found = storage.found()?;
    let (under_way, recorded) = backend.in_use()?;
    for Found { id, kind } in found {
        let is_named = recorded.get(&id).is_some_and(|is| kind.is_none_or(|kind| kind == *is));
        if is_named || under_way.contains(&id) {
            continue;
        }
        // One that cannot go (still mounted, say) must not keep the others.
        if let Err(e) = storage.remove(id, kind) {
            tracing::warn!(root = %backend.root().display(), id, error = %base::chain(&e), "failed to remove volume");
        }
    }
    Ok(())
}
