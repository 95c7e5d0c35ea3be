//! The active snapshot that a layer is applied to.

use std::sync::Arc;

use base::{ErrorKind, Kinded, Labels, Mount, Scope, labels};
use snapshot::{CommitOptions, Snapshots};

use super::layer::Step;
use crate::error::Result;

/// An active snapshot; removed again unless it was committed.
pub(super) struct Extraction {
    snapshots: Arc<Snapshots>,
    scope: Scope,
    key: String,
    labels: Labels,
    pub(super) mounts: Vec<Mount>,
    open: bool,
}

impl Extraction {
    /// Makes one on `parent`. `None`: the layer's snapshot is there. Labels are ours alone:
    /// annotations of a layer could ask for id mappings and the like.
    pub(super) async fn prepare(
        snapshots: &Arc<Snapshots>,
        scope: &Scope,
        step: &Step<'_>,
        parent: &str,
    ) -> Result<Option<Extraction>> {
        let key = format!("extract-{:016x} {}", rand::random::<u64>(), step.chain_id);
        let mut labels = Labels::from([
            (labels::snapshot::REF.to_owned(), step.chain_id.to_string()),
            (labels::snapshot::DIFF_ID.to_owned(), step.diff_id.to_string()),
        ]);
        if !step.parent.is_empty() {
            labels.insert(labels::snapshot::PARENT_CHAIN_ID.to_owned(), step.parent.to_owned());
        }
        let mut extraction = Extraction {
            snapshots: Arc::clone(snapshots),
            scope: scope.clone(),
            key,
            labels,
            mounts: Vec::new(),
            // Dropped while it is being made, it is made all the same.
            open: true,
        };
        match snapshots.prepare(scope, &extraction.key, parent, extraction.labels.clone()).await {
            Ok(mounts) => {
                extraction.mounts = mounts;
                Ok(Some(extraction))
            }
            Err(e) => {
                extraction.open = false;
                match e.kind() {
                    ErrorKind::AlreadyExists => Ok(None),
                    _ => Err(e.into()),
                }
            }
        }
    }

    /// Makes it the layer's snapshot, on `parent` when it was not made on it.
    pub(super) async fn commit(mut self, step: &Step<'_>, parent: &str) -> Result<()> {
        // A committed snapshot does not inherit the labels of the active one.
        let options = CommitOptions { labels: self.labels.clone(), parent: parent.to_owned() };
        match self.snapshots.commit(&self.scope, step.chain_id.as_str(), &self.key, options).await {
            Ok(()) => {
                self.open = false;
                Ok(())
            }
            Err(e) => {
                self.discard().await;
                match e.kind() {
                    // Somebody else unpacked the same layer meanwhile.
                    ErrorKind::AlreadyExists => Ok(()),
                    _ => Err(e.into()),
                }
            }
        }
    }

    /// Removes it.
    pub(super) async fn discard(mut self) {
        self.open = false;
        remove(&self.snapshots, &self.scope, &self.key).await;
    }
}

async fn remove(snapshots: &Snapshots, scope: &Scope, key: &str) {
    match snapshots.remove(scope, key).await {
        Err(e) if e.kind() != ErrorKind::NotFound => {
            let error = base::chain(&e);
            tracing::warn!(key, error, "snapshot of a failed unpack stays until its lease ends");
        }
        _ => {}
    }
}

impl Drop for Extraction {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if self.open {
            let (snapshots, scope, key) =
                (Arc::clone(&self.snapshots), self.scope.clone(), std::mem::take(&mut self.key));
            runtime.spawn(async move { remove(&snapshots, &scope, &key).await });
        }
    }
}
