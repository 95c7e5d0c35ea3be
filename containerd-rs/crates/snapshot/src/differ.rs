//! The contract of a differ: layers onto mounts, and differences of mounts into layers.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use base::{Any, Descriptor, Labels, Mount, Scope};

use crate::apart::Apart;
use crate::error::Result;

/// Told how many bytes of the compressed layer have been used up so far.
pub type Progress = Arc<dyn Fn(u64) + Send + Sync>;

/// A layer on its way: its bytes are appended to a file, and can be used as they come.
#[async_trait]
pub trait Arriving: Send + Sync {
    /// The file. Its offset is shared: use positioned reads.
    fn file(&self) -> &File;

    /// Waits until the file has more than `offset` bytes, and gives how many; `offset` itself at the
    /// end of the layer. Cancel-safe.
    ///
    /// # Errors
    /// When no more will come, or what came was not right: what was read is of no use then.
    async fn beyond(&self, offset: u64) -> Result<u64>;
}

/// How to apply.
#[derive(Clone, Default)]
pub struct ApplyOptions {
    /// Bring the file system to disk before answering.
    pub sync_fs: bool,
    /// Payloads for stream processors, by the processor's id.
    pub payloads: BTreeMap<String, Any>,
    /// Told how far it is.
    pub progress: Option<Progress>,
    /// Where the bytes of the layer come from while the content store does not have all of them. Only
    /// for a differ that [`Differ::follows`].
    pub arriving: Option<Arc<dyn Arriving>>,
    /// The mounts show an empty directory that will be laid over layers which are not there yet. Only
    /// for a differ that [`Differ::applies_apart`]; call [`Apart::settle`] when they are there.
    pub apart: Option<Arc<Apart>>,
}

/// How to compare.
#[derive(Clone, Debug, Default)]
pub struct CompareOptions {
    /// Media type of the result; empty: a gzip OCI layer.
    pub media_type: String,
    /// Ingest to write to; empty: a new one.
    pub reference: String,
    /// Labels of the result.
    pub labels: Labels,
    /// No time in the result is later than this.
    pub source_date_epoch: Option<SystemTime>,
}

/// Applies and makes layers.
#[async_trait]
pub trait Differ: Send + Sync {
    /// Applies the layer `layer` of the content store to what `mounts` show. Gives the descriptor of
    /// what was applied: plain tar, its digest is the diff id.
    ///
    /// # Errors
    /// Unimplemented for a media type that it does not know, so that the next differ can be asked.
    async fn apply(
        &self,
        scope: &Scope,
        layer: &Descriptor,
        mounts: &[Mount],
        options: ApplyOptions,
    ) -> Result<Descriptor>;

    /// Writes what `upper` has over `lower` into the content store.
    ///
    /// # Errors
    /// Unimplemented for a media type that it cannot make.
    async fn compare(
        &self,
        scope: &Scope,
        lower: &[Mount],
        upper: &[Mount],
        options: CompareOptions,
    ) -> Result<Descriptor>;

    /// Whether it can apply a layer of this media type that is still arriving.
    fn follows(&self, media_type: &str) -> bool {
        let _none = media_type;
        false
    }

    /// Whether it can apply a layer before those below it.
    fn applies_apart(&self) -> bool {
        false
    }
}
