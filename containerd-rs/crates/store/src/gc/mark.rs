//! Marking: everything that can be reached from a root, over one consistent state.
//!
//! Every record of every table is decoded on the way. One that does not decode fails the run: nothing
//! is removed from a store that has not been read in full.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use base::labels::{Labels, gc};

use super::collector::Collection;
use super::labels::{External, Meaning, UsedAt, expiry, meanings};
use super::node::{Kind, Node};
use crate::content::record::{ContentRecord, IngestRecord};
use crate::error::Result;
use crate::key::{key, prefix};
use crate::kv::Read;
use crate::metadata::tables::{
    COMMITS, CONTAINERS, CONTENT, IMAGES, INGESTS, LEASES, NAMESPACES, SANDBOXES, SNAPSHOTS,
};
use crate::metadata::{
    Container, Image, Lease, PendingCommit, Sandbox, SnapshotRecord, each, lease, load, namespace,
};

/// The collections of this run, by kind.
pub(super) type Collections = Vec<(&'static str, Box<dyn Collection>)>;

/// What is known so far. It can be carried on over a later state: see [`Mark::also`].
pub(super) struct Mark {
    now: SystemTime,
    external: External,
    /// Kept by the key.
    back: HashMap<Node, Vec<Node>>,
    /// Seen, and either done or in `grey`.
    seen: HashSet<Node>,
    grey: Vec<Node>,
    /// Reached, without regard to flat or not.
    live: HashSet<Node>,
    /// Everything that could be removed.
    pub(super) all: Vec<Node>,
}

/// Conditions and the values that they test, until all are known.
#[derive(Default)]
struct Conditions {
    tests: Vec<(Node, Node, UsedAt)>,
    values: HashMap<Node, Vec<SystemTime>>,
}

impl Mark {
    /// Marks over a state.
    pub(super) fn run(
        from: &dyn Read,
        external: External,
        collections: &Collections,
        now: SystemTime,
    ) -> Result<Mark> {
        let mut mark = Mark {
            now,
            external,
            back: HashMap::new(),
            seen: HashSet::new(),
            grey: Vec::new(),
            live: HashSet::new(),
            all: Vec::new(),
        };
        let mut conditions = Conditions::default();
        each(from, NAMESPACES, &[], |[_]: [String; 1], _: namespace::NamespaceRecord| Ok(()))?;
        mark.leases(from, collections)?;
        mark.images(from, &mut conditions)?;
        mark.contents(from, &mut conditions)?;
        mark.containers(from)?;
        mark.snapshots(from, &mut conditions)?;
        mark.sandboxes(from)?;
        mark.commits(from)?;
        mark.collected(from, collections)?;
        mark.settle(conditions);
        mark.follow(from, collections)?;
        Ok(mark)
    }

    /// Marks more roots, over a state that may be later than that of [`Mark::run`].
    pub(super) fn also(
        &mut self,
        roots: Vec<Node>,
        from: &dyn Read,
        collections: &Collections,
    ) -> Result<()> {
        for node in roots {
            self.root(node);
        }
        self.follow(from, collections)
    }

    /// What can be removed.
    pub(super) fn garbage(&self) -> impl Iterator<Item = &Node> {
        self.all.iter().filter(|node| !self.live.contains(*node))
    }

    fn root(&mut self, node: Node) {
        if self.seen.insert(node.clone()) {
            self.grey.push(node);
        }
    }

    fn kept_by(&mut self, keeper: Node, kept: Node) {
        self.back.entry(keeper).or_default().push(kept);
    }

    /// Reads the labels of a scanned object.
    fn scan_labels(&mut self, labels: &Labels, node: &Node, conditions: &mut Conditions) {
        let mut told = Vec::new();
        meanings(labels, &node.namespace, &self.external, |m| told.push(m));
        for meaning in told {
            match meaning {
                Meaning::KeptBy(keeper) => self.kept_by(keeper, node.clone()),
                Meaning::KeepsWhile(kept, test) if matches!(node.kind, Kind::Content | Kind::Image) => {
                    conditions.tests.push((node.clone(), kept, test));
                }
                Meaning::UsedAt(used) if node.kind == Kind::Snapshot => {
                    conditions.values.entry(node.clone()).or_default().push(used);
                }
                Meaning::Root if matches!(node.kind, Kind::Content | Kind::Snapshot) => {
                    self.root(node.clone());
                }
                _ => {}
            }
        }
        // until it expires, a blob or snapshot with an expiry is a root
        if matches!(node.kind, Kind::Content | Kind::Snapshot)
            && expiry(labels, &node.key).is_some_and(|at| at > self.now)
        {
            self.root(node.clone());
        }
    }

    fn leases(&mut self, from: &dyn Read, collections: &Collections) -> Result<()> {
        let mut held = Vec::new();
        each(from, LEASES, &[], |[ns, id]: [String; 2], lease: Lease| {
            let ns: Arc<str> = Arc::from(ns);
            let node = Node::new(Kind::Lease, &ns, id.clone());
            self.all.push(node.clone());
            if expiry(&lease.labels, &id).is_none_or(|at| at >= self.now) {
                self.root(node);
                held.push((ns, id, lease.labels.contains_key(gc::FLAT)));
            }
            Ok(())
        })?;
        for (ns, id, flat) in held {
            lease::resources(from, &prefix(&[&ns, &id]), |_, kind, key| {
                if let Some(node) = leased(&ns, &kind, &key) {
                    // an ingest is followed to what it will be in any case
                    let flat = flat && node.kind != Kind::Ingest;
                    self.root(node.flat(flat));
                }
                Ok(())
            })?;
            for (kind, collection) in collections {
                collection.leased(&ns, &id, &mut |key| self.root(Node::new(Kind::External(kind), &ns, key)));
            }
        }
        Ok(())
    }

    fn images(&mut self, from: &dyn Read, conditions: &mut Conditions) -> Result<()> {
        each(from, IMAGES, &[], |[ns, name]: [String; 2], image: Image| {
            let node = Node::new(Kind::Image, &Arc::from(ns), name);
            if expiry(&image.labels, &node.key).is_none_or(|at| at >= self.now) {
                self.root(node.clone());
            }
            self.scan_labels(&image.labels, &node, conditions);
            self.all.push(node);
            Ok(())
        })
    }

    fn contents(&mut self, from: &dyn Read, conditions: &mut Conditions) -> Result<()> {
        each(from, INGESTS, &[], |[ns, reference]: [String; 2], ingest: IngestRecord| {
            let node = Node::new(Kind::Ingest, &Arc::from(ns), reference);
            if ingest.expires_at.is_some_and(|at| at >= self.now) {
                self.root(node.clone());
            }
            self.all.push(node);
            Ok(())
        })?;
        each(from, CONTENT, &[], |[ns, digest]: [String; 2], blob: ContentRecord| {
            let node = Node::new(Kind::Content, &Arc::from(ns), digest);
            self.scan_labels(&blob.labels, &node, conditions);
            self.all.push(node);
            Ok(())
        })
    }

    fn containers(&mut self, from: &dyn Read) -> Result<()> {
        each(from, CONTAINERS, &[], |[ns, id]: [String; 2], container: Container| {
            let node = Node::new(Kind::Container, &Arc::from(ns), id);
            self.scan_labels(&container.labels, &node, &mut Conditions::default());
            self.root(node);
            Ok(())
        })
    }

    fn snapshots(&mut self, from: &dyn Read, conditions: &mut Conditions) -> Result<()> {
        each(from, SNAPSHOTS, &[], |[ns, snapshotter, name]: [String; 3], record: SnapshotRecord| {
            let node = Node::snapshot(&Arc::from(ns), &snapshotter, &name);
            self.scan_labels(&record.labels, &node, conditions);
            self.all.push(node);
            Ok(())
        })
    }

    fn sandboxes(&mut self, from: &dyn Read) -> Result<()> {
        each(from, SANDBOXES, &[], |[ns, _]: [String; 2], sandbox: Sandbox| {
            for node in kept(&sandbox.labels, &Arc::from(ns), &self.external) {
                self.root(node);
            }
            Ok(())
        })
    }

    /// Snapshots that a commit in the making needs.
    fn commits(&mut self, from: &dyn Read) -> Result<()> {
        each(from, COMMITS, &[], |[ns, snapshotter, name]: [String; 3], commit: PendingCommit| {
            for node in committing(&Arc::from(ns), &snapshotter, &name, &commit) {
                self.root(node);
            }
            Ok(())
        })
    }

    fn collected(&mut self, from: &dyn Read, collections: &Collections) -> Result<()> {
        let namespaces: Vec<Arc<str>> =
            namespace::names(from)?.into_iter().map(|(ns, _)| Arc::from(ns)).collect();
        for (kind, collection) in collections {
            let kind = Kind::External(kind);
            collection.all(&mut |ns, key| self.all.push(Node::new(kind, &Arc::from(ns), key)));
            for ns in &namespaces {
                collection.active(ns, &mut |key| self.root(Node::new(kind, ns, key)));
                collection.back_references(ns, &mut |keeper, kept| self.kept_by(keeper, kept));
            }
        }
        Ok(())
    }

    /// Turns conditions that hold into references.
    fn settle(&mut self, conditions: Conditions) {
        for (keeper, kept, test) in conditions.tests {
            let used = conditions.values.get(&kept).map_or(&[][..], Vec::as_slice);
            if used.iter().any(|used| test.holds(*used, self.now)) {
                self.kept_by(keeper, kept);
            }
        }
    }

    /// Empties `grey`.
    fn follow(&mut self, from: &dyn Read, collections: &Collections) -> Result<()> {
        while let Some(node) = self.grey.pop() {
            for next in self.back.get(&node).cloned().unwrap_or_default() {
                self.root(next);
            }
            for next in self.references(&node, from, collections)? {
                self.root(next);
            }
            self.live.insert(node.flat(false));
        }
        Ok(())
    }

    /// What a live object keeps. One that does not exist keeps nothing.
    fn references(&self, node: &Node, from: &dyn Read, collections: &Collections) -> Result<Vec<Node>> {
        let ns = &node.namespace;
        let own = key(&[ns, &node.key]);
        let mut out = Vec::new();
        let mut labels = Labels::new();
        match node.kind {
            Kind::Content if !node.flat => {
                let record: Option<ContentRecord> = load(from, CONTENT, &own)?;
                labels = record.map(|r| r.labels).unwrap_or_default();
            }
            Kind::Snapshot => {
                let Some((snapshotter, name)) = node.snapshot_parts() else { return Ok(out) };
                let record: Option<SnapshotRecord> = load(from, SNAPSHOTS, &key(&[ns, snapshotter, name]))?;
                let Some(record) = record else { return Ok(out) };
                if !record.parent.is_empty() {
                    out.push(Node::snapshot(ns, snapshotter, &record.parent).flat(node.flat));
                }
                labels = record.labels;
            }
            Kind::Image => {
                let Some(image) = load::<Image>(from, IMAGES, &own)? else { return Ok(out) };
                out.push(Node::new(Kind::Content, ns, image.target.digest.as_str()).flat(node.flat));
                labels = image.labels;
            }
            Kind::Ingest => {
                let record: Option<IngestRecord> = load(from, INGESTS, &own)?;
                out.extend(record.and_then(|r| r.expected).map(|d| Node::new(Kind::Content, ns, d)));
            }
            Kind::Container => {
                let Some(container) = load::<Container>(from, CONTAINERS, &own)? else { return Ok(out) };
                if !container.snapshotter.is_empty() {
                    out.push(Node::snapshot(ns, &container.snapshotter, &container.snapshot_key));
                }
                labels = container.labels;
            }
            Kind::External(kind) => {
                for (_, collection) in collections.iter().filter(|(k, _)| *k == kind) {
                    collection.references(ns, &node.key, &mut |node| out.push(node));
                }
            }
            Kind::Content | Kind::Lease => {}
        }
        if !node.flat {
            out.extend(kept(&labels, ns, &self.external));
        }
        Ok(out)
    }

    pub(super) fn external(&self) -> &External {
        &self.external
    }
}

/// What labels refer to.
pub(super) fn kept(labels: &Labels, ns: &Arc<str>, external: &External) -> Vec<Node> {
    let mut out = Vec::new();
    meanings(labels, ns, external, |meaning| {
        if let Meaning::Keeps(node) = meaning {
            out.push(node);
        }
    });
    out
}

/// The thing that a lease reference names.
pub(super) fn leased(ns: &Arc<str>, kind: &str, key: &str) -> Option<Node> {
    match kind {
        "content" => Some(Node::new(Kind::Content, ns, key)),
        "ingests" => Some(Node::new(Kind::Ingest, ns, key)),
        "images" => Some(Node::new(Kind::Image, ns, key)),
        other => Some(Node::snapshot(ns, other.strip_prefix("snapshots/")?, key)),
    }
}

/// The snapshots that a commit in the making needs: the active one, its parent, and the result.
pub(super) fn committing(ns: &Arc<str>, snapshotter: &str, name: &str, commit: &PendingCommit) -> Vec<Node> {
    let keys = [commit.key.as_str(), commit.parent.as_str(), name];
    keys.into_iter().filter(|k| !k.is_empty()).map(|k| Node::snapshot(ns, snapshotter, k)).collect()
}
