//! Garbage collection: removes what neither a lease, an image, a container nor a label holds.
//!
//! ```text
//!  start recording changed keys ─> mark over a published view, beside writers
//!      ─> sweep: one change (re-marks what changed, removes the rest)
//!      ─> backends: blobs and ingests, each snapshotter's prune and cleanup, collectors
//! ```
//! Only the sweep keeps writers waiting, and it costs what changed and what is removed, not what there is.

mod collector;
mod duration;
mod labels;
mod mark;
mod node;
mod scheduler;
mod sweep;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

pub use collector::{Collection, Collector};
pub use node::{Kind, Node};
pub use scheduler::{OnReport, Scheduler, SchedulerOptions};

use crate::content::{LocalContent, blocking};
use crate::error::{Error, Result};
use crate::metadata::{Dirty, LiveKeys, Metadata};
use mark::{Collections, Mark};

/// How long a run waits for a backend to remove things; it goes on by itself after that.
const BACKEND_PATIENCE: Duration = Duration::from_secs(120);

/// A snapshotter whose snapshots can be removed when no record names them.
#[async_trait]
pub trait SnapshotBackend: Send + Sync {
    /// Removes snapshots that are not in use, children before parents; tells how many. The backend
    /// must be listed first and `live.current()` asked after that.
    async fn prune(&self, live: &LiveKeys) -> Result<usize>;

    /// Does what removal left for later (unlinking trees).
    async fn cleanup(&self) -> Result<()>;
}

/// What a run did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Namespace and name of expired images.
    pub removed_images: Vec<(String, String)>,
    /// Namespace, snapshotter and key.
    pub removed_snapshots: Vec<(String, String, String)>,
    /// Blob records of namespaces.
    pub removed_blobs: usize,
    /// Ingest records.
    pub removed_ingests: usize,
    /// Expired leases.
    pub removed_leases: usize,
    /// Marking and sweeping, without the backends.
    pub elapsed: Duration,
}

/// The garbage collector. Clones share it.
#[derive(Clone)]
pub struct Gc {
    inner: Arc<Inner>,
}

struct Inner {
    meta: Metadata,
    content: LocalContent,
    parts: Mutex<Parts>,
    /// One run at a time.
    turn: Arc<Semaphore>,
}

#[derive(Default)]
struct Parts {
    collectors: Vec<Arc<dyn Collector>>,
    snapshotters: BTreeMap<String, Arc<dyn SnapshotBackend>>,
    /// Removals that took longer than a run waits, by snapshotter (`None`: content).
    late: BTreeMap<Option<String>, JoinHandle<()>>,
}

impl Gc {
    /// A collector over these stores.
    pub fn new(meta: Metadata, content: LocalContent) -> Self {
        let parts = Mutex::default();
        Gc { inner: Arc::new(Inner { meta, content, parts, turn: Arc::new(Semaphore::new(1)) }) }
    }

    /// Adds things outside the database.
    pub fn register(&self, collector: Arc<dyn Collector>) {
        self.inner.parts().collectors.push(collector);
    }

    /// Adds a snapshotter. Until that is done its snapshots are never pruned. Its first run looks at
    /// all of them, as a crash may have left some.
    pub fn register_snapshotter(&self, name: &str, backend: Arc<dyn SnapshotBackend>) {
        self.inner.meta.shared.dirty().snapshotters.insert(name.to_owned());
        self.inner.parts().snapshotters.insert(name.to_owned(), backend);
    }

    /// Runs once and waits for it, backends included. It is carried out even if the caller goes away.
    ///
    /// # Errors
    /// The store could not be read in full, or the change not be made: nothing is removed then.
    pub async fn run(&self) -> Result<GcReport> {
        let turn = self.inner.turn.clone().acquire_owned().await.map_err(|_| Error::Closed)?;
        let inner = self.inner.clone();
        let run = tokio::spawn(async move { inner.run(turn).await });
        run.await.unwrap_or_else(|_| Err(Error::Panicked("garbage collection".into())))
    }

    pub(crate) fn meta(&self) -> &Metadata {
        &self.inner.meta
    }
}

impl Inner {
    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(self: Arc<Self>, _turn: OwnedSemaphorePermit) -> Result<GcReport> {
        let began = Instant::now();
        let (external, collections) = self.start();
        // whatever is committed before this is in the view, whatever comes after is recorded
        let record = |tx: &mut crate::kv::Tx<'_>| {
            tx.start_recording();
            Ok(())
        };
        let marked = match self.meta.write(record).await {
            Ok(()) => {
                let view = self.meta.view()?;
                blocking(move || {
                    Ok(match Mark::run(&*view, external, &collections, SystemTime::now()) {
                        Ok(mark) => (Ok(mark), collections),
                        Err(e) => (Err(e), collections),
                    })
                })
                .await?
            }
            Err(e) => (Err(e), collections),
        };
        let (mark, collections) = match marked {
            (Ok(mark), collections) => (mark, collections),
            (Err(e), collections) => {
                collections.into_iter().for_each(|(_, c)| c.cancel());
                return Err(e);
            }
        };
        let (swept, collections) = self.sweep(mark, collections).await;
        let mut report = match swept {
            Ok(report) => report,
            Err(e) => {
                collections.into_iter().for_each(|(_, c)| c.cancel());
                return Err(e);
            }
        };
        report.elapsed = began.elapsed();
        self.remove(collections).await;
        Ok(report)
    }

    /// Begins a collection of each kind; one that fails is left out of this run.
    fn start(&self) -> (labels::External, Collections) {
        let (mut external, mut collections) = (Vec::new(), Vec::new());
        let collectors = self.parts().collectors.clone();
        for collector in collectors {
            match collector.start() {
                Ok(collection) => {
                    external.extend(collector.reference_label().map(|label| (label, collector.kind())));
                    collections.push((collector.kind(), collection));
                }
                Err(e) => {
                    tracing::warn!(
                        kind = collector.kind(),
                        error = base::chain(&e),
                        "not collected this time"
                    );
                }
            }
        }
        (external, collections)
    }

    async fn sweep(&self, mark: Mark, collections: Collections) -> (Result<GcReport>, Collections) {
        // the collections come back whatever becomes of the change
        let slot = Arc::new(Mutex::new(collections));
        let (shared, theirs) = (self.meta.shared.clone(), slot.clone());
        let swept = self.meta.write(move |tx| {
            let mut collections = theirs.lock().unwrap_or_else(PoisonError::into_inner);
            let mut dirty = Dirty::default();
            let report = sweep::sweep(tx, mark, &mut collections, &mut dirty)?;
            shared.dirty().merge(dirty);
            Ok(report)
        });
        let swept = swept.await;
        let collections = std::mem::take(&mut *slot.lock().unwrap_or_else(PoisonError::into_inner));
        (swept, collections)
    }

    /// Lets the backends remove what no record names any more, all at once, and waits for them.
    async fn remove(self: &Arc<Self>, collections: Collections) {
        let dirty = std::mem::take(&mut *self.meta.shared.dirty());
        let mut removals: Vec<(Option<String>, JoinHandle<()>)> = Vec::new();
        for name in dirty.snapshotters {
            let Some(backend) = self.parts().snapshotters.get(&name).cloned() else { continue };
            if self.is_late(&Some(name.clone())) {
                self.meta.shared.dirty().snapshotters.insert(name);
                continue;
            }
            removals.push((Some(name.clone()), tokio::spawn(self.clone().prune(name, backend))));
        }
        if dirty.content {
            if self.is_late(&None) {
                self.meta.shared.dirty().content = true;
            } else {
                removals.push((None, tokio::spawn(self.clone().collect_content())));
            }
        }
        let finish = tokio::spawn(async move {
            for (kind, collection) in collections {
                if let Err(e) = collection.finish().await {
                    tracing::warn!(kind, error = base::chain(&e), "removal of garbage failed");
                }
            }
        });
        let until = tokio::time::Instant::now() + BACKEND_PATIENCE;
        for (name, mut removal) in removals {
            if tokio::time::timeout_at(until, &mut removal).await.is_err() {
                tracing::warn!(snapshotter = name, "removal of garbage goes on in the background");
                self.parts().late.insert(name, removal);
            }
        }
        if tokio::time::timeout_at(until, finish).await.is_err() {
            tracing::warn!("removal of collected resources goes on in the background");
        }
    }

    /// Whether an earlier removal is still going on.
    fn is_late(&self, name: &Option<String>) -> bool {
        let mut parts = self.parts();
        let late = parts.late.get(name).is_some_and(|task| !task.is_finished());
        if !late {
            parts.late.remove(name);
        }
        late
    }

    async fn prune(self: Arc<Self>, name: String, backend: Arc<dyn SnapshotBackend>) {
        let live = LiveKeys(self.meta.snapshots(&name));
        let pruned = async {
            let removed = backend.prune(&live).await?;
            backend.cleanup().await?;
            Ok::<usize, Error>(removed)
        };
        match pruned.await {
            Ok(removed) => tracing::debug!(snapshotter = name, removed, "snapshots pruned"),
            Err(e) => {
                tracing::warn!(snapshotter = name, error = base::chain(&e), "snapshots not pruned");
                self.meta.shared.dirty().snapshotters.insert(name);
            }
        }
    }

    async fn collect_content(self: Arc<Self>) {
        match self.content.collect().await {
            Ok(removed) => tracing::debug!(removed, "blobs removed"),
            Err(e) => {
                tracing::warn!(error = base::chain(&e), "blobs not removed");
                self.meta.shared.dirty().content = true;
            }
        }
    }
}
