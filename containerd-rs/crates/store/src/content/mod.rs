//! Content: immutable blobs named by their digest, and the ingests that become blobs.

mod audit;
mod backend;
mod blob;
mod collect;
mod ingest;
mod local;
pub(crate) mod record;
mod writer;

use std::borrow::Cow;
use std::time::SystemTime;

use async_trait::async_trait;
use base::filter::{Fields, FilterSet};
use base::labels::Labels;
use base::{Digest, Scope};

pub(crate) use backend::{blocking, sync_dir};
pub use blob::{Blob, RemoteBlob};
pub use local::LocalContent;

use crate::error::Result;
use crate::metadata::{map_field, text_field};

/// Directory of the content plugin below the root.
pub const CONTENT_DIR: &str = "io.containerd.content.v1.content";

/// What a namespace knows of a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentInfo {
    /// Its name.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// When the namespace got it.
    pub created_at: SystemTime,
    /// When its labels were last changed.
    pub updated_at: SystemTime,
    /// Labels.
    pub labels: Labels,
}

impl Fields for ContentInfo {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["digest"] => Some(Cow::Borrowed(self.digest.as_str())),
            ["size"] => Some(Cow::Owned(self.size.to_string())),
            ["labels", rest @ ..] => map_field(&self.labels, rest),
            _ => None,
        }
    }
}

/// How far an ingest is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngestStatus {
    /// Its name in the namespace.
    pub reference: String,
    /// Bytes so far.
    pub offset: u64,
    /// Bytes in all; 0: not known.
    pub total: u64,
    /// What it shall become, if that is known.
    pub expected: Option<Digest>,
    /// When it began.
    pub started_at: SystemTime,
    /// When bytes last came.
    pub updated_at: SystemTime,
}

impl Fields for IngestStatus {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["ref", ..] => text_field(&self.reference),
            _ => None,
        }
    }
}

/// How to open an ingest.
#[derive(Clone, Debug, Default)]
pub struct WriterOptions {
    /// Its name in the namespace; must not be empty.
    pub reference: String,
    /// What it shall become.
    pub expected: Option<Digest>,
    /// Bytes in all; 0: not known.
    pub total: u64,
}

impl WriterOptions {
    /// An ingest that may become anything.
    pub fn new(reference: impl Into<String>) -> Self {
        WriterOptions { reference: reference.into(), ..WriterOptions::default() }
    }

    /// What it shall become, and its size.
    #[must_use]
    pub fn expect(mut self, digest: Digest, total: u64) -> Self {
        self.expected = Some(digest);
        self.total = total;
        self
    }
}

/// Blobs and ingests of namespaces. Under a lease in the scope, whatever is made is held by it.
#[async_trait]
pub trait ContentStore: Send + Sync {
    /// What the namespace knows of a blob. NotFound.
    async fn info(&self, scope: &Scope, digest: &Digest) -> Result<ContentInfo>;

    /// Replaces labels, or those in the mask (`labels`, `labels.<key>`). NotFound; InvalidArgument.
    async fn update(&self, scope: &Scope, info: ContentInfo, mask: &[String]) -> Result<ContentInfo>;

    /// Blobs that the filters let through, by digest.
    async fn list(&self, scope: &Scope, filters: &FilterSet) -> Result<Vec<ContentInfo>>;

    /// Takes a blob from the namespace; the bytes go with the next garbage collection. NotFound.
    async fn delete(&self, scope: &Scope, digest: &Digest) -> Result<()>;

    /// Opens a blob for reading. NotFound, also when the bytes are gone or cut short.
    async fn open(&self, scope: &Scope, digest: &Digest) -> Result<Blob>;

    /// Compares all bytes of a blob with its digest. False: they were the wrong ones, so the blob is
    /// set aside and no namespace has it any more; it can be fetched again. NotFound.
    async fn audit(&self, scope: &Scope, digest: &Digest) -> Result<bool> {
        self.info(scope, digest).await?;
        Ok(true)
    }

    /// How far an ingest is. NotFound.
    async fn status(&self, scope: &Scope, reference: &str) -> Result<IngestStatus>;

    /// Ingests that the filters let through.
    async fn statuses(&self, scope: &Scope, filters: &FilterSet) -> Result<Vec<IngestStatus>>;

    /// The file that an ingest is being written to, to be read while it grows; its bytes are appended
    /// in order, unless the ingest is truncated. `None` when the ingest is not there or not on this machine.
    async fn ingest_file(&self, scope: &Scope, reference: &str) -> Result<Option<std::fs::File>> {
        let _nowhere = (scope, reference);
        Ok(None)
    }

    /// Drops an ingest and its bytes. NotFound.
    async fn abort(&self, scope: &Scope, reference: &str) -> Result<()>;

    /// Opens an ingest, taking up where an earlier writer stopped. AlreadyExists when the namespace
    /// has the expected blob; Unavailable while another writer has the ingest open.
    async fn writer(&self, scope: &Scope, options: WriterOptions) -> Result<Box<dyn ContentWriter>>;
}

/// An open ingest. Dropping it is as good as [`ContentWriter::close`], but does not say when the
/// bytes have reached the file.
#[async_trait]
pub trait ContentWriter: Send {
    /// Appends bytes. They may be written later: a failure can also come from a later call.
    async fn write(&mut self, bytes: &[u8]) -> Result<()>;

    /// Bytes so far.
    fn offset(&self) -> u64;

    /// Digest of the bytes so far.
    fn digest(&self) -> Digest;

    /// How far it is.
    fn status(&self) -> IngestStatus;

    /// Starts again; only 0 is possible.
    async fn truncate(&mut self, size: u64) -> Result<()>;

    /// Makes the ingest a blob of the namespace. Afterwards the writer is closed; after a failure the
    /// ingest can be opened again. Once begun it is carried out even if the caller goes away.
    ///
    /// # Errors
    /// FailedPrecondition for another size (0: any) or digest; AlreadyExists when the namespace has
    /// the blob (the ingest is dropped, the lease holds the blob).
    async fn commit(&mut self, size: u64, expected: Option<&Digest>, labels: Labels) -> Result<()>;

    /// Ends writing and keeps the ingest.
    async fn close(self: Box<Self>);
}
