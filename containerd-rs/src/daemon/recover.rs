//! Running shims are found again, each bundle on its own, beside the requests that are served already; the restart
//! monitor begins with them. Nothing here holds up a request.

use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use base::{Mount, Namespace, Scope};
use runtime::restart::{Monitor, RootFs};
use tokio::task::JoinHandle;

use super::build::Built;

/// The background work of a running daemon; ends when dropped.
pub(super) struct Recovering {
    report: JoinHandle<()>,
    monitor: Option<Monitor>,
}

impl Recovering {
    /// No more background work; containers are not touched.
    pub(super) fn stop(self) {
        self.report.abort();
        drop(self.monitor);
    }
}

/// Find the bundles that an earlier daemon left; from here on each is known, and taken over in the background.
pub(super) async fn find(built: &Built) -> anyhow::Result<JoinHandle<runtime::Recovered>> {
    if let Some(sandboxer) = &built.shim_sandboxer {
        // In the background: nobody waits for the handle.
        sandboxer.recover().await.context("find the sandboxes of an earlier run")?;
    }
    built.parts.runtime.recover().await.context("find the tasks of an earlier run")
}

/// Report how the take-over went, and watch over the containers that want to be restarted. Returns at once.
pub(super) fn recover(built: &Built, found: JoinHandle<runtime::Recovered>) -> Recovering {
    let report = tokio::spawn(async move {
        if let Err(error) = found.await {
            tracing::error!(error = base::chain(&error), "recovery of tasks failed");
        }
    });
    let parts = Arc::clone(&built.parts);
    let start = |interval| {
        Monitor::start(parts.runtime.clone(), parts.metadata.clone(), interval, Arc::new(Snapshots(parts)))
    };
    Recovering { report, monitor: built.restart_interval.map(start) }
}

/// The root file systems of containers that are started again.
struct Snapshots(Arc<services::Parts>);

#[async_trait]
impl RootFs for Snapshots {
    async fn mounts(
        &self,
        namespace: &Namespace,
        container: &store::Container,
    ) -> Result<Vec<Mount>, base::Error> {
        if container.snapshot_key.is_empty() {
            return Ok(Vec::new());
        }
        let name = &container.snapshotter;
        let missing =
            || base::Error::not_found(format!("snapshotter {name:?} of container {:?}", container.id));
        let snapshots = self.0.snapshotters.get(name).ok_or_else(missing)?;
        let mounts = snapshots.mounts(&Scope::new(namespace.clone()), &container.snapshot_key).await;
        mounts.map_err(|e| base::Error::wrap(format!("root file system of container {:?}", container.id), e))
    }
}
