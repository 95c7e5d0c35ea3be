//! What is known of a snapshot.

use std::borrow::Cow;
use std::time::SystemTime;

use base::Labels;
use base::filter::{Fields, label_field};
use serde::{Deserialize, Serialize};

/// What a snapshot is for. The numbers are containerd's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Mounted to be read.
    View = 1,
    /// Mounted to be written.
    Active = 2,
    /// Complete; a parent for others.
    Committed = 3,
}

impl Kind {
    /// The name in filters.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::View => "view",
            Kind::Active => "active",
            Kind::Committed => "committed",
        }
    }
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// View, active or committed.
    pub kind: Kind,
    /// Its key, or its name once committed.
    pub name: String,
    /// Name of the parent; empty: none.
    pub parent: String,
    /// Its labels.
    pub labels: Labels,
    /// When it was made; for committed ones, when it was committed.
    pub created_at: SystemTime,
    /// When its labels last changed.
    pub updated_at: SystemTime,
}

impl Fields for Info {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["kind"] => Some(Cow::Borrowed(self.kind.as_str())),
            ["name"] => Some(Cow::Borrowed(&self.name)),
            ["parent"] => Some(Cow::Borrowed(&self.parent)),
            ["labels", rest @ ..] => label_field(&self.labels, rest),
            _ => None,
        }
    }
}

/// What a snapshot takes on disk, without its parents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Bytes.
    pub size: i64,
    /// Files and directories.
    pub inodes: i64,
}

impl Usage {
    /// From inodes and bytes as they were counted.
    pub(crate) fn of((inodes, bytes): (u64, u64)) -> Self {
        let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        Usage { size: signed(bytes), inodes: signed(inodes) }
    }
}

/// How to commit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CommitOptions {
    /// Labels of the committed snapshot; those of the active one are not inherited.
    pub labels: Labels,
    /// Puts an active snapshot that has no parent on this one (capability `rebase`); empty: leave it.
    pub parent: String,
}

/// Capability: an active snapshot without a parent can be given one at commit.
pub const REBASE: &str = "rebase";
/// Capability: the id mapping labels are understood.
pub const REMAP_IDS: &str = "remap-ids";
/// Capability: ids are only ever mapped by mounts, never by a recursive chown.
pub const ONLY_REMAP_IDS: &str = "only-remap-ids";
