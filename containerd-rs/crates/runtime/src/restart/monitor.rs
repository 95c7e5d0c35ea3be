//! The loop: every so often, all namespaces, all containers with the label.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use base::filter::FilterSet;
use base::{ErrorKind, Kinded, Mount, Namespace};
use futures_util::stream::{self, StreamExt};
use store::{Container, Metadata};
use tokio::task::AbortHandle;

use super::STATUS_LABEL;
use super::decide::{Decision, Seen, decide};
use crate::model::Status;
use crate::runtime::Runtime;

/// Containers that are changed at the same time.
const AT_ONCE: usize = 16;
/// The interval when none is configured.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);

/// Gives a container its root file system: the mounts of its snapshot.
#[async_trait]
pub trait RootFs: Send + Sync + 'static {
    /// What the task's `rootfs` is made of; empty for a container without a snapshot.
    async fn mounts(&self, namespace: &Namespace, container: &Container) -> Result<Vec<Mount>, base::Error>;
}

/// Runs until it is dropped.
pub struct Monitor {
    task: AbortHandle,
}

pub(super) struct Shared {
    pub(super) runtime: Runtime,
    pub(super) meta: Metadata,
    pub(super) rootfs: Arc<dyn RootFs>,
    /// Tasks that were created and not started when last looked at: their client may be just about to.
    fresh: Mutex<HashSet<(Namespace, String)>>,
}

impl Monitor {
    /// Looks at once, then every `interval` (zero: ten seconds). Must run inside tokio, after
    /// [`Runtime::recover`](crate::Runtime::recover) has returned.
    pub fn start(runtime: Runtime, meta: Metadata, interval: Duration, rootfs: Arc<dyn RootFs>) -> Self {
        let interval = if interval.is_zero() { DEFAULT_INTERVAL } else { interval };
        let shared = Arc::new(Shared { runtime, meta, rootfs, fresh: Mutex::default() });
        let task = tokio::spawn(async move {
            loop {
                shared.reconcile().await;
                tokio::time::sleep(interval).await;
            }
        });
        Self { task: task.abort_handle() }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    async fn reconcile(&self) {
        let labelled = match self.labelled() {
            Ok(labelled) => labelled,
            Err(error) => {
                tracing::error!(error = base::chain(&error), "reconcile");
                return;
            }
        };
        let each = stream::iter(labelled);
        each.for_each_concurrent(AT_ONCE, |(namespace, container)| async move {
            let decision = decide(&container.labels, self.look(&namespace, &container.id).await);
            let id = container.id.clone();
            let changed = match decision {
                Decision::Leave => return,
                Decision::Start(count) => self.start(&namespace, container, count).await,
                Decision::Stop => self.stop(&namespace, &id).await,
            };
            match changed {
                Ok(()) => tracing::info!(id, %namespace, ?decision, "restart monitor"),
                Err(error) => tracing::error!(id, %namespace, error = base::chain(&error), "apply change"),
            }
        })
        .await;
    }

    fn labelled(&self) -> Result<Vec<(Namespace, Container)>, base::Error> {
        let wrap = |what: &'static str| move |e: store::Error| base::Error::wrap(what, e);
        let filter = FilterSet::parse(&[format!("labels.{STATUS_LABEL:?}")])
            .map_err(|e| base::Error::internal(e.to_string()))?;
        let mut labelled = Vec::new();
        for namespace in self.meta.namespaces().list().map_err(wrap("list namespaces"))? {
            let containers = self.meta.containers().list(&namespace.name, &filter);
            // One namespace that cannot be read does not hide the others.
            match containers {
                Ok(found) => labelled.extend(found.into_iter().map(|c| (namespace.name.clone(), c))),
                Err(e) => tracing::error!(error = base::chain(&e), "monitor for changes"),
            }
        }
        Ok(labelled)
    }

    async fn look(&self, namespace: &Namespace, id: &str) -> Seen {
        match self.runtime.state(namespace, id, "").await {
            Ok(state) if self.is_fresh(namespace, id, state.status) => Seen::Silence,
            Ok(state) => Seen::Task(state.status, state.exit_status),
            Err(error) if error.kind() == ErrorKind::NotFound => Seen::Nothing,
            Err(error) => {
                tracing::error!(id, %namespace, error = base::chain(&error), "monitor");
                Seen::Silence
            }
        }
    }

    /// Whether the task is created but not started, and was not seen so the last time.
    fn is_fresh(&self, namespace: &Namespace, id: &str, status: Status) -> bool {
        let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (namespace.clone(), id.to_owned());
        if status == Status::Created && !fresh.contains(&key) {
            return fresh.insert(key);
        }
        fresh.remove(&key);
        false
    }
}
