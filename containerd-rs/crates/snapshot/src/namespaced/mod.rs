//! One snapshotter as namespaces see it: own keys, labels that only they know, leases.
//!
//! The backend keeps `<namespace>/<number>/<key>`; the records of the store say which is which. Both
//! are brought into step in an order that a crash cannot break: what only the backend has is garbage
//! that the next collection prunes, and an interrupted commit is written down before it begins.

mod commit;
mod create;
mod prune;

use std::path::Path;
use std::sync::Arc;

use base::filter::FilterSet;
use base::labels::snapshot as label;
use base::{ErrorKind, Kinded, Labels, Mount, Scope};
use store::{Metadata, SnapshotRecord, SnapshotRecords};

use crate::error::{Error, Result, carried_through};
use crate::info::{Info, Usage};
use crate::snapshotter::Snapshotter;

/// The namespaced view of a snapshotter. Clones share it.
///
/// Every call that changes something is carried through even when its future is dropped.
#[derive(Clone)]
pub struct Snapshots {
    name: Arc<str>,
    backend: Arc<dyn Snapshotter>,
    records: SnapshotRecords,
}

impl Snapshots {
    /// The view of `backend`, which clients know as `name`. Call [`Snapshots::recover`] before use.
    pub fn new(name: &str, backend: Arc<dyn Snapshotter>, metadata: &Metadata) -> Self {
        Snapshots { name: name.into(), backend, records: metadata.snapshots(name) }
    }

    /// The name of the snapshotter.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The snapshotter below.
    pub fn backend(&self) -> &Arc<dyn Snapshotter> {
        &self.backend
    }

    /// What the snapshotter can do beyond the contract.
    pub fn capabilities(&self) -> &[&'static str] {
        self.backend.capabilities()
    }

    /// Where the snapshotter keeps its files.
    pub fn root(&self) -> &Path {
        self.backend.root()
    }

    /// What is known of `key`.
    pub async fn stat(&self, scope: &Scope, key: &str) -> Result<Info> {
        let record = self.records.get(&scope.namespace, key)?;
        let info = self.backend.stat(&record.backend_key).await?;
        Ok(merged(info, record))
    }

    /// Replaces the labels that `mask` names, all of them when it is empty.
    pub async fn update(&self, scope: &Scope, info: Info, mask: &[String]) -> Result<Info> {
        let (this, scope, mask) = (self.clone(), scope.clone(), mask.to_vec());
        carried_through(async move {
            let record = this.records.update(&scope, &info.name, info.labels.clone(), &mask).await?;
            let mut below = info;
            below.name = record.backend_key.clone();
            below.labels = passed_down(&record.labels);
            // All labels of the record are right by now, so the backend gets them whole.
            let below = this.backend.update(below, &[]).await?;
            Ok(merged(below, record))
        })
        .await
    }

    /// Space of the snapshot itself.
    pub async fn usage(&self, scope: &Scope, key: &str) -> Result<Usage> {
        let record = self.records.get(&scope.namespace, key)?;
        self.backend.usage(&record.backend_key).await
    }

    /// Mounts of an active or view snapshot.
    pub async fn mounts(&self, scope: &Scope, key: &str) -> Result<Vec<Mount>> {
        let record = self.records.get(&scope.namespace, key)?;
        self.backend.mounts(&record.backend_key).await
    }

    /// Removes the record. The backend's snapshot goes with the next garbage collection.
    pub async fn remove(&self, scope: &Scope, key: &str) -> Result<()> {
        let (this, scope, key) = (self.clone(), scope.clone(), key.to_owned());
        carried_through(async move {
            this.records.remove(&scope, &key).await?;
            Ok(())
        })
        .await
    }

    /// Every snapshot of the namespace that the filters match. Those that the backend has lost are
    /// left out.
    pub async fn walk(&self, scope: &Scope, filters: &FilterSet) -> Result<Vec<Info>> {
        let mut found = Vec::new();
        for record in self.records.list(&scope.namespace)? {
            let info = match self.backend.stat(&record.backend_key).await {
                Ok(info) => merged(info, record),
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
                Err(e) => return Err(e),
            };
            if filters.matches(&info) {
                found.push(info);
            }
        }
        Ok(found)
    }

    /// Frees the space of removed snapshots.
    pub async fn cleanup(&self) -> Result<()> {
        self.backend.cleanup().await
    }
}

/// The labels that the backend is told.
/// Refuses an empty key or name: nothing could be asked of it again.
fn named(key: &str) -> Result<()> {
    match key.is_empty() {
        true => Err(Error::refused(ErrorKind::InvalidArgument, "snapshot key must not be empty")),
        false => Ok(()),
    }
}

fn passed_down(labels: &Labels) -> Labels {
    labels.iter().filter(|(key, _)| label::is_passed_down(key)).map(|(k, v)| (k.clone(), v.clone())).collect()
}

/// The backend's kind under the namespace's names; its labels where the record has none.
fn merged(mut info: Info, record: SnapshotRecord) -> Info {
    info.name = record.key;
    info.parent = record.parent;
    info.created_at = record.created_at;
    info.updated_at = record.updated_at;
    info.labels.extend(record.labels);
    info
}
