//! The contract of a snapshotter.

use std::path::Path;

use async_trait::async_trait;
use base::filter::FilterSet;
use base::{Labels, Mount};

use crate::error::Result;
use crate::info::{CommitOptions, Info, Usage};

/// Keeps file trees as chains of committed snapshots, with active and view ones at their ends.
///
/// Keys are plain strings here: [`crate::Snapshots`] puts namespaces above. A call that changes
/// something is carried through even when its future is dropped half-way.
#[async_trait]
pub trait Snapshotter: Send + Sync {
    /// What is known of `key`. Not found when it does not exist.
    async fn stat(&self, key: &str) -> Result<Info>;

    /// Replaces labels: those the mask names (`labels`, `labels.<key>`), all of them when it is
    /// empty. Any other path is an invalid argument.
    async fn update(&self, info: Info, mask: &[String]) -> Result<Info>;

    /// Space of the snapshot itself: live for an active one, as recorded at commit for the others.
    async fn usage(&self, key: &str) -> Result<Usage>;

    /// Mounts of an active or view snapshot; a failed precondition for a committed one.
    async fn mounts(&self, key: &str) -> Result<Vec<Mount>>;

    /// Makes an active snapshot on a committed parent (empty: on nothing).
    async fn prepare(&self, key: &str, parent: &str, labels: Labels) -> Result<Vec<Mount>>;

    /// Makes a read-only snapshot of a committed parent.
    async fn view(&self, key: &str, parent: &str, labels: Labels) -> Result<Vec<Mount>>;

    /// Makes the active snapshot `key` the committed snapshot `name`.
    async fn commit(&self, name: &str, key: &str, options: CommitOptions) -> Result<()>;

    /// Removes a snapshot that has no children; its space may stay taken until `cleanup`.
    async fn remove(&self, key: &str) -> Result<()>;

    /// Every snapshot that the filters match, in no particular order.
    async fn walk(&self, filters: &FilterSet) -> Result<Vec<Info>>;

    /// Frees the space of removed snapshots, and of those that a crash left half-made.
    async fn cleanup(&self) -> Result<()>;

    /// Lets go of what is open; calling it twice is fine.
    async fn close(&self) -> Result<()> {
        Ok(())
    }

    /// What it can do beyond the contract.
    fn capabilities(&self) -> &[&'static str];

    /// Where it keeps its files.
    fn root(&self) -> &Path;
}
