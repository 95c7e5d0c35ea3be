//! The contract of a differ: layers onto mounts, and differences of mounts into layers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use base::{Any, Descriptor, Labels, Mount, Scope};

use crate::error::Result;

/// Told how many bytes of the compressed layer have been used up so far.
pub type Progress = Arc<dyn Fn(u64) + Send + Sync>;

/// How to apply.
#[derive(Clone, Default)]
pub struct ApplyOptions {
    /// Bring the file system to disk before answering.
    pub sync_fs: bool,
    /// Payloads for stream processors, by the processor's id.
    pub payloads: BTreeMap<String, Any>,
    /// Told how far it is.
    pub progress: Option<Progress>,
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
}
