//! Namespaces: labels, and the rule that only an empty one can be deleted.

use std::collections::BTreeSet;

use base::Namespace;
use base::labels::{Labels, validate_label};

use super::tables::{
    CHILDREN, COMMITS, CONTAINERS, CONTENT, IMAGES, INGESTS, LEASE_REFS, LEASES, NAMESPACES, SANDBOXES,
    SNAPSHOTS,
};
use super::{Metadata, each, load, save, without_empty};
use crate::codec::{Decoder, Encoder, Reason, Record};
use crate::error::{Error, Result};
use crate::key::{key, prefix};
use crate::kv::{Read, Tx};

/// A namespace and its labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceInfo {
    /// Its name.
    pub name: Namespace,
    /// Its labels.
    pub labels: Labels,
}

#[derive(Default)]
pub(crate) struct NamespaceRecord {
    pub(crate) labels: Labels,
}

impl Record for NamespaceRecord {
    const VERSION: u8 = 1;
    fn encode(&self, out: &mut Encoder) {
        out.map(&self.labels);
    }
    fn decode(_: u8, from: &mut Decoder<'_>) -> Result<Self, Reason> {
        Ok(NamespaceRecord { labels: from.map()? })
    }
}

/// Makes the namespace if this is its first object.
pub(crate) fn ensure(tx: &mut Tx<'_>, ns: &str) -> Result<()> {
    let key = key(&[ns]);
    if tx.contains(NAMESPACES, &key)? {
        return Ok(());
    }
    save(tx, NAMESPACES, &key, &NamespaceRecord::default())
}

/// Names of all namespaces.
pub(crate) fn names(from: &dyn Read) -> Result<Vec<(String, NamespaceRecord)>> {
    let mut out = Vec::new();
    each(from, NAMESPACES, &[], |[name]: [String; 1], record: NamespaceRecord| {
        out.push((name, record));
        Ok(())
    })?;
    Ok(out)
}

/// Access to namespaces.
pub struct Namespaces<'a> {
    pub(super) meta: &'a Metadata,
}

impl Namespaces<'_> {
    /// The labels of a namespace; one that does not exist has none (as in Go containerd).
    pub fn get(&self, name: &Namespace) -> Result<NamespaceInfo> {
        let record: Option<NamespaceRecord> = load(&*self.meta.view()?, NAMESPACES, &key(&[name.as_str()]))?;
        Ok(NamespaceInfo { name: name.clone(), labels: record.unwrap_or_default().labels })
    }

    /// All namespaces by name, those without a create call of their own too.
    pub fn list(&self) -> Result<Vec<NamespaceInfo>> {
        let named = |(name, record): (String, NamespaceRecord)| {
            // made from a valid name, or by a daemon with other rules: then it cannot be addressed
            let name = Namespace::new(name).ok()?;
            Some(NamespaceInfo { name, labels: record.labels })
        };
        Ok(names(&*self.meta.view()?)?.into_iter().filter_map(named).collect())
    }

    /// Makes a namespace.
    ///
    /// # Errors
    /// AlreadyExists when any object or call made it before; InvalidArgument for a too big label.
    pub async fn create(&self, name: &Namespace, labels: Labels) -> Result<NamespaceInfo> {
        super::validate_labels("namespace.Labels", &labels)?;
        let info = NamespaceInfo { name: name.clone(), labels: without_empty(labels) };
        self.meta
            .write(move |tx| {
                let key = key(&[info.name.as_str()]);
                if tx.contains(NAMESPACES, &key)? {
                    return Err(Error::already_exists(format!("namespace {:?}", info.name.as_str())));
                }
                save(tx, NAMESPACES, &key, &NamespaceRecord { labels: info.labels.clone() })?;
                Ok(info)
            })
            .await
    }

    /// Replaces the labels, or with a mask of `labels.<key>` only these. An empty value deletes. The
    /// namespace is made if need be.
    ///
    /// # Errors
    /// InvalidArgument for another mask path or a too big label.
    pub async fn update(&self, name: &Namespace, labels: Labels, mask: &[String]) -> Result<NamespaceInfo> {
        let (name, mask) = (name.clone(), mask.to_vec());
        self.meta
            .write(move |tx| {
                let key = key(&[name.as_str()]);
                let mut record: NamespaceRecord = load(tx, NAMESPACES, &key)?.unwrap_or_default();
                if mask.is_empty() {
                    super::validate_labels("namespace.Labels", &labels)?;
                    record.labels = labels;
                } else {
                    for path in &mask {
                        let Some(label) = path.strip_prefix("labels.") else {
                            return Err(Error::invalid(format!("cannot update {path:?} field")));
                        };
                        let value = labels.get(label);
                        if label.is_empty() && value.is_some() {
                            return Err(Error::invalid("namespace.Labels: label key must not be empty"));
                        }
                        validate_label(label, value.map_or("", String::as_str))
                            .map_err(|e| Error::field("namespace.Labels", e))?;
                        super::set_entry(&mut record.labels, label, value);
                    }
                }
                record.labels = without_empty(record.labels);
                save(tx, NAMESPACES, &key, &record)?;
                Ok(NamespaceInfo { name, labels: record.labels })
            })
            .await
    }

    /// Deletes an empty namespace, and with it its leases, sandboxes and ingests.
    ///
    /// # Errors
    /// FailedPrecondition naming what it still has; NotFound.
    pub async fn delete(&self, name: &Namespace) -> Result<()> {
        let (meta, name) = (self.meta.clone(), name.clone());
        self.meta
            .write(move |tx| {
                let left = remains(tx, name.as_str())?;
                if !left.is_empty() {
                    return Err(Error::precondition(format!(
                        "namespace {:?} must be empty, but it still has {}",
                        name.as_str(),
                        left.join(", ")
                    )));
                }
                if !tx.delete(NAMESPACES, &key(&[name.as_str()]))? {
                    return Err(Error::not_found(format!("namespace {:?}", name.as_str())));
                }
                for table in [SANDBOXES, LEASES, LEASE_REFS, INGESTS, CHILDREN, COMMITS] {
                    tx.delete_prefix(table, &prefix(&[name.as_str()]))?;
                }
                // its ingests have bytes
                meta.shared.dirty().content = true;
                tx.mark_dirty();
                Ok(())
            })
            .await
    }
}

/// What keeps a namespace from being deleted, in words.
fn remains(tx: &Tx<'_>, ns: &str) -> Result<Vec<String>> {
    let mut left = Vec::new();
    for (table, words) in [(IMAGES, "images"), (CONTENT, "blobs"), (CONTAINERS, "containers")] {
        if tx.any(table, &prefix(&[ns]))? {
            left.push(words.to_owned());
        }
    }
    let mut snapshotters = BTreeSet::new();
    tx.scan(SNAPSHOTS, &prefix(&[ns]), &mut |k, _| {
        if let Some([_, snapshotter, _]) = crate::key::split::<3>(k) {
            snapshotters.insert(snapshotter);
        }
        Ok(std::ops::ControlFlow::Continue(()))
    })?;
    left.extend(snapshotters.iter().map(|s| format!("snapshots on {s:?} snapshotter")));
    Ok(left)
}
