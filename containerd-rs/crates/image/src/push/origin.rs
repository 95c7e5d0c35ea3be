//! Where the content of a push comes from.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use base::{Descriptor, ErrorKind, Scope};
use bytes::{Buf, Bytes};
use store::Blob;
use tokio::runtime::Handle;

use crate::damage;
use crate::error::{Error, Result};
use crate::manifest;
use crate::pull::source_key;
use crate::registry::{BlobStream, BodySource, Repository};
use crate::transfer::Local;

/// A place that has content.
#[async_trait]
pub(super) trait Origin: Send + Sync {
    /// What a document names.
    async fn children(&self, document: &Descriptor) -> Result<Vec<Descriptor>>;

    /// Repositories of the destination's registry that may have it: values of source labels.
    async fn sources(&self, descriptor: &Descriptor) -> Vec<String>;

    /// Its bytes.
    async fn open(&self, descriptor: &Descriptor) -> Result<Arc<dyn BodySource>>;

    /// What it means that its bytes could not be read to the end. `damaged`: they are the wrong ones.
    async fn unreadable(&self, descriptor: &Descriptor, why: io::Error, damaged: bool) -> Error;
}

/// The store of this node.
pub(super) struct Stored {
    local: Local,
    scope: Scope,
    source_key: String,
}

impl Stored {
    pub(super) fn new(local: &Local, scope: &Scope, to: &Repository) -> Stored {
        Stored { local: local.clone(), scope: scope.clone(), source_key: source_key(to) }
    }
}

#[async_trait]
impl Origin for Stored {
    async fn children(&self, document: &Descriptor) -> Result<Vec<Descriptor>> {
        manifest::stored_children(&*self.local.content, &self.scope, document).await
    }

    /// The blob's label; annotations of the descriptor.
    async fn sources(&self, descriptor: &Descriptor) -> Vec<String> {
        let label = self.local.content.info(&self.scope, &descriptor.digest).await.ok();
        let label = label.and_then(|info| info.labels.get(&self.source_key).cloned());
        label.into_iter().chain(descriptor.annotations.get(&self.source_key).cloned()).collect()
    }

    async fn open(&self, descriptor: &Descriptor) -> Result<Arc<dyn BodySource>> {
        let blob = self.local.content.open(&self.scope, &descriptor.digest).await?;
        Ok(Arc::new(StoredBlob { blob, runtime: Handle::current() }))
    }

    async fn unreadable(&self, descriptor: &Descriptor, why: io::Error, damaged: bool) -> Error {
        if damaged {
            return damage::damaged(&*self.local.content, &self.scope, &descriptor.digest).await;
        }
        Error::archive(format!("read content {} to push", descriptor.digest), why)
    }
}

/// A blob of the store as an upload's body; read by threads that may block.
struct StoredBlob {
    blob: Blob,
    runtime: Handle,
}

impl BodySource for StoredBlob {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.runtime
            .block_on(self.blob.read_at(offset, buffer))
            .map_err(|e| io::Error::other(base::chain(&e)))
    }
}

/// A repository of a registry.
pub(super) struct Remote {
    from: Repository,
    /// The destination is another repository of the same registry.
    same_registry: bool,
}

impl Remote {
    pub(super) fn new(from: Repository, to: &Repository) -> Remote {
        Remote { same_registry: from.registry() == to.registry(), from }
    }
}

#[async_trait]
impl Origin for Remote {
    async fn children(&self, document: &Descriptor) -> Result<Vec<Descriptor>> {
        manifest::refuse_schema1(document)?;
        manifest::children(document, &self.from.document(document).await?)
    }

    async fn sources(&self, _descriptor: &Descriptor) -> Vec<String> {
        self.same_registry.then(|| self.from.name().to_owned()).into_iter().collect()
    }

    async fn open(&self, descriptor: &Descriptor) -> Result<Arc<dyn BodySource>> {
        let (from, descriptor) = (self.from.clone(), descriptor.clone());
        Ok(Arc::new(RemoteBlob { from, descriptor, runtime: Handle::current(), stream: Mutex::default() }))
    }

    async fn unreadable(&self, descriptor: &Descriptor, why: io::Error, damaged: bool) -> Error {
        if damaged {
            let text = format!(
                "{}/{} gives other bytes than those of {}: failed precondition",
                self.from.registry(),
                self.from.name(),
                descriptor.digest
            );
            return Error::precondition(text);
        }
        Error::refused(ErrorKind::Unavailable, why.to_string())
    }
}

/// A stream, and what is left of its last piece.
type Stream = (BlobStream, Bytes);

/// A blob of a registry as an upload's body: fetched as it is sent, and once more when it must be
/// sent again. Nothing of it is kept.
struct RemoteBlob {
    from: Repository,
    descriptor: Descriptor,
    runtime: Handle,
    stream: Mutex<Option<Stream>>,
}

impl RemoteBlob {
    fn stream_at(&self, offset: u64) -> io::Result<Stream> {
        let open = self.stream.lock().unwrap_or_else(PoisonError::into_inner).take();
        match open.filter(|(stream, rest)| stream.offset() - rest.len() as u64 == offset) {
            Some(stream) => Ok(stream),
            None => {
                let stream = self.from.fetch(&self.descriptor, offset);
                Ok((stream.map_err(|e| io::Error::other(base::chain(&e)))?, Bytes::new()))
            }
        }
    }
}

impl BodySource for RemoteBlob {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let (mut stream, mut rest) = self.stream_at(offset)?;
        if rest.is_empty() {
            let next = self.runtime.block_on(stream.next());
            rest = next.map_err(|e| io::Error::other(base::chain(&e)))?.unwrap_or_default();
        }
        let n = rest.len().min(buffer.len());
        buffer[..n].copy_from_slice(&rest[..n]);
        rest.advance(n);
        *self.stream.lock().unwrap_or_else(PoisonError::into_inner) = Some((stream, rest));
        Ok(n)
    }
}
