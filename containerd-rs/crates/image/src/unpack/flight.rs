//! One job per chain id: whoever comes second waits, and finds the work done.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use base::{Digest, Namespace};
use snapshot::Snapshots;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A snapshot that somebody makes.
type Key = (PathBuf, Namespace, Digest);

/// The jobs of this process. A job that nobody has or waits for leaves nothing but a dead entry,
/// which the next one removes.
static JOBS: Mutex<Option<HashMap<Key, Weak<Semaphore>>>> = Mutex::new(None);

/// Waits until nobody else makes this snapshot, and keeps others from doing so until the permit is
/// dropped. When its holder fails or is cancelled, the next one takes over.
pub(super) async fn take(
    snapshots: &Snapshots,
    namespace: &Namespace,
    chain_id: &Digest,
) -> Option<OwnedSemaphorePermit> {
    let key = (snapshots.root().to_owned(), namespace.clone(), chain_id.clone());
    let job = {
        let mut jobs = JOBS.lock().unwrap_or_else(PoisonError::into_inner);
        let jobs = jobs.get_or_insert_default();
        jobs.retain(|_, job| job.strong_count() > 0);
        match jobs.get(&key).and_then(Weak::upgrade) {
            Some(job) => job,
            None => {
                let job = Arc::new(Semaphore::new(1));
                jobs.insert(key, Arc::downgrade(&job));
                job
            }
        }
    };
    // The semaphore is never closed.
    job.acquire_owned().await.ok()
}
