//! Takes over what an earlier daemon left: running shims, dead ones, half-made tasks, forgotten directories.
//!
//! Nothing here is waited for by anyone who serves. Each bundle is looked at on its own, all at the same time, each
//! with its own bound; a shim that does not answer is set aside and asked again until it does or is dead. Until a
//! bundle's turn is over its task is in phase Recovering: calls about it wait for that (bounded), others do not.

mod aside;
mod evict;
pub(crate) mod scan;
mod take_over;

use std::sync::Arc;

use futures_util::stream::{self, StreamExt};
use tokio::task::JoinHandle;

use crate::bundle::remove_aside;
use crate::entry::{Entry, Phase};
use crate::error::Error;
use crate::runtime::{Runtime, blocking};

/// Bundles looked at at the same time.
const AT_ONCE: usize = 64;

/// What recovery found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Tasks whose shims were connected to again.
    pub adopted: usize,
    /// Tasks whose shims were dead; their exits have been told.
    pub dead: usize,
    /// Tasks whose shims do not answer; they are asked again in the background.
    pub aside: usize,
    /// Half-made tasks that were undone, and tasks that no record names.
    pub removed: usize,
}

/// What became of one bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Adopted,
    Dead,
    Aside,
    Removed,
}

impl Runtime {
    /// Finds every bundle, then takes over in the background. When this returns, each task that may exist is known
    /// (in phase Recovering at least); the handle ends when every bundle had its turn.
    ///
    /// Call once, before shims can send events: an event about a task that is not known yet cannot be told from news.
    ///
    /// # Errors
    /// The state or the root directory cannot be made or read.
    pub async fn recover(&self) -> Result<JoinHandle<Recovered>, Error> {
        let runtime = self.clone();
        let found = blocking("scan bundles", move || scan::scan(&runtime)).await?;
        let runtime = self.clone();
        Ok(tokio::spawn(async move { runtime.recover_all(found).await }))
    }

    async fn recover_all(self, found: scan::Found) -> Recovered {
        let rebooted = found.rebooted;
        let litter = self.remove_litter(found.hidden, found.orphans);
        let each = stream::iter(found.bundles).map(|entry| {
            let runtime = self.clone();
            async move { runtime.recover_one(&entry, rebooted).await }
        });
        let count = each.buffer_unordered(AT_ONCE).fold(Recovered::default(), |mut sum, outcome| {
            match outcome {
                Outcome::Adopted => sum.adopted += 1,
                Outcome::Dead => sum.dead += 1,
                Outcome::Aside => sum.aside += 1,
                Outcome::Removed => sum.removed += 1,
            }
            std::future::ready(sum)
        });
        let (sum, ()) = tokio::join!(count, litter);
        sum
    }

    /// Half-removed directories, and work directories without a bundle.
    async fn remove_litter(&self, hidden: Vec<std::path::PathBuf>, orphans: Vec<Arc<Entry>>) {
        let table = self.clone();
        let removed = blocking("remove litter", move || {
            for path in hidden {
                if let Err(error) = std::fs::remove_dir_all(&path) {
                    tracing::warn!(path = %path.display(), %error, "cleanup of half-removed directory");
                }
            }
            for entry in orphans {
                if let Err(error) = remove_aside(&entry.bundle.work) {
                    let error = base::chain(&error);
                    tracing::warn!(id = entry.bundle.id, error, "cleanup working dir");
                }
                table.shared.table.remove(&entry);
            }
            Ok(())
        });
        if let Err(error) = removed.await {
            tracing::error!(error = base::chain(&error), "cleanup broke off");
        }
    }

    async fn recover_one(&self, entry: &Arc<Entry>, rebooted: bool) -> Outcome {
        let (runtime, task) = (self.clone(), entry.clone());
        let turn = self.shared.tasks.spawn(async move { runtime.take_over(&task, rebooted).await });
        turn.await.unwrap_or_else(|e| {
            // A record that breaks its own recovery must not stay in everyone's way.
            tracing::error!(id = entry.bundle.id, error = %e, "recovery of a task broke off");
            entry.advance(|_| true, Phase::Aside(Arc::from("its recovery broke off")));
            Outcome::Aside
        })
    }
}
