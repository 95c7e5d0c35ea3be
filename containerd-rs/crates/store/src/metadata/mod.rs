//! The records behind containerd's objects. Every object lives in a namespace; a namespace comes to
//! be with its first object and goes only when it is deleted.

pub(crate) mod container;
pub(crate) mod image;
pub(crate) mod lease;
pub(crate) mod namespace;
pub(crate) mod sandbox;
pub(crate) mod snapshot;
pub(crate) mod tables;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::Labels;
use base::filter::{Fields, FilterSet};

pub use container::{Container, Containers, RuntimeInfo};
pub use image::{Image, Images};
pub(crate) use lease::LeaseRef;
pub use lease::{Lease, Leases, Resource};
pub use namespace::{NamespaceInfo, Namespaces};
pub use sandbox::{Sandbox, Sandboxes};
pub use snapshot::{LiveKeys, NewSnapshot, PendingCommit, Prepared, SnapshotRecord, SnapshotRecords};

use crate::codec::Record;
use crate::error::{Error, Result};
use crate::inflight::InFlight;
use crate::kv::{Activity, Kv, KvOptions, Read, Table, Tx, View};

/// Directory of the metadata plugin below the root.
pub const METADATA_DIR: &str = "io.containerd.metadata.v1.bolt";
/// The database file in it. Go containerd's `meta.db` may stand beside it.
const FILE: &str = "meta.redb";

/// Whether namespaces may use each other's blobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// A digest that any namespace has need not be provided again.
    #[default]
    Shared,
    /// The bytes must be provided, unless a namespace that has them is labelled shareable.
    Isolated,
}

/// How the metadata store is opened.
#[derive(Clone, Debug)]
pub struct MetadataOptions {
    /// Content sharing policy.
    pub sharing: Sharing,
    /// Never fsync: for tests and throw-away roots only.
    pub no_sync: bool,
    /// Most bytes of database pages kept in memory.
    pub cache_bytes: usize,
}

impl Default for MetadataOptions {
    fn default() -> Self {
        let kv = KvOptions::default();
        MetadataOptions { sharing: Sharing::default(), no_sync: kv.no_sync, cache_bytes: kv.cache_bytes }
    }
}

/// The metadata store. Clones share it.
#[derive(Clone)]
pub struct Metadata {
    pub(crate) kv: Kv,
    pub(crate) shared: Arc<Shared>,
}

/// What lives only as long as the process.
pub(crate) struct Shared {
    pub(crate) sharing: Sharing,
    /// Backend snapshots being made, per snapshotter.
    pub(crate) snapshots: InFlight<(String, String)>,
    /// Blobs being put in place, whose record is not there yet.
    pub(crate) blobs: InFlight<String>,
    /// Backends that have something to remove.
    pub(crate) dirty: Mutex<Dirty>,
    /// Numbers for backend names: the first of this process; none is ever given twice.
    next: AtomicU64,
}

/// Backends with something that no record names.
#[derive(Default)]
pub(crate) struct Dirty {
    pub(crate) content: bool,
    pub(crate) snapshotters: BTreeSet<String>,
}

impl Dirty {
    pub(crate) fn merge(&mut self, other: Dirty) {
        self.content |= other.content;
        self.snapshotters.extend(other.snapshotters);
    }
}

impl Shared {
    pub(crate) fn dirty(&self) -> MutexGuard<'_, Dirty> {
        self.dirty.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Metadata {
    /// Opens or creates the store in `dir`, usually `<root>/io.containerd.metadata.v1.bolt`.
    ///
    /// # Errors
    /// [`Error::InUse`] when another daemon has it open, [`Error::Damaged`] when it cannot be read.
    pub fn open(dir: &Path, options: MetadataOptions) -> Result<Self> {
        let kv_options = KvOptions { cache_bytes: options.cache_bytes, no_sync: options.no_sync };
        let kv = Kv::open(&dir.join(FILE), tables::ALL, kv_options)?;
        let shared = Shared {
            sharing: options.sharing,
            snapshots: InFlight::default(),
            blobs: InFlight::default(),
            // a crash may have left blobs that no record names
            dirty: Mutex::new(Dirty { content: true, ..Dirty::default() }),
            next: AtomicU64::new(kv.opened() << 32),
        };
        Ok(Metadata { kv, shared: Arc::new(shared) })
    }

    /// Namespaces and their labels.
    pub fn namespaces(&self) -> Namespaces<'_> {
        Namespaces { meta: self }
    }

    /// Image names.
    pub fn images(&self) -> Images<'_> {
        Images { meta: self }
    }

    /// Container records.
    pub fn containers(&self) -> Containers<'_> {
        Containers { meta: self }
    }

    /// Sandbox records.
    pub fn sandboxes(&self) -> Sandboxes<'_> {
        Sandboxes { meta: self }
    }

    /// Leases and what they hold.
    pub fn leases(&self) -> Leases<'_> {
        Leases { meta: self }
    }

    /// Snapshot records of one snapshotter.
    pub fn snapshots(&self, snapshotter: &str) -> SnapshotRecords {
        SnapshotRecords { meta: self.clone(), snapshotter: Arc::from(snapshotter) }
    }

    /// Counts of changes since the start.
    pub fn activity(&self) -> tokio::sync::watch::Receiver<Activity> {
        self.kv.activity()
    }

    /// Content sharing policy.
    pub fn sharing(&self) -> Sharing {
        self.shared.sharing
    }

    /// `namespace/number/name`, a backend name that was never used before.
    pub(crate) fn backend_name(&self, ns: &str, name: &str) -> String {
        let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
        format!("{ns}/{number}/{name}")
    }

    pub(crate) fn view(&self) -> Result<Arc<View>> {
        self.kv.view()
    }

    pub(crate) async fn write<T, F>(&self, change: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T> + Send + 'static,
    {
        self.kv.write(change).await
    }
}

/// Reads and decodes the record at `key`.
pub(crate) fn load<R: Record>(from: &dyn Read, table: Table, key: &[u8]) -> Result<Option<R>> {
    from.get(table, key)?.map(|bytes| decode(table, key, &bytes)).transpose()
}

pub(crate) fn decode<R: Record>(table: Table, key: &[u8], bytes: &[u8]) -> Result<R> {
    R::from_bytes(bytes).map_err(|reason| bad_record(table, key, reason))
}

pub(crate) fn bad_record(table: Table, key: &[u8], reason: &'static str) -> Error {
    Error::Record { table: table.name(), key: String::from_utf8_lossy(key).into_owned(), reason }
}

/// Encodes and puts a record.
pub(crate) fn save<R: Record>(tx: &mut Tx<'_>, table: Table, key: &[u8], record: &R) -> Result<()> {
    tx.put(table, key, &record.to_bytes())
}

/// Decodes every record below a prefix, giving the parts of its key too.
pub(crate) fn each<const N: usize, R: Record>(
    from: &dyn Read,
    table: Table,
    prefix: &[u8],
    mut visit: impl FnMut([String; N], R) -> Result<()>,
) -> Result<()> {
    from.scan(table, prefix, &mut |k, v| {
        let parts = crate::key::split::<N>(k).ok_or_else(|| bad_record(table, k, "malformed key"))?;
        visit(parts, decode(table, k, v)?)?;
        Ok(ControlFlow::Continue(()))
    })
}

/// The records below a prefix that the filters let through.
fn filtered<R: Record + Fields, const N: usize>(
    from: &dyn Read,
    table: Table,
    prefix: &[u8],
    filters: &FilterSet,
    mut name: impl FnMut(&mut R, [String; N]),
) -> Result<Vec<R>> {
    let mut out = Vec::new();
    each(from, table, prefix, |parts: [String; N], mut record: R| {
        name(&mut record, parts);
        if filters.matches(&record) {
            out.push(record);
        }
        Ok(())
    })?;
    Ok(out)
}

/// Labels are stored without empty values: setting one to nothing deletes it.
pub(crate) fn without_empty(mut labels: Labels) -> Labels {
    labels.retain(|_, value| !value.is_empty());
    labels
}

/// Sets or, when the new value is absent, removes one entry of a masked map.
pub(crate) fn set_entry<V: Clone>(map: &mut BTreeMap<String, V>, key: &str, new: Option<&V>) {
    match new {
        Some(value) => map.insert(key.to_owned(), value.clone()),
        None => map.remove(key),
    };
}

/// A map as filters see it: the rest of the path is the key.
pub(crate) fn map_field<'a>(map: &'a BTreeMap<String, String>, path: &[&str]) -> Option<Cow<'a, str>> {
    map.get(&path.join(".")).map(|v| Cow::Borrowed(v.as_str()))
}

/// A text as filters see it: an empty one is absent.
pub(crate) fn text_field(text: &str) -> Option<Cow<'_, str>> {
    (!text.is_empty()).then_some(Cow::Borrowed(text))
}

/// Refuses a label that is too big, and one without a key.
pub(crate) fn validate_labels(what: &str, labels: &Labels) -> Result<()> {
    if labels.get("").is_some_and(|value| !value.is_empty()) {
        return Err(Error::invalid(format!("{what}: label key must not be empty")));
    }
    base::labels::validate_labels(labels).map_err(|e| Error::field(what, e))
}
