//! An open ingest of a namespace.
//!
//! ```text
//!  Shared (the backend has the blob) ──write/truncate──> Ingest ──┐
//!      └────────────────────── commit ────────────────────────────┴──> Closed
//! ```
//! Bytes are hashed as they come and written to the file in big pieces by the blocking pool, one
//! piece ahead of the caller.

use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use async_trait::async_trait;
use base::labels::Labels;
use base::{Algorithm, Digest, Hasher, Scope};
use tokio::task::JoinHandle;

use super::backend::blocking;
use super::ingest::Ingest;
use super::{ContentWriter, IngestStatus, LocalContent};
use crate::error::{Error, Result};
use crate::inflight::InFlightGuard;
use crate::metadata::validate_labels;

/// Bytes written to the file at a time.
const PIECE: usize = 256 << 10;

pub(super) struct LocalWriter {
    store: LocalContent,
    scope: Scope,
    reference: String,
    backend_ref: String,
    state: State,
}

enum State {
    Shared { digest: Digest, size: u64, started_at: SystemTime },
    Ingest(Box<Pipe>),
    Closed { digest: Digest, status: IngestStatus },
}

/// An ingest with its bytes on the way to the file.
struct Pipe {
    ingest: Ingest,
    /// Hashed, not yet given to the pool.
    buffer: Vec<u8>,
    /// Where in the file the buffer begins.
    written: u64,
    /// The piece being written; gives its buffer back.
    writing: Option<JoinHandle<Result<Vec<u8>>>>,
    /// A piece could not be written: nothing after it may be.
    broken: bool,
}

impl LocalWriter {
    pub(super) fn ingest(
        store: LocalContent,
        scope: Scope,
        reference: String,
        backend_ref: String,
        ingest: Ingest,
    ) -> Self {
        let state = State::Ingest(Box::new(Pipe::new(ingest)));
        LocalWriter { store, scope, reference, backend_ref, state }
    }

    pub(super) fn shared(
        store: LocalContent,
        scope: Scope,
        reference: String,
        backend_ref: String,
        digest: Digest,
        size: u64,
    ) -> Self {
        let state = State::Shared { digest, size, started_at: SystemTime::now() };
        LocalWriter { store, scope, reference, backend_ref, state }
    }

    /// The pipe to write to; a shared blob is copied first, as far as `keep` bytes.
    async fn pipe(&mut self, keep: Option<u64>) -> Result<&mut Pipe> {
        if let State::Shared { digest, size, .. } = &self.state {
            let (digest, size) = (digest.clone(), keep.unwrap_or(*size));
            let ingest = self.store.open_ingest(&self.backend_ref, digest.algorithm(), size).await?;
            let mut pipe = Pipe::new(ingest);
            pipe.truncate().await?;
            if size > 0 {
                let blob = self.store.backend.blob_path(&digest);
                let file = std::fs::File::open(&blob).map_err(|e| Error::io("open blob", &blob, e))?;
                let blob = super::Blob::local(file, size, blob);
                while pipe.ingest.offset < size {
                    let chunk = blob.chunk(pipe.ingest.offset, PIECE).await?;
                    if chunk.is_empty() {
                        return Err(Error::not_found(format!("content digest {digest}")));
                    }
                    pipe.write(&chunk).await?;
                }
            }
            self.state = State::Ingest(Box::new(pipe));
        }
        match &mut self.state {
            State::Ingest(pipe) => Ok(pipe),
            _ => Err(Error::precondition("cannot write to closed writer")),
        }
    }

    /// Leaves the writer closed, with what can still be asked of it.
    fn take(&mut self) -> State {
        let closed = State::Closed { digest: self.digest(), status: self.status() };
        std::mem::replace(&mut self.state, closed)
    }
}

#[async_trait]
impl ContentWriter for LocalWriter {
    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.pipe(None).await?.write(bytes).await
    }

    fn offset(&self) -> u64 {
        match &self.state {
            State::Shared { size, .. } => *size,
            State::Ingest(pipe) => pipe.ingest.offset,
            State::Closed { status, .. } => status.offset,
        }
    }

    fn digest(&self) -> Digest {
        match &self.state {
            State::Shared { digest, .. } | State::Closed { digest, .. } => digest.clone(),
            State::Ingest(pipe) => pipe.ingest.hasher.clone().finish(),
        }
    }

    fn status(&self) -> IngestStatus {
        match &self.state {
            State::Closed { status, .. } => status.clone(),
            State::Shared { digest, size, started_at } => IngestStatus {
                reference: self.reference.clone(),
                offset: *size,
                total: *size,
                expected: Some(digest.clone()),
                started_at: *started_at,
                updated_at: *started_at,
            },
            State::Ingest(pipe) => IngestStatus {
                reference: self.reference.clone(),
                offset: pipe.ingest.offset,
                total: pipe.ingest.total,
                expected: None,
                started_at: pipe.ingest.started_at,
                updated_at: pipe.ingest.updated_at,
            },
        }
    }

    async fn truncate(&mut self, size: u64) -> Result<()> {
        if size != 0 {
            return Err(Error::refused(base::ErrorKind::Unknown, "Truncate: unsupported size"));
        }
        self.pipe(Some(0)).await?.truncate().await
    }

    async fn commit(&mut self, size: u64, expected: Option<&Digest>, labels: Labels) -> Result<()> {
        let state = self.take();
        let commit = Commit {
            store: self.store.clone(),
            scope: self.scope.clone(),
            reference: self.reference.clone(),
            size,
            expected: expected.cloned(),
            labels,
        };
        let run = tokio::spawn(async move {
            match state {
                State::Ingest(pipe) => commit.ingest(*pipe).await,
                State::Shared { digest, size, .. } => commit.shared(digest, size).await,
                State::Closed { .. } => Err(Error::precondition("cannot commit on closed writer")),
            }
        });
        let digest = run.await.map_err(|_| Error::Panicked("content commit".into()))??;
        if let State::Closed { digest: last, .. } = &mut self.state {
            *last = digest;
        }
        Ok(())
    }

    async fn close(mut self: Box<Self>) {
        if let State::Ingest(mut pipe) = self.take() {
            pipe.finish().await;
        }
    }
}

impl Drop for LocalWriter {
    fn drop(&mut self) {
        let State::Ingest(mut pipe) = self.take() else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { pipe.finish().await });
        }
    }
}

/// A commit in the making; it gives the digest.
struct Commit {
    store: LocalContent,
    scope: Scope,
    reference: String,
    size: u64,
    expected: Option<Digest>,
    labels: Labels,
}

impl Commit {
    async fn ingest(self, mut pipe: Pipe) -> Result<Digest> {
        let drained = pipe.drain().await;
        pipe.ingest.note_update();
        drained?;
        validate_labels("info.Labels", &self.labels)?;
        self.check_size(pipe.ingest.offset)?;
        let digest = self.check_digest(&mut pipe).await?;
        let (size, dir) = (pipe.ingest.offset, pipe.ingest.dir.clone());
        let guard = self.protect(&digest);
        let (backend, wanted) = (self.store.backend.clone(), digest.clone());
        let ingest = pipe.into_ingest();
        let published = blocking(move || {
            let published = ingest.publish(&backend, &wanted);
            // the lock goes with the ingest, after its files have settled
            published.map(|_| ingest)
        });
        let ingest = published.await?;
        let new = self.record(&digest, size).await;
        drop(guard);
        let new = new?;
        let backend = self.store.backend.clone();
        blocking(move || {
            if backend.set_deleted(&dir)? {
                backend.empty_deleted()?;
            }
            drop(ingest);
            Ok(())
        })
        .await?;
        self.answer(new, digest)
    }

    async fn shared(self, digest: Digest, size: u64) -> Result<Digest> {
        validate_labels("info.Labels", &self.labels)?;
        self.check_size(size)?;
        if self.expected.as_ref().is_some_and(|e| *e != digest) {
            return Err(Error::precondition(format!("{:?} unexpected digest", self.reference)));
        }
        // the ingest record keeps the bytes from collection until this one does
        let new = self.record(&digest, size).await?;
        self.answer(new, digest)
    }

    fn check_size(&self, offset: u64) -> Result<()> {
        if self.size != 0 && self.size != offset {
            let text = format!("{:?} failed size validation: {offset} != {}", self.reference, self.size);
            return Err(Error::precondition(text));
        }
        Ok(())
    }

    async fn check_digest(&self, pipe: &mut Pipe) -> Result<Digest> {
        let Some(expected) = &self.expected else { return Ok(pipe.ingest.hasher.clone().finish()) };
        let found = pipe.digest(expected.algorithm()).await?;
        if found != *expected {
            return Err(Error::precondition(format!(
                "unexpected commit digest {found}, expected {expected}"
            )));
        }
        Ok(found)
    }

    fn protect(&self, digest: &Digest) -> InFlightGuard<String> {
        self.store.meta.shared.blobs.enter(digest.as_str().to_owned())
    }

    async fn record(&self, digest: &Digest, size: u64) -> Result<bool> {
        self.store.record_blob(&self.scope, &self.reference, digest, size, self.labels.clone()).await
    }

    fn answer(&self, new: bool, digest: Digest) -> Result<Digest> {
        if new { Ok(digest) } else { Err(Error::already_exists(format!("content {digest}"))) }
    }
}

impl Pipe {
    fn new(ingest: Ingest) -> Self {
        let written = ingest.offset;
        Pipe { ingest, buffer: Vec::new(), written, writing: None, broken: false }
    }

    fn into_ingest(self) -> Ingest {
        self.ingest
    }

    /// Takes bytes; gives full pieces to the pool.
    async fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let room = PIECE - self.buffer.len();
            let (head, rest) = bytes.split_at(room.min(bytes.len()));
            self.ingest.hasher.update(head);
            self.buffer.extend_from_slice(head);
            self.ingest.offset += head.len() as u64;
            bytes = rest;
            if self.buffer.len() == PIECE {
                self.flush().await?;
            }
        }
        self.ingest.updated_at = SystemTime::now();
        self.ingest.lock.offset.store(self.ingest.offset, Ordering::Release);
        Ok(())
    }

    /// Waits for the piece being written, then starts writing the buffer.
    async fn flush(&mut self) -> Result<()> {
        let mut spare = self.settle().await?;
        if self.buffer.is_empty() {
            return Ok(());
        }
        spare.clear();
        let piece = std::mem::replace(&mut self.buffer, spare);
        let (file, at) = (self.ingest.file.clone(), self.written);
        let (path, lock) = (self.ingest.dir.join("data"), self.ingest.lock.clone());
        self.written += piece.len() as u64;
        self.writing = Some(tokio::task::spawn_blocking(move || {
            let done = file.write_all_at(&piece, at).map_err(|e| Error::io("write", &path, e));
            // nobody else may open the ingest before its last piece is written
            drop(lock);
            done.map(|()| piece)
        }));
        Ok(())
    }

    /// Waits for the piece being written; gives its buffer back.
    async fn settle(&mut self) -> Result<Vec<u8>> {
        if self.broken {
            return Err(Error::precondition("an earlier write to the ingest failed"));
        }
        let Some(writing) = &mut self.writing else { return Ok(Vec::new()) };
        let done = writing.await;
        self.writing = None;
        let done = done.unwrap_or_else(|_| Err(Error::Panicked("ingest write".into())));
        self.broken = done.is_err();
        done
    }

    /// Gives all bytes to the file and waits until it has them.
    async fn drain(&mut self) -> Result<()> {
        self.flush().await?;
        self.settle().await.map(drop)
    }

    /// As [`Pipe::drain`], for when nobody waits for the result.
    async fn finish(&mut self) {
        if let Err(e) = self.drain().await {
            tracing::warn!(path = %self.ingest.dir.display(), error = base::chain(&e), "ingest cut short");
        }
        self.ingest.note_update();
    }

    async fn truncate(&mut self) -> Result<()> {
        // what was being written is thrown away, and so is its failure
        if let Some(writing) = self.writing.take() {
            let _ = writing.await;
        }
        self.broken = false;
        self.buffer.clear();
        self.ingest.hasher = Hasher::new(self.ingest.algorithm);
        (self.ingest.offset, self.written) = (0, 0);
        self.ingest.lock.offset.store(0, Ordering::Release);
        let (file, path) = (self.ingest.file.clone(), self.ingest.dir.join("data"));
        blocking(move || file.set_len(0).map_err(|e| Error::io("truncate", &path, e))).await
    }

    /// The digest of all bytes, which are in the file.
    async fn digest(&mut self, algorithm: Algorithm) -> Result<Digest> {
        if algorithm == self.ingest.algorithm {
            return Ok(self.ingest.hasher.clone().finish());
        }
        let data = self.ingest.dir.join("data");
        blocking(move || super::ingest::rehash(&data, algorithm)).await
    }
}
