//! Sweeping: one short change on the writer thread that removes what marking did not reach.
//!
//! Marking ran beside writers. Every key that changed since is looked at again here: the object that
//! has it now counts as a root, and what it reaches is marked over the present state. That is enough:
//! take any way from a root to an object; after the last changed record on it, all its references are
//! in the present state and are followed; before the first changed one, it was followed already.

use std::collections::HashSet;
use std::sync::Arc;

use super::GcReport;
use super::mark::{Collections, Mark, committing, kept, leased};
use super::node::{Kind, Node};
use crate::error::Result;
use crate::key::{key, split};
use crate::kv::{Read, Table, Tx};
use crate::metadata::tables::{
    COMMITS, CONTAINERS, CONTENT, IMAGES, INGESTS, LEASE_REFS, LEASES, SANDBOXES, SNAPSHOTS,
};
use crate::metadata::{Dirty, PendingCommit, Sandbox, bad_record, lease, load, snapshot};

/// The objects behind changed keys, as roots.
fn touched(from: &dyn Read, mark: &Mark, changed: &HashSet<(Table, Vec<u8>)>) -> Result<Vec<Node>> {
    let mut roots = Vec::new();
    for (table, changed_key) in changed {
        let bad = || bad_record(*table, changed_key, "malformed key");
        if *table == SNAPSHOTS || *table == COMMITS {
            let [ns, snapshotter, name] = split::<3>(changed_key).ok_or_else(bad)?;
            let ns = Arc::from(ns);
            if *table == SNAPSHOTS {
                roots.push(Node::snapshot(&ns, &snapshotter, &name));
            } else if let Some(commit) = load::<PendingCommit>(from, COMMITS, changed_key)? {
                roots.extend(committing(&ns, &snapshotter, &name, &commit));
            }
            continue;
        }
        if *table == LEASE_REFS {
            let [ns, _, kind, id] = split::<4>(changed_key).ok_or_else(bad)?;
            if from.contains(LEASE_REFS, changed_key)? {
                roots.extend(leased(&Arc::from(ns), &kind, &id));
            }
            continue;
        }
        let kind = match *table {
            IMAGES => Kind::Image,
            CONTENT => Kind::Content,
            INGESTS => Kind::Ingest,
            CONTAINERS => Kind::Container,
            LEASES => Kind::Lease,
            SANDBOXES => {
                let [ns, _] = split::<2>(changed_key).ok_or_else(bad)?;
                if let Some(sandbox) = load::<Sandbox>(from, SANDBOXES, changed_key)? {
                    roots.extend(kept(&sandbox.labels, &Arc::from(ns), mark.external()));
                }
                continue;
            }
            _ => continue,
        };
        let [ns, name] = split::<2>(changed_key).ok_or_else(bad)?;
        if from.contains(*table, changed_key)? {
            roots.push(Node::new(kind, &Arc::from(ns), name));
        }
    }
    Ok(roots)
}

/// Brings the mark up to the present state and removes the rest.
pub(super) fn sweep(
    tx: &mut Tx<'_>,
    mut mark: Mark,
    collections: &mut Collections,
    dirty: &mut Dirty,
) -> Result<GcReport> {
    tx.unobserved();
    match tx.stop_recording() {
        Some(changed) => {
            let roots = touched(tx, &mark, &changed)?;
            mark.also(roots, tx, collections)?;
        }
        // too much has changed: look at everything again, here where nothing changes
        None => {
            mark = Mark::run(tx, mark.external().clone(), collections, std::time::SystemTime::now())?;
        }
    }
    let mut report = GcReport::default();
    for node in mark.garbage() {
        remove(tx, node, collections, dirty, &mut report)?;
    }
    Ok(report)
}

fn remove(
    tx: &mut Tx<'_>,
    node: &Node,
    collections: &mut Collections,
    dirty: &mut Dirty,
    report: &mut GcReport,
) -> Result<()> {
    let (ns, name) = (&*node.namespace, node.key.as_str());
    let own = key(&[ns, name]);
    match node.kind {
        Kind::Content => {
            if tx.delete(CONTENT, &own)? {
                dirty.content = true;
                report.removed_blobs += 1;
            }
        }
        Kind::Ingest => {
            if tx.delete(INGESTS, &own)? {
                dirty.content = true;
                report.removed_ingests += 1;
            }
        }
        Kind::Image => {
            if tx.delete(IMAGES, &own)? {
                report.removed_images.push((ns.to_owned(), name.to_owned()));
            }
        }
        Kind::Lease => {
            if lease::remove(tx, ns, name)? {
                report.removed_leases += 1;
            }
        }
        Kind::Snapshot => {
            let Some((snapshotter, name)) = node.snapshot_parts() else { return Ok(()) };
            if let Some(record) = snapshot::read(tx, ns, snapshotter, name)? {
                snapshot::delete(tx, ns, snapshotter, &record)?;
                dirty.snapshotters.insert(snapshotter.to_owned());
                let removed = (ns.to_owned(), snapshotter.to_owned(), name.to_owned());
                report.removed_snapshots.push(removed);
            }
        }
        Kind::External(kind) => {
            for (_, collection) in collections.iter_mut().filter(|(k, _)| *k == kind) {
                collection.remove(ns, name);
            }
        }
        Kind::Container => {}
    }
    Ok(())
}
