//! The files of the content store:
//!
//! ```text
//! blobs/<algorithm>/<hex>                 0444, complete
//! ingest/<sha256 of the backend name>/    ref, data, startedat, updatedat, total
//! deleted/<number>                        on the way to being unlinked
//! corrupt/<algorithm>-<hex>               set aside: bytes are not what they should be
//! ```

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use base::{Algorithm, Digest};

use crate::error::{Error, Result};

/// Runs file work off the async threads. Once begun it ends even if the caller goes away.
pub(crate) async fn blocking<T, F>(work: F) -> Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) if e.is_panic() => Err(Error::Panicked("content file work".into())),
        Err(_) => Err(Error::Closed),
    }
}

/// The directory tree and the locks on its ingests.
pub(crate) struct Backend {
    root: PathBuf,
    locks: Mutex<HashMap<String, Locked>>,
    next_deleted: AtomicU64,
}

/// Who writes an ingest.
struct Locked {
    since: Instant,
    at: SystemTime,
    offset: Arc<AtomicU64>,
}

/// The right to write one ingest.
pub(crate) struct IngestLock {
    backend: Arc<Backend>,
    name: String,
    /// Bytes accepted so far, for status calls of others.
    pub(crate) offset: Arc<AtomicU64>,
}

impl Drop for IngestLock {
    fn drop(&mut self) {
        self.backend.locked().remove(&self.name);
    }
}

impl Backend {
    /// Opens the tree below `root` and throws away what a crash left half deleted.
    pub(crate) fn open(root: &Path) -> Result<Self> {
        for dir in ["ingest", "blobs", "deleted"] {
            let dir = root.join(dir);
            fs::create_dir_all(&dir).map_err(|e| Error::io("create directory", &dir, e))?;
        }
        let backend =
            Backend { root: root.to_owned(), locks: Mutex::default(), next_deleted: AtomicU64::new(0) };
        backend.empty_deleted()?;
        Ok(backend)
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<String, Locked>> {
        self.locks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a blob is or will be.
    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs").join(digest.algorithm().as_str()).join(digest.hex())
    }

    /// Size of a blob; none if there is no such file.
    pub(crate) fn blob_size(&self, digest: &Digest) -> Option<u64> {
        let meta = fs::symlink_metadata(self.blob_path(digest)).ok()?;
        meta.is_file().then_some(meta.len())
    }

    pub(crate) fn ingest_path(&self, backend_ref: &str) -> PathBuf {
        self.root.join("ingest").join(Digest::sha256(backend_ref).hex())
    }

    /// Takes the right to write an ingest.
    pub(crate) fn lock(self: &Arc<Self>, backend_ref: &str) -> Result<IngestLock> {
        let name = Digest::sha256(backend_ref).hex().to_owned();
        let mut locks = self.locked();
        if let Some(other) = locks.get(&name) {
            let at = base::timestamp::to_rfc3339_nano(other.at);
            return Err(Error::unavailable(format!(
                "ref {backend_ref} locked for {:?} (since {at})",
                other.since.elapsed()
            )));
        }
        let offset = Arc::new(AtomicU64::new(0));
        let locked = Locked { since: Instant::now(), at: SystemTime::now(), offset: offset.clone() };
        locks.insert(name.clone(), locked);
        Ok(IngestLock { backend: self.clone(), name, offset })
    }

    /// Bytes that an open writer has accepted, which the file may not have yet.
    pub(crate) fn live_offset(&self, backend_ref: &str) -> Option<u64> {
        let locks = self.locked();
        locks.get(Digest::sha256(backend_ref).hex()).map(|l| l.offset.load(Ordering::Acquire))
    }

    /// Moves a file or directory to where it will be unlinked; quick. Absent is fine.
    pub(crate) fn set_deleted(&self, path: &Path) -> Result<bool> {
        let number = self.next_deleted.fetch_add(1, Ordering::Relaxed);
        let to = self.root.join("deleted").join(number.to_string());
        rename_if_present(path, &to)
    }

    /// Moves an ingest aside if nobody writes it.
    pub(crate) fn set_ingest_deleted_unless_locked(&self, name: &OsStr) -> Result<bool> {
        let locks = self.locked();
        if name.to_str().is_some_and(|n| locks.contains_key(n)) {
            return Ok(false);
        }
        self.set_deleted(&self.root.join("ingest").join(name))
    }

    /// Moves a blob aside so that its bytes can be looked at and fetched again.
    pub(crate) fn set_corrupt(&self, digest: &Digest) -> Result<bool> {
        let dir = self.root.join("corrupt");
        fs::create_dir_all(&dir).map_err(|e| Error::io("create directory", &dir, e))?;
        let to = dir.join(format!("{}-{}", digest.algorithm(), digest.hex()));
        rename_if_present(&self.blob_path(digest), &to)
    }

    /// Unlinks what was moved aside.
    pub(crate) fn empty_deleted(&self) -> Result<()> {
        let dir = self.root.join("deleted");
        for entry in read_dir(&dir)? {
            let path = dir.join(entry);
            let gone = match fs::symlink_metadata(&path) {
                Ok(meta) if meta.is_dir() => fs::remove_dir_all(&path),
                Ok(_) => fs::remove_file(&path),
                Err(e) => Err(e),
            };
            match gone {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(Error::io("delete", &path, e)),
                _ => {}
            }
        }
        Ok(())
    }

    /// The blobs that there are. Names that are no digests are left alone.
    pub(crate) fn blobs(&self) -> Result<Vec<Digest>> {
        let mut out = Vec::new();
        for algorithm in [Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512] {
            let names = read_dir(&self.root.join("blobs").join(algorithm.as_str()))?;
            let digest = |n: &std::ffi::OsString| Digest::from_hex(algorithm, n.to_str()?).ok();
            out.extend(names.iter().filter_map(digest));
        }
        Ok(out)
    }

    /// Directory names of the ingests that there are, with the backend name in each (empty: unreadable).
    pub(crate) fn ingests(&self) -> Result<Vec<(std::ffi::OsString, String)>> {
        let dir = self.root.join("ingest");
        let named = |name: std::ffi::OsString| {
            let backend_ref = fs::read_to_string(dir.join(&name).join("ref")).unwrap_or_default();
            (name, backend_ref)
        };
        Ok(read_dir(&dir)?.into_iter().map(named).collect())
    }
}

/// Names in a directory; none if it is not there.
fn read_dir(dir: &Path) -> Result<Vec<std::ffi::OsString>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("read directory", dir, e)),
    };
    let names: io::Result<Vec<_>> = entries.map(|entry| Ok(entry?.file_name())).collect();
    names.map_err(|e| Error::io("read directory", dir, e))
}

fn rename_if_present(from: &Path, to: &Path) -> Result<bool> {
    match fs::rename(from, to) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Error::io("move aside", from, e)),
    }
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(|e| Error::io("sync directory", dir, e))
}
