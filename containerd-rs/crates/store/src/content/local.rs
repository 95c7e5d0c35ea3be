//! The content store on the local disk, with namespaces.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use base::filter::FilterSet;
use base::labels::SHARED_NAMESPACE;
use base::mask::parse_mask;
use base::{Algorithm, Digest, Scope};

use super::backend::{Backend, blocking};
use super::ingest::{Ingest, status};
use super::record::{self, ContentRecord, IngestRecord, missing_blob, missing_ingest};
use super::writer::LocalWriter;
use super::{Blob, ContentInfo, ContentStore, ContentWriter, IngestStatus, WriterOptions};
use crate::error::{Error, Result};
use crate::key::{key, prefix};
use crate::kv::{Read, Tx};
use crate::metadata::tables::{CONTENT, INGESTS};
use crate::metadata::{LeaseRef, Metadata, Sharing, each, namespace, save, validate_labels, without_empty};

/// How long an ingest lives that no lease holds.
const INGEST_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// The local content store. Clones share it.
#[derive(Clone)]
pub struct LocalContent {
    pub(super) meta: Metadata,
    pub(super) backend: Arc<Backend>,
}

/// What opening an ingest found in the metadata.
enum Opened {
    /// The namespace has the blob.
    Exists,
    /// The backend has the blob: no bytes are needed.
    Shared {
        backend_ref: String,
        size: u64,
    },
    Ingest {
        backend_ref: String,
    },
}

impl LocalContent {
    /// Opens the store in `root`, usually `<root>/io.containerd.content.v1.content`.
    pub fn open(root: &Path, meta: Metadata) -> Result<Self> {
        Ok(LocalContent { meta, backend: Arc::new(Backend::open(root)?) })
    }

    /// The record of an ingest, made if need be, in one change.
    async fn open_record(&self, scope: &Scope, options: &WriterOptions) -> Result<Opened> {
        let (this, scope, options) = (self.clone(), scope.clone(), options.clone());
        let change = move |tx: &mut Tx<'_>| {
            let ns = scope.namespace.as_str();
            let mut shared = None;
            if let Some(expected) = &options.expected {
                if this.has_blob(tx, ns, expected)? {
                    LeaseRef::Content(expected.as_str()).add(tx, &scope)?;
                    return Ok(Opened::Exists);
                }
                shared = this.shared_size(tx, expected, options.total)?;
            }
            let leased = LeaseRef::Ingest(&options.reference).add(tx, &scope)?;
            let mut ingest = match record::ingest(tx, ns, &options.reference)? {
                Some(ingest) => ingest,
                None => IngestRecord {
                    backend_ref: this.meta.backend_name(ns, &options.reference),
                    expires_at: None,
                    expected: None,
                },
            };
            if !leased {
                ingest.expires_at = Some(SystemTime::now() + INGEST_LIFE);
            }
            if shared.is_some() {
                ingest.expected = options.expected.as_ref().map(|d| d.as_str().to_owned());
            }
            namespace::ensure(tx, ns)?;
            save(tx, INGESTS, &key(&[ns, &options.reference]), &ingest)?;
            let backend_ref = ingest.backend_ref;
            Ok(match shared {
                Some(size) => Opened::Shared { backend_ref, size },
                None => Opened::Ingest { backend_ref },
            })
        };
        // a record lost in a crash costs only the bytes of the ingest
        self.meta.kv.write_relaxed(change).await
    }

    /// Whether the namespace has the blob, with its bytes. A record without them is dropped, so that
    /// the blob can be fetched again.
    fn has_blob(&self, tx: &mut Tx<'_>, ns: &str, digest: &Digest) -> Result<bool> {
        let Some(record) = record::blob(tx, ns, digest.as_str())? else { return Ok(false) };
        if self.backend.blob_size(digest) == Some(record.size) {
            return Ok(true);
        }
        self.discard(tx, digest, record.size)?;
        Ok(false)
    }

    /// Size of a blob that the policy lets any namespace take over from the backend.
    fn shared_size(&self, tx: &Tx<'_>, digest: &Digest, total: u64) -> Result<Option<u64>> {
        if self.meta.sharing() == Sharing::Isolated && !is_shareable(tx, digest)? {
            return Ok(None);
        }
        // whoever has it must agree on its size: a blob nobody vouches for is not taken
        let mut known = None;
        for (ns, _) in namespace::names(tx)? {
            known = known.or(record::blob(tx, &ns, digest.as_str())?.map(|r| r.size));
        }
        let size = self.backend.blob_size(digest).filter(|size| known.is_none_or(|known| known == *size));
        Ok(size.filter(|size| *size > 0 && (total == 0 || total == *size)))
    }

    /// Sets bytes aside that are not what the records say, and drops the records.
    fn discard(&self, tx: &mut Tx<'_>, digest: &Digest, size: u64) -> Result<()> {
        let name = digest.as_str().to_owned();
        let aside = self.meta.shared.blobs.unless_entered(&name, || match self.backend.blob_size(digest) {
            Some(found) if found != size => self.backend.set_corrupt(digest).map(|_| true),
            Some(_) => Ok(false),
            None => Ok(true),
        });
        if aside.transpose()?.unwrap_or(false) {
            tracing::warn!(%digest, size, "bytes of blob are missing or cut short: blob dropped");
            record::forget(tx, digest.as_str())?;
            tx.mark_dirty();
        }
        Ok(())
    }

    /// Opens the bytes for writing; `backend_ref` names them.
    pub(super) async fn open_ingest(
        &self,
        backend_ref: &str,
        algorithm: Algorithm,
        total: u64,
    ) -> Result<Ingest> {
        let lock = self.backend.lock(backend_ref)?;
        let (backend, backend_ref) = (self.backend.clone(), backend_ref.to_owned());
        blocking(move || Ingest::open(&backend, lock, &backend_ref, algorithm, total)).await
    }

    async fn status_of(&self, backend_ref: String, reference: String) -> Result<IngestStatus> {
        let backend = self.backend.clone();
        blocking(move || {
            let found = status(&backend.ingest_path(&backend_ref))?;
            let live = backend.live_offset(&backend_ref).unwrap_or(0);
            Ok(IngestStatus {
                reference,
                offset: found.offset.max(live),
                total: found.total,
                expected: None,
                started_at: found.started_at,
                updated_at: found.updated_at,
            })
        })
        .await
    }
}

/// Whether a namespace that has the blob is labelled shareable.
fn is_shareable(tx: &Tx<'_>, digest: &Digest) -> Result<bool> {
    for (ns, info) in namespace::names(tx)? {
        let shareable = info.labels.get(SHARED_NAMESPACE).is_some_and(|v| v == "true");
        if shareable && record::blob(tx, &ns, digest.as_str())?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

#[async_trait]
impl ContentStore for LocalContent {
    async fn info(&self, scope: &Scope, digest: &Digest) -> Result<ContentInfo> {
        let found = record::blob(&*self.meta.view()?, scope.namespace.as_str(), digest.as_str())?;
        Ok(found.ok_or_else(|| missing_blob(digest))?.info(digest.clone()))
    }

    async fn update(&self, scope: &Scope, info: ContentInfo, mask: &[String]) -> Result<ContentInfo> {
        let (ns, mask) = (scope.namespace.clone(), mask.to_vec());
        self.meta
            .write(move |tx| {
                let digest = &info.digest;
                let found = record::blob(tx, ns.as_str(), digest.as_str())?;
                let mut updated = found.ok_or_else(|| missing_blob(digest))?;
                let mask = parse_mask(&mask);
                if let Some(path) = mask.unknown(&[], &["labels"]) {
                    let text = format!("cannot update {path:?} field on content info \"{digest}\"");
                    return Err(Error::invalid(text));
                }
                mask.apply_labels(&mut updated.labels, &info.labels);
                validate_labels("info.Labels", &updated.labels)?;
                updated.updated_at = SystemTime::now();
                save(tx, CONTENT, &key(&[ns.as_str(), digest.as_str()]), &updated)?;
                Ok(updated.info(info.digest))
            })
            .await
    }

    async fn list(&self, scope: &Scope, filters: &FilterSet) -> Result<Vec<ContentInfo>> {
        let view = self.meta.view()?;
        let mut out = Vec::new();
        let all = prefix(&[scope.namespace.as_str()]);
        each(&*view, CONTENT, &all, |[_, digest]: [String; 2], record: ContentRecord| {
            let digest = Digest::parse(&digest).map_err(|e| Error::field("content key", e))?;
            let info = record.info(digest);
            if filters.matches(&info) {
                out.push(info);
            }
            Ok(())
        })?;
        Ok(out)
    }

    async fn delete(&self, scope: &Scope, digest: &Digest) -> Result<()> {
        let (meta, scope, digest) = (self.meta.clone(), scope.clone(), digest.clone());
        self.meta
            .write(move |tx| {
                if !tx.delete(CONTENT, &key(&[scope.namespace.as_str(), digest.as_str()]))? {
                    return Err(missing_blob(&digest));
                }
                LeaseRef::Content(digest.as_str()).remove(tx, &scope)?;
                meta.shared.dirty().content = true;
                tx.mark_dirty();
                Ok(())
            })
            .await
    }

    async fn open(&self, scope: &Scope, digest: &Digest) -> Result<Blob> {
        let info = self.info(scope, digest).await?;
        let path = self.backend.blob_path(digest);
        let open = || -> io::Result<Option<File>> {
            let file = File::open(&path)?;
            let meta = file.metadata()?;
            Ok((meta.is_file() && meta.len() == info.size).then_some(file))
        };
        match open() {
            Ok(Some(file)) => return Ok(Blob::local(file, info.size, path)),
            Ok(None) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(Error::io("open blob", &path, e)),
        }
        let (this, ns, wanted) = (self.clone(), scope.namespace.clone(), digest.clone());
        // look again where nothing else changes: it may have been fetched anew meanwhile
        let there = self.meta.write(move |tx| this.has_blob(tx, ns.as_str(), &wanted)).await?;
        if there && let Ok(Some(file)) = open() {
            return Ok(Blob::local(file, info.size, path));
        }
        Err(missing_blob(digest))
    }

    async fn audit(&self, scope: &Scope, digest: &Digest) -> Result<bool> {
        self.audit_bytes(scope, digest).await
    }

    async fn status(&self, scope: &Scope, reference: &str) -> Result<IngestStatus> {
        let found = record::ingest(&*self.meta.view()?, scope.namespace.as_str(), reference)?;
        let backend_ref = found.ok_or_else(|| missing_ingest(reference))?.backend_ref;
        self.status_of(backend_ref, reference.to_owned()).await
    }

    async fn statuses(&self, scope: &Scope, filters: &FilterSet) -> Result<Vec<IngestStatus>> {
        let mut found = Vec::new();
        let all = prefix(&[scope.namespace.as_str()]);
        each(&*self.meta.view()?, INGESTS, &all, |[_, reference]: [String; 2], record: IngestRecord| {
            found.push((record.backend_ref, reference));
            Ok(())
        })?;
        let mut out = Vec::with_capacity(found.len());
        for (backend_ref, reference) in found {
            match self.status_of(backend_ref, reference).await {
                Ok(status) if filters.matches(&status) => out.push(status),
                Ok(_) => {}
                Err(e) if e.is_not_found() => {}
                Err(e) => return Err(e),
            }
        }
        Ok(out)
    }

    async fn ingest_file(&self, scope: &Scope, reference: &str) -> Result<Option<File>> {
        let found = record::ingest(&*self.meta.view()?, scope.namespace.as_str(), reference)?;
        let Some(found) = found else { return Ok(None) };
        let path = self.backend.ingest_path(&found.backend_ref).join("data");
        match File::open(&path) {
            Ok(file) => Ok(Some(file)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io("open", &path, e)),
        }
    }

    async fn abort(&self, scope: &Scope, reference: &str) -> Result<()> {
        let (scope, wanted) = (scope.clone(), reference.to_owned());
        let change = move |tx: &mut Tx<'_>| {
            let ns = scope.namespace.as_str();
            let found = record::ingest(tx, ns, &wanted)?.ok_or_else(|| missing_ingest(&wanted))?;
            tx.delete(INGESTS, &key(&[ns, &wanted]))?;
            LeaseRef::Ingest(&wanted).remove(tx, &scope)?;
            Ok(found.backend_ref)
        };
        let backend_ref = self.meta.write(change).await?;
        let backend = self.backend.clone();
        blocking(move || {
            if backend.set_deleted(&backend.ingest_path(&backend_ref))? {
                backend.empty_deleted()?;
            }
            Ok(())
        })
        .await
    }

    async fn writer(&self, scope: &Scope, options: WriterOptions) -> Result<Box<dyn ContentWriter>> {
        if options.reference.is_empty() {
            return Err(Error::invalid("ref must not be empty"));
        }
        let algorithm = options.expected.as_ref().map_or(Algorithm::Sha256, Digest::algorithm);
        let writer = match (self.open_record(scope, &options).await?, options.expected) {
            (Opened::Exists, expected) => {
                let name = expected.map(|d| d.to_string()).unwrap_or_default();
                return Err(Error::already_exists(format!("content {name}")));
            }
            (Opened::Shared { backend_ref, size }, Some(digest)) => {
                LocalWriter::shared(self.clone(), scope.clone(), options.reference, backend_ref, digest, size)
            }
            (Opened::Ingest { backend_ref } | Opened::Shared { backend_ref, .. }, _) => {
                let ingest = self.open_ingest(&backend_ref, algorithm, options.total).await?;
                LocalWriter::ingest(self.clone(), scope.clone(), options.reference, backend_ref, ingest)
            }
        };
        Ok(Box::new(writer))
    }
}

impl LocalContent {
    /// The metadata part of a commit: the ingest goes, the blob comes. False: the namespace has it
    /// already.
    pub(super) async fn record_blob(
        &self,
        scope: &Scope,
        reference: &str,
        digest: &Digest,
        size: u64,
        labels: base::Labels,
    ) -> Result<bool> {
        let (scope, reference, digest) = (scope.clone(), reference.to_owned(), digest.clone());
        self.meta
            .write(move |tx| {
                let ns = scope.namespace.as_str();
                tx.delete(INGESTS, &key(&[ns, &reference]))?;
                LeaseRef::Ingest(&reference).remove(tx, &scope)?;
                LeaseRef::Content(digest.as_str()).add(tx, &scope)?;
                let slot = key(&[ns, digest.as_str()]);
                if tx.contains(CONTENT, &slot)? {
                    return Ok(false);
                }
                namespace::ensure(tx, ns)?;
                let now = SystemTime::now();
                let record =
                    ContentRecord { size, created_at: now, updated_at: now, labels: without_empty(labels) };
                save(tx, CONTENT, &slot, &record)?;
                Ok(true)
            })
            .await
    }
}
