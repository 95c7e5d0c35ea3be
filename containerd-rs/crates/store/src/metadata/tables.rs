//! The tables and the parts of their keys.

use crate::kv::Table;

/// namespace -> labels
pub(crate) const NAMESPACES: Table = Table::new(0, "namespaces");
/// namespace, name
pub(crate) const IMAGES: Table = Table::new(1, "images");
/// namespace, id
pub(crate) const CONTAINERS: Table = Table::new(2, "containers");
/// namespace, id
pub(crate) const SANDBOXES: Table = Table::new(3, "sandboxes");
/// namespace, id
pub(crate) const LEASES: Table = Table::new(4, "leases");
/// namespace, lease, resource kind, resource id -> nothing
pub(crate) const LEASE_REFS: Table = Table::new(5, "lease_refs");
/// namespace, digest
pub(crate) const CONTENT: Table = Table::new(6, "content");
/// namespace, reference
pub(crate) const INGESTS: Table = Table::new(7, "ingests");
/// namespace, snapshotter, key
pub(crate) const SNAPSHOTS: Table = Table::new(8, "snapshots");
/// namespace, snapshotter, parent, child -> nothing
pub(crate) const CHILDREN: Table = Table::new(9, "snapshot_children");
/// namespace, snapshotter, name: commits that have begun in the backend
pub(crate) const COMMITS: Table = Table::new(10, "snapshot_commits");

pub(crate) const ALL: &[Table] = &[
    NAMESPACES, IMAGES, CONTAINERS, SANDBOXES, LEASES, LEASE_REFS, CONTENT, INGESTS, SNAPSHOTS, CHILDREN,
    COMMITS,
];
