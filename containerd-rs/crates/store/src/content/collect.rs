//! Removing bytes that no record names. First the files are listed, then the records read: what was
//! begun in between is not in the list. Each file is then checked once more on the writer thread,
//! where no new record can come between, and moved aside; unlinking happens after.

use std::collections::HashSet;

use base::Digest;

use super::LocalContent;
use super::backend::blocking;
use super::record::{self, ContentRecord, IngestRecord};
use crate::error::Result;
use crate::kv::Read;
use crate::metadata::tables::{CONTENT, INGESTS};
use crate::metadata::{each, namespace};

/// Blobs looked at in one visit to the writer thread.
const BATCH: usize = 64;

impl LocalContent {
    /// Removes blobs and ingests that no record names; tells how many blobs.
    pub(crate) async fn collect(&self) -> Result<usize> {
        let backend = self.backend.clone();
        let (blobs, ingests) = blocking(move || Ok((backend.blobs()?, backend.ingests()?))).await?;
        let (live, live_ingests) = live(&*self.meta.view()?)?;
        let dead: Vec<Digest> = blobs.into_iter().filter(|d| !live.contains(d.as_str())).collect();
        let mut removed = 0;
        for batch in dead.chunks(BATCH) {
            let (this, batch) = (self.clone(), batch.to_vec());
            removed += self.meta.write(move |tx| this.set_deleted(tx, &batch)).await?;
        }
        let backend = self.backend.clone();
        blocking(move || {
            for (name, backend_ref) in ingests {
                if !live_ingests.contains(&backend_ref) {
                    backend.set_ingest_deleted_unless_locked(&name)?;
                }
            }
            backend.empty_deleted()
        })
        .await?;
        Ok(removed)
    }

    /// Moves aside those of the blobs that still nothing names.
    fn set_deleted(&self, from: &dyn Read, blobs: &[Digest]) -> Result<usize> {
        let mut expected = HashSet::new();
        each(from, INGESTS, &[], |_: [String; 2], record: IngestRecord| {
            expected.extend(record.expected);
            Ok(())
        })?;
        let namespaces = namespace::names(from)?;
        let mut removed = 0;
        for digest in blobs {
            let mut named = expected.contains(digest.as_str());
            for (ns, _) in &namespaces {
                named = named || record::blob(from, ns, digest.as_str())?.is_some();
            }
            if named {
                continue;
            }
            let path = self.backend.blob_path(digest);
            let gone = self
                .meta
                .shared
                .blobs
                .unless_entered(&digest.as_str().to_owned(), || self.backend.set_deleted(&path));
            removed += usize::from(gone.transpose()?.unwrap_or(false));
        }
        Ok(removed)
    }
}

/// Digests and backend references that records name.
fn live(from: &dyn Read) -> Result<(HashSet<String>, HashSet<String>)> {
    let (mut blobs, mut ingests) = (HashSet::new(), HashSet::new());
    each(from, CONTENT, &[], |[_, digest]: [String; 2], _: ContentRecord| {
        blobs.insert(digest);
        Ok(())
    })?;
    each(from, INGESTS, &[], |_: [String; 2], record: IngestRecord| {
        blobs.extend(record.expected);
        ingests.insert(record.backend_ref);
        Ok(())
    })?;
    Ok((blobs, ingests))
}
