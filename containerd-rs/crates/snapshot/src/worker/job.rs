//! What daemon and worker say to each other.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::layer::{Rules, Undecided};

/// How the bytes of the layer may be packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Packing {
    /// Plain tar, whatever the bytes look like.
    Plain,
    /// What the first bytes say: gzip, zstd, or plain.
    Detect,
}

/// What to do. The bytes of the layer come on stdin.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Job {
    /// Directory to write below.
    pub(crate) root: PathBuf,
    /// Directories of the layers below, top first; only looked at.
    pub(crate) lowers: Vec<PathBuf>,
    /// How to apply.
    pub(crate) rules: Rules,
    /// How the layer is packed.
    pub(crate) packing: Packing,
    /// Bytes that come on stdin.
    pub(crate) size: u64,
    /// Bring the file system to disk at the end.
    pub(crate) sync_fs: bool,
    /// Most bytes of memory to use.
    pub(crate) memory: u64,
    /// Bytes of the file system that are to stay free; 0: none.
    #[serde(default)]
    pub(crate) keep_free: u64,
}

/// A line of the worker's stdout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Line {
    /// Bytes of stdin used up.
    Progress(u64),
    /// Something that the layers below will decide.
    Undecided(Undecided),
    /// The layer is applied.
    Done(Done),
    /// It is not.
    Failed {
        /// gRPC code number of the kind.
        code: i32,
        /// The whole chain of causes.
        message: String,
    },
}

/// What was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Done {
    /// Digest of the plain tar.
    pub(crate) diff_id: String,
    /// Its bytes.
    pub(crate) size: u64,
    /// Undecided things were too many to be told: the layer must be applied again, in order.
    #[serde(default)]
    pub(crate) apply_again: bool,
}
