//! Takes out of the backend what no record names.

use std::collections::{HashMap, HashSet};

use base::filter::FilterSet;
use base::{ErrorKind, Kinded};

use super::Snapshots;
use crate::error::Result;
use crate::info::Info;

impl Snapshots {
    /// Removes every backend snapshot that is not in what `live` answers, children before parents;
    /// tells how many went. `live` is asked after the backend has been listed.
    pub async fn prune_backend(
        &self,
        live: impl FnOnce() -> store::Result<HashSet<String>> + Send,
    ) -> Result<usize> {
        let found = self.backend.walk(&FilterSet::all()).await?;
        let live = live()?;
        let mut removed = 0;
        for name in deepest_first(&found).into_iter().filter(|name| !live.contains(*name)) {
            match self.backend.remove(name).await {
                Ok(()) => removed += 1,
                // One that is still needed must not keep the others.
                Err(e) if matches!(e.kind(), ErrorKind::FailedPrecondition | ErrorKind::NotFound) => {
                    tracing::warn!(snapshotter = %self.name, key = name, error = %base::chain(&e), "failed to remove snapshot");
                }
                Err(e) => return Err(e),
            }
        }
        Ok(removed)
    }
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
