//! Records of namespaced snapshots over a backend snapshotter: which backend key stands for which
//! key, parents, labels. The snapshot crate drives the backend; the order that keeps both in step
//! over a crash is:
//!
//! ```text
//! create:  prepare (no record; the backend key is protected) -> backend makes it -> insert
//! commit:  begin_commit (intent on disk) -> backend commits -> finish_commit
//!          after a crash pending_commits() tells what to finish or cancel
//! remove:  remove (record goes) -> garbage collection prunes the backend later
//! ```
//!
//! A backend key that neither a record, an intent nor a [`Prepared`] names is garbage.

mod commit;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::SystemTime;

use base::labels::Labels;
use base::mask::parse_mask;
use base::{Namespace, Scope};

pub use commit::PendingCommit;

use super::tables::{CHILDREN, COMMITS, LEASES, SNAPSHOTS};
use super::{LeaseRef, Metadata, each, load, namespace, save, without_empty};
use crate::codec::{Decoder, Encoder, Reason, Record};
use crate::error::{Error, Result};
use crate::inflight::InFlightGuard;
use crate::key::{key, prefix};
use crate::kv::{Read, Tx};

/// A snapshot as its namespace sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotRecord {
    /// Its key in the namespace.
    pub key: String,
    /// Its key in the backend: `namespace/number/key`.
    pub backend_key: String,
    /// Key of the parent in the namespace; empty: none.
    pub parent: String,
    /// All labels; only some are known to the backend.
    pub labels: Labels,
    /// When it was made.
    pub created_at: SystemTime,
    /// When it was last changed.
    pub updated_at: SystemTime,
}

impl Record for SnapshotRecord {
    const VERSION: u8 = 1;

    fn encode(&self, out: &mut Encoder) {
        out.time(self.created_at);
        out.time(self.updated_at);
        out.str(&self.backend_key);
        out.str(&self.parent);
        out.map(&self.labels);
    }

    fn decode(_: u8, from: &mut Decoder<'_>) -> Result<Self, Reason> {
        Ok(SnapshotRecord {
            key: String::new(),
            created_at: from.time()?,
            updated_at: from.time()?,
            backend_key: from.str()?,
            parent: from.str()?,
            labels: from.map()?,
        })
    }
}

/// A backend key to make a snapshot under. The key is safe from pruning while this lives; let it go
/// only after [`SnapshotRecords::insert`], or when the backend has nothing of that key.
pub struct Prepared {
    /// Give this to the backend.
    pub backend_key: String,
    /// The parent in the backend; empty: none.
    pub backend_parent: String,
    _guard: InFlightGuard<(String, String)>,
}

/// A record to insert.
#[derive(Clone, Debug)]
pub struct NewSnapshot {
    /// Key in the namespace.
    pub key: String,
    /// Key in the backend.
    pub backend_key: String,
    /// Parent in the namespace; empty: none.
    pub parent: String,
    /// Parent in the backend, as the backend says.
    pub backend_parent: String,
    /// Labels.
    pub labels: Labels,
    /// When it was made and last changed; now if not known better (adopted ones).
    pub times: Option<(SystemTime, SystemTime)>,
}

/// Computes which backend keys are in use. Ask *after* listing what the backend has: whatever is in
/// the list and not in the answer is garbage.
pub struct LiveKeys(pub(crate) SnapshotRecords);

impl LiveKeys {
    /// The keys in use now.
    pub fn current(&self) -> Result<HashSet<String>> {
        self.0.live_keys()
    }
}

/// The snapshot records of one snapshotter.
#[derive(Clone)]
pub struct SnapshotRecords {
    pub(super) meta: Metadata,
    pub(super) snapshotter: Arc<str>,
}

impl SnapshotRecords {
    fn find(&self, from: &dyn Read, ns: &Namespace, name: &str) -> Result<Option<SnapshotRecord>> {
        read(from, ns.as_str(), &self.snapshotter, name)
    }

    fn lease_ref<'a>(&'a self, name: &'a str) -> LeaseRef<'a> {
        LeaseRef::Snapshot(&self.snapshotter, name)
    }

    /// The record of a key.
    ///
    /// # Errors
    /// NotFound.
    pub fn get(&self, ns: &Namespace, name: &str) -> Result<SnapshotRecord> {
        self.find(&*self.meta.view()?, ns, name)?.ok_or_else(|| missing(name))
    }

    /// All records of a namespace, by key.
    pub fn list(&self, ns: &Namespace) -> Result<Vec<SnapshotRecord>> {
        let view = self.meta.view()?;
        let mut out = Vec::new();
        each(&*view, SNAPSHOTS, &prefix(&[ns.as_str(), &self.snapshotter]), |[_, _, key], record| {
            out.push(SnapshotRecord { key, ..record });
            Ok(())
        })?;
        Ok(out)
    }

    /// Checks that a snapshot may be made and gives it a backend key. `target` is the name in the
    /// label `containerd.io/snapshot.ref`.
    ///
    /// # Errors
    /// AlreadyExists for `target` or `key` (the lease of the scope then holds the one that exists),
    /// NotFound for the parent or the lease, InvalidArgument for a too big label.
    pub async fn prepare(
        &self,
        scope: &Scope,
        name: &str,
        parent: &str,
        target: Option<&str>,
        labels: &Labels,
    ) -> Result<Prepared> {
        super::validate_labels("info.Labels", labels)?;
        let ns = &scope.namespace;
        let view = self.meta.view()?;
        for (found, what) in [(target, "target snapshot"), (Some(name), "snapshot")] {
            let Some(found) = found.filter(|f| !f.is_empty()) else { continue };
            if self.find(&*view, ns, found)?.is_some() && self.hold(scope, found).await? {
                return Err(Error::already_exists(format!("{what} {found:?}")));
            }
        }
        if let Some(lease) = &scope.lease
            && !view.contains(LEASES, &key(&[ns.as_str(), lease.as_str()]))?
        {
            return Err(Error::not_found("lease does not exist"));
        }
        let backend_parent = match parent {
            "" => String::new(),
            parent => self.find(&*view, ns, parent)?.ok_or_else(|| missing_parent(parent))?.backend_key,
        };
        let backend_key = self.meta.backend_name(ns.as_str(), name);
        let guard = self.meta.shared.snapshots.enter((self.snapshotter.to_string(), backend_key.clone()));
        Ok(Prepared { backend_key, backend_parent, _guard: guard })
    }

    /// Lets the lease of the scope hold a snapshot if it is still there.
    async fn hold(&self, scope: &Scope, name: &str) -> Result<bool> {
        if scope.lease.is_none() {
            return Ok(true);
        }
        let (this, scope, name) = (self.clone(), scope.clone(), name.to_owned());
        self.meta
            .write(move |tx| {
                if this.find(tx, &scope.namespace, &name)?.is_none() {
                    return Ok(false);
                }
                this.lease_ref(&name).add(tx, &scope)?;
                Ok(true)
            })
            .await
    }

    /// Records a snapshot that the backend has made.
    ///
    /// # Errors
    /// AlreadyExists when another was faster (the lease then holds that one), NotFound for parent or
    /// lease, InvalidArgument when the backend's parent is not the parent's.
    pub async fn insert(&self, scope: &Scope, new: NewSnapshot) -> Result<SnapshotRecord> {
        let (this, scope) = (self.clone(), scope.clone());
        let done = self.meta.write(move |tx| this.insert_in(tx, &scope, new)).await?;
        done.map_err(|name| Error::already_exists(format!("snapshot {name:?}")))
    }

    /// The inner error is the key that exists; its lease reference is kept.
    fn insert_in(
        &self,
        tx: &mut Tx<'_>,
        scope: &Scope,
        new: NewSnapshot,
    ) -> Result<std::result::Result<SnapshotRecord, String>> {
        let ns = scope.namespace.as_str();
        self.lease_ref(&new.key).add(tx, scope)?;
        if self.find(tx, &scope.namespace, &new.key)?.is_some() {
            return Ok(Err(new.key));
        }
        if !new.parent.is_empty() {
            let parent = self.find(tx, &scope.namespace, &new.parent)?;
            let parent = parent.ok_or_else(|| missing_parent(&new.parent))?;
            if parent.backend_key != new.backend_parent {
                return Err(Error::invalid(format!(
                    "mismatched parent {} from target {}",
                    new.parent, new.key
                )));
            }
            tx.put(CHILDREN, &key(&[ns, &self.snapshotter, &new.parent, &new.key]), &[])?;
        }
        namespace::ensure(tx, ns)?;
        let now = SystemTime::now();
        let (created_at, updated_at) = new.times.unwrap_or((now, now));
        let record = SnapshotRecord {
            key: new.key,
            backend_key: new.backend_key,
            parent: new.parent,
            labels: without_empty(new.labels),
            created_at,
            updated_at,
        };
        save(tx, SNAPSHOTS, &key(&[ns, &self.snapshotter, &record.key]), &record)?;
        Ok(Ok(record))
    }

    /// Replaces the labels, or those that the mask names (`labels`, `labels.<key>`).
    ///
    /// # Errors
    /// NotFound; InvalidArgument for an empty key, another path or a too big label.
    pub async fn update(
        &self,
        scope: &Scope,
        name: &str,
        labels: Labels,
        mask: &[String],
    ) -> Result<SnapshotRecord> {
        if name.is_empty() {
            return Err(Error::invalid("snapshot key must not be empty"));
        }
        let (this, ns, name, mask) = (self.clone(), scope.namespace.clone(), name.to_owned(), mask.to_vec());
        self.meta
            .write(move |tx| {
                let mut record = this.find(tx, &ns, &name)?.ok_or_else(|| missing(&name))?;
                let mask = parse_mask(&mask);
                if let Some(path) = mask.unknown(&[], &["labels"]) {
                    return Err(Error::invalid(format!("cannot update {path:?} field on snapshot {name:?}")));
                }
                mask.apply_labels(&mut record.labels, &labels);
                super::validate_labels("info.Labels", &record.labels)?;
                record.updated_at = SystemTime::now();
                save(tx, SNAPSHOTS, &key(&[ns.as_str(), &this.snapshotter, &name]), &record)?;
                Ok(record)
            })
            .await
    }

    /// Removes a record; the backend is pruned by the next garbage collection.
    ///
    /// # Errors
    /// NotFound; FailedPrecondition while it has children; Unavailable while it is being committed.
    pub async fn remove(&self, scope: &Scope, name: &str) -> Result<SnapshotRecord> {
        let (this, scope, name) = (self.clone(), scope.clone(), name.to_owned());
        self.meta
            .write(move |tx| {
                let ns = scope.namespace.as_str();
                let record = this.find(tx, &scope.namespace, &name)?.ok_or_else(|| missing(&name))?;
                if tx.any(CHILDREN, &prefix(&[ns, &this.snapshotter, &name]))? {
                    return Err(Error::precondition("cannot remove snapshot with child"));
                }
                this.refuse_while_committing(tx, ns, &name)?;
                delete(tx, ns, &this.snapshotter, &record)?;
                this.lease_ref(&name).remove(tx, &scope)?;
                this.meta.shared.dirty().snapshotters.insert(this.snapshotter.to_string());
                tx.mark_dirty();
                Ok(record)
            })
            .await
    }

    /// Backend keys that are in use: by records, by intents, by snapshots in the making. See
    /// [`LiveKeys`] for the order that makes this safe.
    pub fn live_keys(&self) -> Result<HashSet<String>> {
        // first the ones in the making: what leaves that set is in the view taken after
        let making = self.meta.shared.snapshots.names();
        let mut live: HashSet<String> =
            making.into_iter().filter(|(s, _)| **s == *self.snapshotter).map(|(_, key)| key).collect();
        let view = self.meta.view()?;
        each(&*view, SNAPSHOTS, &[], |[_, snapshotter, _], record: SnapshotRecord| {
            if *snapshotter == *self.snapshotter {
                live.insert(record.backend_key);
            }
            Ok(())
        })?;
        each(&*view, COMMITS, &[], |[_, snapshotter, _], commit: PendingCommit| {
            if *snapshotter == *self.snapshotter {
                live.insert(commit.backend_name);
                live.insert(commit.backend_key);
            }
            Ok(())
        })?;
        Ok(live)
    }
}

/// Reads one record.
pub(crate) fn read(
    from: &dyn Read,
    ns: &str,
    snapshotter: &str,
    name: &str,
) -> Result<Option<SnapshotRecord>> {
    let found: Option<SnapshotRecord> = load(from, SNAPSHOTS, &key(&[ns, snapshotter, name]))?;
    Ok(found.map(|record| SnapshotRecord { key: name.to_owned(), ..record }))
}

/// Deletes a record and its link from the parent.
pub(crate) fn delete(tx: &mut Tx<'_>, ns: &str, snapshotter: &str, record: &SnapshotRecord) -> Result<()> {
    if !record.parent.is_empty() {
        tx.delete(CHILDREN, &key(&[ns, snapshotter, &record.parent, &record.key]))?;
    }
    tx.delete(SNAPSHOTS, &key(&[ns, snapshotter, &record.key]))?;
    Ok(())
}

fn missing(name: &str) -> Error {
    Error::not_found(format!("snapshot {name} does not exist"))
}

fn missing_parent(name: &str) -> Error {
    Error::not_found(format!("parent snapshot {name} does not exist"))
}
