//! Committing: an intent is written down before the backend commits, so that a crash in between can
//! be finished or taken back.

use std::time::SystemTime;

use base::labels::Labels;
use base::{LeaseId, Namespace, Scope};

use super::{SnapshotRecord, SnapshotRecords, delete, missing, missing_parent};
use crate::codec::{Decoder, Encoder, Reason, Record};
use crate::error::{Error, Result};
use crate::key::{key, prefix};
use crate::kv::{Read, Tx};
use crate::metadata::tables::{CHILDREN, COMMITS, SNAPSHOTS};
use crate::metadata::{each, save, validate_labels, without_empty};

/// A commit whose backend part may have happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingCommit {
    /// Its namespace.
    pub namespace: Namespace,
    /// Name of the committed snapshot to be.
    pub name: String,
    /// Key of the active one.
    pub key: String,
    /// The active one in the backend.
    pub backend_key: String,
    /// The committed one in the backend.
    pub backend_name: String,
    /// Key of the parent in the namespace; empty: none.
    pub parent: String,
    /// The parent in the backend; empty: none.
    pub backend_parent: String,
    /// The active one had no parent; the backend has to put it on `backend_parent`.
    pub rebase: bool,
    /// Labels of the committed one.
    pub labels: Labels,
    /// What will hold the committed one.
    pub lease: Option<LeaseId>,
}

impl Record for PendingCommit {
    const VERSION: u8 = 1;

    fn encode(&self, out: &mut Encoder) {
        out.str(self.namespace.as_str());
        for text in [&self.key, &self.backend_key, &self.backend_name, &self.parent, &self.backend_parent] {
            out.str(text);
        }
        out.uint(u64::from(self.rebase));
        out.map(&self.labels);
        out.option(self.lease.as_ref(), |out, lease| out.str(lease.as_str()));
    }

    fn decode(_: u8, from: &mut Decoder<'_>) -> Result<Self, Reason> {
        Ok(PendingCommit {
            namespace: Namespace::new(from.str()?).map_err(|_| "malformed namespace")?,
            name: String::new(),
            key: from.str()?,
            backend_key: from.str()?,
            backend_name: from.str()?,
            parent: from.str()?,
            backend_parent: from.str()?,
            rebase: from.uint()? != 0,
            labels: from.map()?,
            lease: from.option(|from| LeaseId::new(from.str()?).map_err(|_| "malformed lease"))?,
        })
    }
}

impl SnapshotRecords {
    pub(super) fn refuse_while_committing(&self, tx: &Tx<'_>, ns: &str, name: &str) -> Result<()> {
        let mut busy = None;
        each(tx, COMMITS, &prefix(&[ns, &self.snapshotter]), |[_, _, target], commit: PendingCommit| {
            if commit.key == name {
                busy = Some(target);
            }
            Ok(())
        })?;
        match busy {
            Some(target) => {
                Err(Error::unavailable(format!("snapshot {name:?} is being committed as {target:?}")))
            }
            None => Ok(()),
        }
    }

    /// Checks that `active` may be committed as `name` and writes the intent down.
    /// `parent` (empty: keep) puts an active snapshot without parent onto one.
    ///
    /// # Errors
    /// AlreadyExists for the name (the lease then holds it), NotFound for key, parent or lease,
    /// InvalidArgument for a too big label, Unavailable while either is in another commit.
    pub async fn begin_commit(
        &self,
        scope: &Scope,
        name: &str,
        active: &str,
        parent: &str,
        labels: Labels,
    ) -> Result<PendingCommit> {
        validate_labels("info.Labels", &labels)?;
        let (this, scope) = (self.clone(), scope.clone());
        let (name, active, parent) = (name.to_owned(), active.to_owned(), parent.to_owned());
        let backend_name = self.meta.backend_name(scope.namespace.as_str(), &name);
        let exists = Error::already_exists(format!("snapshot {name:?}"));
        let begun = self.meta.write(move |tx| {
            let ns = scope.namespace.as_str();
            this.lease_ref(&name).add(tx, &scope)?;
            if this.find(tx, &scope.namespace, &name)?.is_some() {
                return Ok(None);
            }
            let record = this.find(tx, &scope.namespace, &active)?.ok_or_else(|| missing(&active))?;
            this.refuse_while_committing(tx, ns, &active)?;
            let slot = key(&[ns, &this.snapshotter, &name]);
            if tx.contains(COMMITS, &slot)? {
                return Err(Error::unavailable(format!("snapshot {name:?} is being committed")));
            }
            let rebase = record.parent.is_empty() && !parent.is_empty();
            let parent = if rebase { parent } else { record.parent };
            let backend_parent = match parent.as_str() {
                "" => String::new(),
                p => this.find(tx, &scope.namespace, p)?.ok_or_else(|| missing_parent(p))?.backend_key,
            };
            let commit = PendingCommit {
                namespace: scope.namespace.clone(),
                name,
                key: active,
                backend_key: record.backend_key,
                backend_name,
                parent,
                backend_parent,
                rebase,
                labels: without_empty(labels),
                lease: scope.lease.clone(),
            };
            save(tx, COMMITS, &slot, &commit)?;
            Ok(Some(commit))
        });
        begun.await?.ok_or(exists)
    }

    /// The backend has committed: the name takes the place of the key.
    pub async fn finish_commit(&self, commit: &PendingCommit) -> Result<SnapshotRecord> {
        let (this, commit) = (self.clone(), commit.clone());
        self.meta.write(move |tx| this.finish_in(tx, commit)).await
    }

    fn finish_in(&self, tx: &mut Tx<'_>, commit: PendingCommit) -> Result<SnapshotRecord> {
        let scope = Scope { namespace: commit.namespace.clone(), lease: commit.lease.clone() };
        let ns = scope.namespace.as_str();
        if !tx.delete(COMMITS, &key(&[ns, &self.snapshotter, &commit.name]))? {
            return Err(Error::not_found(format!("commit of snapshot {:?}", commit.name)));
        }
        if let Some(active) = self.find(tx, &scope.namespace, &commit.key)? {
            delete(tx, ns, &self.snapshotter, &active)?;
        }
        self.lease_ref(&commit.key).remove(tx, &scope)?;
        if !commit.parent.is_empty() {
            tx.put(CHILDREN, &key(&[ns, &self.snapshotter, &commit.parent, &commit.name]), &[])?;
        }
        let now = SystemTime::now();
        let record = SnapshotRecord {
            key: commit.name,
            backend_key: commit.backend_name,
            parent: commit.parent,
            labels: commit.labels,
            created_at: now,
            updated_at: now,
        };
        save(tx, SNAPSHOTS, &key(&[ns, &self.snapshotter, &record.key]), &record)?;
        Ok(record)
    }

    /// The backend has not committed: the active snapshot stays as it was.
    pub async fn cancel_commit(&self, commit: &PendingCommit) -> Result<()> {
        let (this, commit) = (self.clone(), commit.clone());
        self.meta
            .write(move |tx| {
                let scope = Scope { namespace: commit.namespace.clone(), lease: commit.lease.clone() };
                tx.delete(COMMITS, &key(&[commit.namespace.as_str(), &this.snapshotter, &commit.name]))?;
                this.lease_ref(&commit.name).remove(tx, &scope)
            })
            .await
    }

    /// Commits that a crash interrupted, in all namespaces. At start-up each is finished if the
    /// backend has `backend_name`, else cancelled.
    pub fn pending_commits(&self) -> Result<Vec<PendingCommit>> {
        let mut out = Vec::new();
        each(&*self.meta.view()?, COMMITS, &[], |[_, snapshotter, name], commit: PendingCommit| {
            if *snapshotter == *self.snapshotter {
                out.push(PendingCommit { name, ..commit });
            }
            Ok(())
        })?;
        Ok(out)
    }
}
