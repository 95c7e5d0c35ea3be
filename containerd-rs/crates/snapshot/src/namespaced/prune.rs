//! Takes out of the backend what no record names.

use std::collections::HashMap;

use async_trait::async_trait;
use base::filter::FilterSet;
use base::{ErrorKind, Kinded};
use store::{LiveKeys, SnapshotBackend};

use super::Snapshots;
use crate::error::{Error, Result};
use crate::info::Info;

#[async_trait]
impl SnapshotBackend for Snapshots {
    async fn prune(&self, live: &LiveKeys) -> store::Result<usize> {
        self.remove_unnamed(live).await.map_err(into_store)
    }

    async fn cleanup(&self) -> store::Result<()> {
        self.backend.cleanup().await.map_err(into_store)
    }
}

impl Snapshots {
    async fn remove_unnamed(&self, live: &LiveKeys) -> Result<usize> {
        let found = self.backend.walk(&FilterSet::all()).await?;
        // Asked after the listing: what came meanwhile is not in it.
        let live = live.current()?;
        let mut removed = 0;
        for name in deepest_first(&found).into_iter().filter(|name| !live.contains(*name)) {
            match self.backend.remove(name).await {
                Ok(()) => removed += 1,
                // One that is still needed must not keep the others.
                Err(e) if matches!(e.kind(), ErrorKind::FailedPrecondition | ErrorKind::NotFound) => {
                    let error = base::chain(&e);
                    tracing::warn!(snapshotter = %self.name, key = name, error, "failed to remove snapshot");
                }
                Err(e) => return Err(e),
            }
        }
        Ok(removed)
    }
}

fn into_store(e: Error) -> store::Error {
    store::Error::Refused { kind: e.kind(), message: base::chain(&e) }
}

/// Names, every child before its parent.
fn deepest_first(infos: &[Info]) -> Vec<&str> {
    let parents: HashMap<&str, &str> = infos.iter().map(|i| (i.name.as_str(), i.parent.as_str())).collect();
    let depth = |name: &str| {
        let mut depth = 0usize;
        let mut at = name;
        // A backend that claims a circle must not hold us here.
        while let Some(parent) = parents.get(at).filter(|p| !p.is_empty() && depth <= parents.len()) {
            depth += 1;
            at = parent;
        }
        depth
    };
    let mut names: Vec<(usize, &str)> = infos.iter().map(|i| (depth(&i.name), i.name.as_str())).collect();
    names.sort_by(|a, b| b.cmp(a));
    names.into_iter().map(|(_, name)| name).collect()
}
