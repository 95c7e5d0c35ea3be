//! One ingest on disk: opening, taking up again, status, becoming a blob.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use base::timestamp::{parse_rfc3339, to_rfc3339_nano};
use base::{Algorithm, Digest, Hasher};

use super::backend::{Backend, IngestLock, sync_dir};
use crate::error::{Error, Result};

/// Bytes read at a time when hashing what is there.
const READ: usize = 256 << 10;

/// An ingest that this process writes.
pub(super) struct Ingest {
    pub(super) dir: PathBuf,
    pub(super) file: Arc<File>,
    pub(super) hasher: Hasher,
    pub(super) algorithm: Algorithm,
    pub(super) offset: u64,
    pub(super) total: u64,
    pub(super) started_at: SystemTime,
    pub(super) updated_at: SystemTime,
    pub(super) lock: Arc<IngestLock>,
}

/// What the files say of an ingest.
pub(super) struct OnDisk {
    pub(super) backend_ref: String,
    pub(super) offset: u64,
    pub(super) total: u64,
    pub(super) started_at: SystemTime,
    pub(super) updated_at: SystemTime,
}

impl Ingest {
    /// Opens an ingest, taking up what is there if it is sound; else starts it anew.
    pub(super) fn open(
        backend: &Backend,
        lock: IngestLock,
        backend_ref: &str,
        algorithm: Algorithm,
        total: u64,
    ) -> Result<Self> {
        let dir = backend.ingest_path(backend_ref);
        let made = match fs::create_dir(&dir) {
            Ok(()) => true,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => false,
            Err(e) => return Err(Error::io("create ingest", &dir, e)),
        };
        let resumed = if made { None } else { resume(&dir, backend_ref, algorithm, total) };
        let path = dir.join("data");
        // Someone may give the reference up at this very moment; then its directory is gone.
        let given_up = |e: Error| match &e {
            Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Error::unavailable(format!("ref {backend_ref} was given up meanwhile"))
            }
            _ => e,
        };
        let (on_disk, hasher) = match resumed {
            Some(found) => found,
            None => (start(&dir, backend_ref, total).map_err(given_up)?, Hasher::new(algorithm)),
        };
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(|e| given_up(Error::io("open", &path, e)))?;
        lock.offset.store(on_disk.offset, Ordering::Release);
        Ok(Ingest {
            dir,
            file: Arc::new(file),
            hasher,
            algorithm,
            offset: on_disk.offset,
            total: on_disk.total,
            started_at: on_disk.started_at,
            updated_at: on_disk.updated_at,
            lock: Arc::new(lock),
        })
    }

    /// Notes when bytes last came. Not synced: the file's own time is looked at as well, and would tell when the last
    /// piece was written to it, which is later.
    pub(super) fn note_update(&self) {
        let (path, fresh) = (self.dir.join("updatedat"), self.dir.join(".updatedat"));
        // Whole or not at all: it may be read at any moment.
        let noted =
            fs::write(&fresh, to_rfc3339_nano(self.updated_at)).and_then(|()| fs::rename(&fresh, &path));
        if let Err(e) = noted.and_then(|()| self.file.set_modified(self.updated_at)) {
            tracing::debug!(path = %path.display(), error = %e, "ingest time not written");
        }
    }

    /// Makes the bytes durable and, under `digest`, a blob. True: the bytes were put in place, false:
    /// the backend has the same already.
    pub(super) fn publish(&self, backend: &Backend, digest: &Digest) -> Result<bool> {
        let data = self.dir.join("data");
        let target = backend.blob_path(digest);
        if backend.blob_size(digest) == Some(self.offset) {
            return Ok(false);
        }
        self.file.sync_data().map_err(|e| Error::io("sync", &data, e))?;
        self.file
            .set_permissions(Permissions::from_mode(0o444))
            .map_err(|e| Error::io("set mode of", &data, e))?;
        let dir = target.parent().unwrap_or(&target);
        if !dir.exists() {
            fs::create_dir_all(dir).map_err(|e| Error::io("create directory", dir, e))?;
            sync_dir(dir.parent().unwrap_or(dir))?;
        }
        fs::rename(&data, &target).map_err(|e| Error::io("put in place", &target, e))?;
        sync_dir(dir)?;
        Ok(true)
    }
}

/// Begins an ingest in a directory that may hold remains.
fn start(dir: &Path, backend_ref: &str, total: u64) -> Result<OnDisk> {
    let now = SystemTime::now();
    let stamp = to_rfc3339_nano(now);
    let put = |name: &str, text: &str| {
        let path = dir.join(name);
        fs::write(&path, text).map_err(|e| Error::io("write", &path, e))
    };
    for name in ["data", "total"] {
        match fs::remove_file(dir.join(name)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io("delete", &dir.join(name), e));
            }
            _ => {}
        }
    }
    put("startedat", &stamp)?;
    put("updatedat", &stamp)?;
    if total > 0 {
        put("total", &total.to_string())?;
    }
    // last: an ingest with a name is whole
    put("ref", backend_ref)?;
    Ok(OnDisk { backend_ref: backend_ref.to_owned(), offset: 0, total, started_at: now, updated_at: now })
}

/// What is there, with its bytes hashed; none if it cannot be used.
fn resume(dir: &Path, backend_ref: &str, algorithm: Algorithm, total: u64) -> Option<(OnDisk, Hasher)> {
    let found = status(dir).and_then(|mut found| {
        if found.backend_ref != backend_ref {
            return Err(Error::precondition("it belongs to another reference"));
        }
        if total > 0 && found.total > 0 && total != found.total {
            return Err(Error::precondition(format!("total was {}, is {total}", found.total)));
        }
        let (hasher, offset) = hash_file(&dir.join("data"), algorithm)?;
        found.offset = offset;
        Ok((found, hasher))
    });
    found
        .inspect_err(|e| {
            tracing::info!(path = %dir.display(), error = base::chain(e), "ingest starts anew");
        })
        .ok()
}

/// Reads the files of an ingest.
///
/// # Errors
/// NotFound when it is not (or not wholly) there.
pub(super) fn status(dir: &Path) -> Result<OnDisk> {
    let absent = |path: &Path, e: io::Error| match e.kind() {
        io::ErrorKind::NotFound => Error::not_found(format!("{}: no such file", path.display())),
        _ => Error::io("read", path, e),
    };
    let read = |name: &str| {
        let path = dir.join(name);
        fs::read_to_string(&path).map_err(|e| absent(&path, e))
    };
    let data = dir.join("data");
    let meta = fs::metadata(&data).map_err(|e| absent(&data, e))?;
    let time = |name: &str| {
        parse_rfc3339(read(name)?.trim()).map_err(|e| Error::field(format!("ingest file {name}"), e))
    };
    // A crash may have left that file empty; the bytes have a time of their own.
    let noted = time("updatedat").unwrap_or(SystemTime::UNIX_EPOCH);
    let updated_at = noted.max(meta.modified().unwrap_or(SystemTime::UNIX_EPOCH));
    let total = read("total").ok().and_then(|t| t.trim().parse().ok()).unwrap_or(0);
    let (backend_ref, started_at) = (read("ref")?, time("startedat")?);
    Ok(OnDisk { backend_ref, offset: meta.len(), total, started_at, updated_at })
}

/// The digest of a file's bytes.
pub(super) fn rehash(path: &Path, algorithm: Algorithm) -> Result<Digest> {
    Ok(hash_file(path, algorithm)?.0.finish())
}

fn hash_file(path: &Path, algorithm: Algorithm) -> Result<(Hasher, u64)> {
    let mut file = File::open(path).map_err(|e| Error::io("open", path, e))?;
    let (mut hasher, mut offset) = (Hasher::new(algorithm), 0u64);
    let mut buf = vec![0u8; READ];
    loop {
        match file.read(&mut buf) {
            Ok(0) => return Ok((hasher, offset)),
            Ok(n) => {
                hasher.update(&buf[..n]);
                offset += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Error::io("read", path, e)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn an_ingest_whose_time_was_lost_in_a_crash_is_still_one() {
        let dir = tempfile::tempdir().unwrap();
        start(dir.path(), "ns/1/ref", 10).unwrap();
        fs::write(dir.path().join("data"), b"abc").unwrap();
        fs::write(dir.path().join("updatedat"), b"").unwrap();
        let found = status(dir.path()).unwrap();
        assert_eq!((found.offset, found.total, found.backend_ref.as_str()), (3, 10, "ns/1/ref"));
        assert!(found.updated_at > SystemTime::UNIX_EPOCH);
    }
}
