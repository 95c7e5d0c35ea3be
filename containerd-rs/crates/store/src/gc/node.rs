//! What garbage collection walks over.

use std::sync::Arc;

/// Kinds of things that can hold or be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A blob of a namespace; its key is the digest.
    Content,
    /// A snapshot of a namespace; its key is `<snapshotter>/<key>`.
    Snapshot,
    /// A container.
    Container,
    /// An image name.
    Image,
    /// A lease.
    Lease,
    /// An ingest; its key is the reference.
    Ingest,
    /// Something that a [`super::Collector`] looks after, by the collector's kind.
    External(&'static str),
}

/// One thing.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Where it lives.
    pub namespace: Arc<str>,
    /// Its name there.
    pub key: String,
    /// Held without what its labels refer to (flat leases).
    pub(crate) flat: bool,
}

impl Node {
    /// Names a thing.
    pub fn new(kind: Kind, namespace: &Arc<str>, key: impl Into<String>) -> Self {
        Node { kind, namespace: namespace.clone(), key: key.into(), flat: false }
    }

    pub(crate) fn snapshot(namespace: &Arc<str>, snapshotter: &str, key: &str) -> Self {
        Node::new(Kind::Snapshot, namespace, format!("{snapshotter}/{key}"))
    }

    pub(crate) fn flat(self, flat: bool) -> Self {
        Node { flat, ..self }
    }

    /// Snapshotter and key of a snapshot.
    pub(crate) fn snapshot_parts(&self) -> Option<(&str, &str)> {
        self.key.split_once('/')
    }
}
