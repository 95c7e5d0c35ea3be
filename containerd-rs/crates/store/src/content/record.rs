//! Metadata of blobs and ingests.

use std::time::SystemTime;

use base::Digest;
use base::labels::Labels;

use super::ContentInfo;
use crate::codec::{Decoder, Encoder, Reason, Record};
use crate::error::{Error, Result};
use crate::key::key;
use crate::kv::{Read, Tx};
use crate::metadata::tables::{CONTENT, INGESTS};
use crate::metadata::{each, load};

/// A blob of a namespace.
#[derive(Clone)]
pub(crate) struct ContentRecord {
    pub(crate) size: u64,
    pub(crate) created_at: SystemTime,
    pub(crate) updated_at: SystemTime,
    pub(crate) labels: Labels,
}

impl ContentRecord {
    pub(crate) fn info(self, digest: Digest) -> ContentInfo {
        let ContentRecord { size, created_at, updated_at, labels } = self;
        ContentInfo { digest, size, created_at, updated_at, labels }
    }
}

impl Record for ContentRecord {
    const VERSION: u8 = 1;

    fn encode(&self, out: &mut Encoder) {
        out.uint(self.size);
        out.time(self.created_at);
        out.time(self.updated_at);
        out.map(&self.labels);
    }

    fn decode(_: u8, from: &mut Decoder<'_>) -> Result<Self, Reason> {
        Ok(ContentRecord {
            size: from.uint()?,
            created_at: from.time()?,
            updated_at: from.time()?,
            labels: from.map()?,
        })
    }
}

/// An ingest of a namespace.
#[derive(Clone)]
pub(crate) struct IngestRecord {
    /// Its name in the backend.
    pub(crate) backend_ref: String,
    /// Garbage from then on; none: held by leases only.
    pub(crate) expires_at: Option<SystemTime>,
    /// A blob of the backend that this will be, without bytes being sent.
    pub(crate) expected: Option<String>,
}

impl Record for IngestRecord {
    const VERSION: u8 = 1;

    fn encode(&self, out: &mut Encoder) {
        out.str(&self.backend_ref);
        out.option(self.expires_at.as_ref(), |out, t| out.time(*t));
        out.option(self.expected.as_ref(), |out, d| out.str(d));
    }

    fn decode(_: u8, from: &mut Decoder<'_>) -> Result<Self, Reason> {
        Ok(IngestRecord {
            backend_ref: from.str()?,
            expires_at: from.option(Decoder::time)?,
            expected: from.option(Decoder::str)?,
        })
    }
}

pub(super) fn blob(from: &dyn Read, ns: &str, digest: &str) -> Result<Option<ContentRecord>> {
    load(from, CONTENT, &key(&[ns, digest]))
}

pub(super) fn ingest(from: &dyn Read, ns: &str, reference: &str) -> Result<Option<IngestRecord>> {
    load(from, INGESTS, &key(&[ns, reference]))
}

pub(super) fn missing_blob(digest: &Digest) -> Error {
    Error::not_found(format!("content digest {digest}"))
}

pub(super) fn missing_ingest(reference: &str) -> Error {
    Error::not_found(format!("reference {reference}"))
}

/// Takes the blob from every namespace: its bytes are no good. Leases and labels that name it stay,
/// so that they hold it when it is fetched again.
pub(super) fn forget(tx: &mut Tx<'_>, digest: &str) -> Result<()> {
    let mut keys = Vec::new();
    each(tx, CONTENT, &[], |[ns, d]: [String; 2], _: ContentRecord| {
        if d == digest {
            keys.push(key(&[&ns, &d]));
        }
        Ok(())
    })?;
    for key in keys {
        tx.delete(CONTENT, &key)?;
    }
    Ok(())
}
