//! Activations in garbage collection: leases, labels and back references decide how long one lives.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use base::Labels;
use store::gc::{Collection, Collector, Kind, Node};

use crate::error::Error;
use crate::manager::Manager;
use crate::perform::undo;
use crate::records::Record;

const KIND: &str = "mount";

/// Back references by what follows `containerd.io/gc.bref.`; the last one is followed by the snapshotter.
const REFERENCES: [(&str, Kind); 3] =
    [("container", Kind::Container), ("content", Kind::Content), ("image", Kind::Image)];
const PREFIX: &str = "containerd.io/gc.bref.";

impl Collector for Manager {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn reference_label(&self) -> Option<String> {
        Some(KIND.to_owned())
    }

    fn start(&self) -> store::Result<Box<dyn Collection>> {
        let records = self.shared.records.list("").map_err(into_store)?;
        Ok(Box::new(Run { manager: self.clone(), records, garbage: HashSet::new() }))
    }
}

struct Run {
    manager: Manager,
    records: Vec<Record>,
    /// Places in `records`.
    garbage: HashSet<usize>,
}

impl Run {
    fn of<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Record> {
        self.records.iter().filter(move |r| r.namespace == namespace)
    }
}

#[async_trait]
impl Collection for Run {
    fn all(&self, tell: &mut dyn FnMut(&str, &str)) {
        for record in &self.records {
            tell(&record.namespace, &record.name);
        }
    }

    /// Being mounted keeps nothing: somebody has to hold it.
    fn active(&self, _: &str, _: &mut dyn FnMut(&str)) {}

    fn leased(&self, namespace: &str, lease: &str, tell: &mut dyn FnMut(&str)) {
        for record in self.of(namespace).filter(|r| r.row.lease.as_deref() == Some(lease)) {
            tell(&record.name);
        }
    }

    fn back_references(&self, namespace: &str, tell: &mut dyn FnMut(Node, Node)) {
        let name: Arc<str> = namespace.into();
        for record in self.of(namespace) {
            for (kind, key) in holders(&record.row.labels) {
                tell(
                    Node::new(kind, &name, key),
                    Node::new(Kind::External(KIND), &name, record.name.clone()),
                );
            }
        }
    }

    fn remove(&mut self, namespace: &str, key: &str) {
        let place = self.records.iter().position(|r| r.namespace == namespace && r.name == key);
        self.garbage.extend(place);
    }

    fn cancel(self: Box<Self>) {}

    /// A name that was activated anew since the start has another number, and stays.
    async fn finish(self: Box<Self>) -> store::Result<()> {
        let shared = &self.manager.shared;
        for record in self.garbage.iter().filter_map(|place| self.records.get(*place)) {
            let removed = shared.records.remove(&record.namespace, &record.name, Some(record.row.id)).await;
            if removed.map_err(into_store)?.is_some() {
                let (directory, handlers) = (shared.directory(record.row.id), shared.handlers);
                tracing::debug!(namespace = record.namespace, name = record.name, "mount is collected");
                let undone = crate::error::blocking(move || undo(&directory, handlers)).await;
                if let Err(e) = undone {
                    tracing::warn!(name = record.name, error = %base::chain(&e), "mounts stay until the next clean-up");
                }
            }
        }
        self.manager.clean().await.map_err(into_store)
    }
}

/// Those that keep an activation with these labels.
fn holders(labels: &Labels) -> Vec<(Kind, String)> {
    let mut out = Vec::new();
    for (label, value) in labels {
        let Some(rest) = label.strip_prefix(PREFIX) else { continue };
        if let Some(snapshotter) = rest.strip_prefix("snapshot.") {
            let snapshotter = snapshotter.split('/').next().unwrap_or_default();
            out.push((Kind::Snapshot, format!("{snapshotter}/{value}")));
        }
        for (what, kind) in REFERENCES {
            // A name may follow, to tell several apart.
            let named = |after: &str| after.is_empty() || after.starts_with(['.', '/']);
            if rest.strip_prefix(what).is_some_and(named) {
                out.push((kind, value.clone()));
            }
        }
    }
    out
}

fn into_store(e: Error) -> store::Error {
    store::Error::Refused { kind: base::Kinded::kind(&e), message: base::chain(&e) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holders_are_read_from_labels() {
        let of = |label: &str| holders(&Labels::from([(label.to_owned(), "v".to_owned())]));
        let one = |kind: Kind, key: &str| vec![(kind, key.to_owned())];
        assert_eq!(of("containerd.io/gc.bref.container"), one(Kind::Container, "v"));
        assert_eq!(of("containerd.io/gc.bref.container.a"), one(Kind::Container, "v"));
        assert_eq!(of("containerd.io/gc.bref.content/1"), one(Kind::Content, "v"));
        assert_eq!(of("containerd.io/gc.bref.image"), one(Kind::Image, "v"));
        assert_eq!(of("containerd.io/gc.bref.snapshot.overlayfs"), one(Kind::Snapshot, "overlayfs/v"));
        assert_eq!(of("containerd.io/gc.bref.snapshot.erofs/x"), one(Kind::Snapshot, "erofs/v"));
        for other in ["containerd.io/gc.bref.containers", "containerd.io/gc.ref.content", "other"] {
            assert!(of(other).is_empty(), "{other}");
        }
    }
}
