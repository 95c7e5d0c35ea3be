//! Random histories against a naive model: nothing that can be reached is ever lost, and after two
//! runs nothing that cannot be reached is left.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fixture;

use std::collections::{BTreeMap, BTreeSet};

use base::filter::FilterSet;
use base::{Digest, LeaseId, Scope};
use fixture::*;
use proptest::prelude::*;
use store::{ContentStore, Resource};

/// Objects are small numbers; blob 3 has the bytes "3".
type Id = u8;
const IDS: Id = 6;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Thing {
    Blob(Id),
    Snapshot(Id),
    Image(Id),
    Container(Id),
    Sandbox(Id),
}

#[derive(Clone, Debug)]
enum Label {
    Keeps(Thing),
    KeptBy(Thing),
    Root,
    /// Keeps the snapshot while it was used lately.
    WhileUsed(Id),
    UsedLately,
    UsedLongAgo,
    ExpiresSoon,
    Expired,
}

#[derive(Clone, Debug)]
enum Step {
    Lease {
        id: Id,
        flat: bool,
        expired: bool,
    },
    Blob {
        id: Id,
        labels: Vec<Label>,
        lease: Option<Id>,
    },
    Snapshot {
        id: Id,
        parent: Option<Id>,
        labels: Vec<Label>,
        lease: Option<Id>,
    },
    Image {
        id: Id,
        target: Id,
        labels: Vec<Label>,
        lease: Option<Id>,
    },
    Container {
        id: Id,
        snapshot: Option<Id>,
        labels: Vec<Label>,
    },
    Sandbox {
        id: Id,
        labels: Vec<Label>,
    },
    Relabel {
        thing: Thing,
        labels: Vec<Label>,
    },
    Hold {
        lease: Id,
        thing: Thing,
    },
    Release {
        lease: Id,
        thing: Thing,
    },
    DeleteLease(Id),
    Delete(Thing),
    Collect,
    /// Collects while the other steps happen.
    Beside(Vec<Step>),
}

#[derive(Clone, Debug, Default)]
struct Object {
    labels: Vec<Label>,
    /// Image: target; snapshot: parent; container: snapshot.
    points: Option<Thing>,
}

#[derive(Clone, Debug)]
struct ModelLease {
    flat: bool,
    expired: bool,
    holds: BTreeSet<Thing>,
}

#[derive(Clone, Debug, Default)]
struct Model {
    objects: BTreeMap<Thing, Object>,
    leases: BTreeMap<Id, ModelLease>,
}

impl Model {
    fn has(&self, thing: Thing, wanted: fn(&Label) -> bool) -> bool {
        self.objects.get(&thing).is_some_and(|o| o.labels.iter().any(wanted))
    }

    fn is_root(&self, thing: Thing) -> bool {
        match thing {
            Thing::Container(_) | Thing::Sandbox(_) => true,
            Thing::Image(_) => !self.has(thing, |l| matches!(l, Label::Expired)),
            Thing::Blob(_) | Thing::Snapshot(_) => {
                self.has(thing, |l| matches!(l, Label::Root | Label::ExpiresSoon))
            }
        }
    }

    /// Whether the one keeps the other directly; flat: without labels. A name that leases hold or
    /// labels refer to keeps what is tied to it, even while there is nothing of that name.
    fn keeps(&self, one: Thing, other: Thing, flat: bool) -> bool {
        let object = self.objects.get(&one);
        if object.is_some_and(|o| o.points == Some(other)) {
            return true;
        }
        if flat {
            return false;
        }
        let by_label = object.into_iter().flat_map(|o| &o.labels).any(|l| match l {
            Label::Keeps(kept) => *kept == other,
            Label::WhileUsed(id) => {
                matches!(one, Thing::Blob(_) | Thing::Image(_))
                    && Thing::Snapshot(*id) == other
                    && self.has(other, |l| matches!(l, Label::UsedLately))
            }
            _ => false,
        });
        // sandboxes are not collected and take no part in back references
        let back = !matches!(one, Thing::Sandbox(_))
            && self.objects.get(&other).is_some_and(|o| {
                o.labels.iter().any(|l| matches!(l, Label::KeptBy(keeper) if *keeper == one))
            });
        by_label || back
    }

    /// Everything that must stay, found the slow way.
    fn reachable(&self) -> BTreeSet<Thing> {
        // with true: reached with labels counting
        let mut reached: BTreeSet<(Thing, bool)> =
            self.objects.keys().filter(|t| self.is_root(**t)).map(|t| (*t, true)).collect();
        for lease in self.leases.values().filter(|l| !l.expired) {
            reached.extend(lease.holds.iter().map(|t| (*t, !lease.flat)));
        }
        loop {
            let mut more = reached.clone();
            for (one, full) in &reached {
                for other in everything() {
                    if self.keeps(*one, other, !full) {
                        more.insert((other, *full));
                    }
                }
            }
            if more == reached {
                return reached
                    .into_iter()
                    .map(|(t, _)| t)
                    .filter(|t| self.objects.contains_key(t))
                    .collect();
            }
            reached = more;
        }
    }

    /// What a run leaves.
    fn collect(&mut self) {
        let keep = self.reachable();
        self.objects.retain(|t, _| keep.contains(t));
        self.leases.retain(|_, l| !l.expired);
    }
}

/// All things that there could be.
fn everything() -> impl Iterator<Item = Thing> {
    (0..IDS).flat_map(|id| {
        [Thing::Blob(id), Thing::Snapshot(id), Thing::Image(id), Thing::Container(id), Thing::Sandbox(id)]
    })
}

fn digest(id: Id) -> Digest {
    Digest::sha256(id.to_string())
}

fn name(thing: Thing) -> String {
    match thing {
        Thing::Blob(id) => digest(id).to_string(),
        Thing::Snapshot(id) | Thing::Image(id) | Thing::Container(id) | Thing::Sandbox(id) => {
            format!("n{id}")
        }
    }
}

fn kind(thing: Thing) -> &'static str {
    match thing {
        Thing::Blob(_) => "content",
        Thing::Snapshot(_) => "snapshot.sn",
        Thing::Image(_) => "image",
        Thing::Container(_) => "container",
        Thing::Sandbox(_) => "sandbox",
    }
}

fn hours(h: i64) -> String {
    let now = std::time::SystemTime::now();
    let by = std::time::Duration::from_secs(3600 * h.unsigned_abs());
    base::timestamp::to_rfc3339_nano(if h < 0 { now - by } else { now + by })
}

fn real_labels(labels: &[Label]) -> Vec<(String, String)> {
    let one = |(i, label): (usize, &Label)| match label {
        // names after a slash, as all kinds take them
        Label::Keeps(t) => (format!("containerd.io/gc.ref.{}/{i}", kind(*t)), name(*t)),
        Label::KeptBy(t) => (format!("containerd.io/gc.bref.{}/{i}", kind(*t)), name(*t)),
        Label::Root => ("containerd.io/gc.root".into(), "yes".into()),
        Label::WhileUsed(id) => (
            format!("containerd.io/gc.cond.snapshot.sn/{i}"),
            format!("usedat<5h|{}", name(Thing::Snapshot(*id))),
        ),
        Label::UsedLately => (format!("containerd.io/gc.cond.value-usedat/{i}"), hours(-1)),
        Label::UsedLongAgo => (format!("containerd.io/gc.cond.value-usedat/{i}"), hours(-9)),
        Label::ExpiresSoon => ("containerd.io/gc.expire".into(), hours(1)),
        Label::Expired => ("containerd.io/gc.expire".into(), hours(-1)),
    };
    labels.iter().enumerate().map(one).collect()
}

fn resource(thing: Thing) -> Option<Resource> {
    let kind = match thing {
        Thing::Blob(_) => "content",
        Thing::Snapshot(_) => "snapshots/sn",
        Thing::Image(_) => "images",
        _ => return None,
    };
    Some(Resource { id: name(thing), kind: kind.into() })
}

/// One run of a history on the real store and on the model.
struct Trial {
    store: std::sync::Arc<Store>,
    scope: Scope,
    model: Model,
}

impl Trial {
    fn scope_of(&self, lease: Option<Id>) -> Scope {
        // a lease that is not there would refuse the step
        match lease.filter(|l| self.model.leases.contains_key(l)) {
            Some(l) => self.scope.with_lease(LeaseId::new(format!("l{l}")).unwrap()),
            None => self.scope.clone(),
        }
    }

    fn add(&mut self, thing: Thing, labels: &[Label], points: Option<Thing>, lease: Option<Id>) {
        self.model.objects.insert(thing, Object { labels: labels.to_vec(), points });
        self.hold(thing, lease);
    }

    fn hold(&mut self, thing: Thing, lease: Option<Id>) {
        if let Some(lease) = lease.and_then(|l| self.model.leases.get_mut(&l)) {
            lease.holds.insert(thing);
        }
    }

    async fn step(&mut self, step: &Step) {
        let (store, ns) = (self.store.clone(), self.scope.namespace.clone());
        match step {
            Step::Lease { id, flat, expired } => {
                if self.model.leases.contains_key(id) {
                    return;
                }
                let mut labels = Vec::new();
                if *flat {
                    labels.push(("containerd.io/gc.flat".to_owned(), "1".to_owned()));
                }
                if *expired {
                    labels.push(("containerd.io/gc.expire".to_owned(), hours(-1)));
                }
                let labels: Vec<_> = labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
                store.lease(&self.scope, &format!("l{id}"), &labels).await;
                let lease = ModelLease { flat: *flat, expired: *expired, holds: BTreeSet::new() };
                self.model.leases.insert(*id, lease);
            }
            Step::Blob { id, labels, lease } => {
                let scope = self.scope_of(*lease);
                let thing = Thing::Blob(*id);
                if self.model.objects.contains_key(&thing) {
                    return;
                }
                with(labels, async |l| drop(store.blob(&scope, id.to_string().as_bytes(), l).await)).await;
                self.add(thing, labels, None, *lease);
            }
            Step::Snapshot { id, parent, labels, lease } => {
                let scope = self.scope_of(*lease);
                let thing = Thing::Snapshot(*id);
                let parent = parent.map(Thing::Snapshot).filter(|p| self.model.objects.contains_key(p));
                if self.model.objects.contains_key(&thing) {
                    return;
                }
                let parent_name = parent.map(name).unwrap_or_default();
                with(labels, async |l| store.snapshot(&scope, &name(thing), &parent_name, l).await).await;
                self.add(thing, labels, parent, *lease);
            }
            Step::Image { id, target, labels, lease } => {
                let scope = self.scope_of(*lease);
                let thing = Thing::Image(*id);
                if self.model.objects.contains_key(&thing) {
                    return;
                }
                with(labels, async |l| drop(store.image(&scope, &name(thing), &digest(*target), l).await))
                    .await;
                let can_expire = labels.iter().any(|l| matches!(l, Label::Expired | Label::ExpiresSoon));
                self.add(thing, labels, Some(Thing::Blob(*target)), lease.filter(|_| can_expire));
            }
            Step::Container { id, snapshot, labels } => {
                let thing = Thing::Container(*id);
                if self.model.objects.contains_key(&thing) {
                    return;
                }
                let mut record = container(&name(thing));
                if let Some(snapshot) = snapshot {
                    (record.snapshotter, record.snapshot_key) =
                        ("sn".into(), name(Thing::Snapshot(*snapshot)));
                }
                record.labels = real_labels(labels).into_iter().collect();
                store.meta.containers().create(&ns, record).await.unwrap();
                self.add(thing, labels, snapshot.map(Thing::Snapshot), None);
            }
            Step::Sandbox { id, labels } => {
                let thing = Thing::Sandbox(*id);
                if self.model.objects.contains_key(&thing) {
                    return;
                }
                let record = store::Sandbox {
                    id: name(thing),
                    runtime: store::RuntimeInfo::default(),
                    spec: None,
                    labels: real_labels(labels).into_iter().collect(),
                    created_at: std::time::UNIX_EPOCH,
                    updated_at: std::time::UNIX_EPOCH,
                    extensions: BTreeMap::new(),
                    sandboxer: String::new(),
                };
                store.meta.sandboxes().create(&ns, record).await.unwrap();
                self.add(thing, labels, None, None);
            }
            Step::Relabel { thing, labels } => self.relabel(*thing, labels).await,
            Step::Hold { lease, thing } => {
                let Some(resource) = resource(*thing) else { return };
                if self.model.leases.contains_key(lease) {
                    store.meta.leases().add_resource(&ns, &format!("l{lease}"), resource).await.unwrap();
                    self.hold(*thing, Some(*lease));
                }
            }
            Step::Release { lease, thing } => {
                let Some(resource) = resource(*thing) else { return };
                if let Some(held) = self.model.leases.get_mut(lease) {
                    held.holds.remove(thing);
                    store.meta.leases().delete_resource(&ns, &format!("l{lease}"), resource).await.unwrap();
                }
            }
            Step::DeleteLease(id) => {
                if self.model.leases.remove(id).is_some() {
                    store.meta.leases().delete(&ns, &format!("l{id}")).await.unwrap();
                }
            }
            Step::Delete(thing) => self.delete(*thing).await,
            Step::Collect => {
                store.gc.run().await.unwrap();
                self.model.collect();
                self.compare().await;
            }
            Step::Beside(_) => unreachable!("handled by the caller"),
        }
    }

    async fn relabel(&mut self, thing: Thing, labels: &[Label]) {
        let (store, ns) = (self.store.clone(), self.scope.namespace.clone());
        let Some(object) = self.model.objects.get_mut(&thing) else { return };
        object.labels = labels.to_vec();
        let new: base::Labels = real_labels(labels).into_iter().collect();
        let mask = mask(&["labels"]);
        match thing {
            Thing::Blob(id) => {
                let mut info = store.content.info(&self.scope, &digest(id)).await.unwrap();
                info.labels = new;
                store.content.update(&self.scope, info, &mask).await.unwrap();
            }
            Thing::Snapshot(_) => {
                store.meta.snapshots("sn").update(&self.scope, &name(thing), new, &mask).await.unwrap();
            }
            Thing::Image(_) => {
                let mut image = store.meta.images().get(&ns, &name(thing)).unwrap();
                image.labels = new;
                store.meta.images().update(&self.scope, image, &mask, None).await.unwrap();
            }
            Thing::Container(_) => {
                let mut container = store.meta.containers().get(&ns, &name(thing)).unwrap();
                container.labels = new;
                store.meta.containers().update(&ns, container, &mask).await.unwrap();
            }
            Thing::Sandbox(_) => {
                let mut sandbox = store.meta.sandboxes().get(&ns, &name(thing)).unwrap();
                sandbox.labels = new;
                store.meta.sandboxes().update(&ns, sandbox, &mask).await.unwrap();
            }
        }
    }

    async fn delete(&mut self, thing: Thing) {
        let (store, ns) = (self.store.clone(), self.scope.namespace.clone());
        let has_child = self.model.objects.iter().any(|(t, o)| {
            matches!((t, thing), (Thing::Snapshot(_), Thing::Snapshot(_))) && o.points == Some(thing)
        });
        if !self.model.objects.contains_key(&thing) || has_child {
            return;
        }
        self.model.objects.remove(&thing);
        match thing {
            Thing::Blob(id) => store.content.delete(&self.scope, &digest(id)).await.unwrap(),
            Thing::Snapshot(_) => {
                store.meta.snapshots("sn").remove(&self.scope, &name(thing)).await.map(drop).unwrap();
            }
            Thing::Image(_) => store.meta.images().delete(&self.scope, &name(thing), None).await.unwrap(),
            Thing::Container(_) => store.meta.containers().delete(&ns, &name(thing)).await.unwrap(),
            Thing::Sandbox(_) => store.meta.sandboxes().delete(&ns, &name(thing)).await.unwrap(),
        }
    }

    /// What the real store has.
    async fn real(&self) -> BTreeSet<Thing> {
        let (all, ns) = (FilterSet::parse(&[""; 0]).unwrap(), &self.scope.namespace);
        let mut out = BTreeSet::new();
        let blobs: BTreeSet<String> = self
            .store
            .content
            .list(&self.scope, &all)
            .await
            .unwrap()
            .iter()
            .map(|b| b.digest.to_string())
            .collect();
        let images: BTreeSet<String> =
            self.store.meta.images().list(ns, &all).unwrap().into_iter().map(|i| i.name).collect();
        let snapshots: BTreeSet<String> =
            self.store.meta.snapshots("sn").list(ns).unwrap().into_iter().map(|s| s.key).collect();
        for id in 0..IDS {
            out.extend(blobs.contains(&name(Thing::Blob(id))).then_some(Thing::Blob(id)));
            out.extend(images.contains(&name(Thing::Image(id))).then_some(Thing::Image(id)));
            out.extend(snapshots.contains(&name(Thing::Snapshot(id))).then_some(Thing::Snapshot(id)));
        }
        for id in 0..IDS {
            assert_eq!(
                self.store.blob_path(&digest(id)).exists(),
                out.contains(&Thing::Blob(id)),
                "bytes of blob {id}"
            );
        }
        out
    }

    /// Right after a run nothing else was beside: both have the same.
    async fn compare(&self) {
        let collectable = |t: &&Thing| !matches!(t, Thing::Container(_) | Thing::Sandbox(_));
        let model: BTreeSet<Thing> = self.model.objects.keys().filter(collectable).copied().collect();
        assert_eq!(self.real().await, model);
    }

    /// Runs a collection beside each step. Whatever the model reaches afterwards must be there; what
    /// else was removed is taken from the model, as the step may have come before or after the run.
    async fn beside(&mut self, steps: &[Step]) {
        self.step(&Step::Collect).await;
        for step in steps {
            if !self.is_certain(step) {
                continue;
            }
            let (existed, kept) = (self.model.objects.clone(), self.model.reachable());
            let gc = self.store.gc.clone();
            let run = tokio::spawn(async move { gc.run().await });
            self.step(step).await;
            run.await.unwrap().unwrap();
            let real = self.real_records().await;
            let collectable = |t: &Thing| !matches!(t, Thing::Container(_) | Thing::Sandbox(_));
            // garbage that the step takes up again may have gone before
            let must = |t: &Thing| collectable(t) && (kept.contains(t) || !existed.contains_key(t));
            for thing in self.model.reachable().into_iter().filter(must) {
                assert!(real.contains(&thing), "{step:?} lost {thing:?}");
            }
            self.model.objects.retain(|t, _| !collectable(t) || real.contains(t));
        }
        // two runs with nobody beside leave nothing that cannot be reached
        self.store.gc.run().await.unwrap();
        self.step(&Step::Collect).await;
    }

    /// Whether a step has the same result whether it comes before or after a run.
    fn is_certain(&self, step: &Step) -> bool {
        let kept = self.model.reachable();
        match step {
            Step::Lease { expired, .. } => !expired,
            Step::Snapshot { parent, .. } => parent.is_none_or(|p| kept.contains(&Thing::Snapshot(p))),
            Step::Relabel { thing, .. } | Step::Hold { thing, .. } | Step::Delete(thing) => {
                kept.contains(thing)
            }
            Step::Collect | Step::Beside(_) => false,
            _ => true,
        }
    }

    async fn real_records(&self) -> BTreeSet<Thing> {
        let (all, ns) = (FilterSet::parse(&[""; 0]).unwrap(), &self.scope.namespace);
        let mut out = BTreeSet::new();
        for id in 0..IDS {
            out.extend(self.store.has(&self.scope, &digest(id)).await.then_some(Thing::Blob(id)));
        }
        let images: Vec<_> = self.store.meta.images().list(ns, &all).unwrap();
        let snapshots: Vec<_> = self.store.meta.snapshots("sn").list(ns).unwrap();
        for id in 0..IDS {
            let image = name(Thing::Image(id));
            out.extend(images.iter().any(|i| i.name == image).then_some(Thing::Image(id)));
            let key = name(Thing::Snapshot(id));
            out.extend(snapshots.iter().any(|s| s.key == key).then_some(Thing::Snapshot(id)));
        }
        out
    }
}

/// Gives labels in the form that the fixture takes.
async fn with(labels: &[Label], make: impl AsyncFnOnce(&[(&str, &str)])) {
    let labels = real_labels(labels);
    let labels: Vec<_> = labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    make(&labels).await;
}

fn thing() -> impl Strategy<Value = Thing> {
    let id = 0..IDS;
    prop_oneof![
        3 => id.clone().prop_map(Thing::Blob),
        3 => id.clone().prop_map(Thing::Snapshot),
        2 => id.clone().prop_map(Thing::Image),
        1 => id.clone().prop_map(Thing::Container),
        1 => id.prop_map(Thing::Sandbox),
    ]
}

fn label() -> impl Strategy<Value = Label> {
    let collectable = || {
        thing().prop_filter("can be referred to", |t| {
            matches!(t, Thing::Blob(_) | Thing::Snapshot(_) | Thing::Image(_))
        })
    };
    prop_oneof![
        6 => collectable().prop_map(Label::Keeps),
        3 => thing().prop_filter("can keep", |t| !matches!(t, Thing::Sandbox(_))).prop_map(Label::KeptBy),
        1 => Just(Label::Root),
        1 => (0..IDS).prop_map(Label::WhileUsed),
        1 => Just(Label::UsedLately),
        1 => Just(Label::UsedLongAgo),
        1 => Just(Label::ExpiresSoon),
        2 => Just(Label::Expired),
    ]
}

fn label_list() -> impl Strategy<Value = Vec<Label>> {
    // one key, one value: at most one expiry
    proptest::collection::vec(label(), 0..4).prop_map(|mut labels| {
        let mut seen = false;
        labels.retain(|l| {
            let expiry = matches!(l, Label::ExpiresSoon | Label::Expired);
            let keep = !(expiry && seen);
            seen |= expiry;
            keep
        });
        labels
    })
}

fn step() -> impl Strategy<Value = Step> {
    let lease = || proptest::option::of(0..3u8);
    prop_oneof![
        2 => (0..3u8, any::<bool>(), prop::bool::weighted(0.2)).prop_map(|(id, flat, expired)| Step::Lease { id, flat, expired }),
        5 => (0..IDS, label_list(), lease()).prop_map(|(id, labels, lease)| Step::Blob { id, labels, lease }),
        5 => (0..IDS, proptest::option::of(0..IDS), label_list(), lease())
            .prop_map(|(id, parent, labels, lease)| Step::Snapshot { id, parent, labels, lease }),
        4 => (0..IDS, 0..IDS, label_list(), lease()).prop_map(|(id, target, labels, lease)| Step::Image { id, target, labels, lease }),
        2 => (0..IDS, proptest::option::of(0..IDS), label_list()).prop_map(|(id, snapshot, labels)| Step::Container { id, snapshot, labels }),
        1 => (0..IDS, label_list()).prop_map(|(id, labels)| Step::Sandbox { id, labels }),
        3 => (thing(), label_list()).prop_map(|(thing, labels)| Step::Relabel { thing, labels }),
        3 => (0..3u8, thing()).prop_map(|(lease, thing)| Step::Hold { lease, thing }),
        1 => (0..3u8, thing()).prop_map(|(lease, thing)| Step::Release { lease, thing }),
        1 => (0..3u8).prop_map(Step::DeleteLease),
        3 => thing().prop_map(Step::Delete),
        3 => Just(Step::Collect),
    ]
}

fn history() -> impl Strategy<Value = Vec<Step>> {
    let beside = proptest::collection::vec(step(), 1..6).prop_map(Step::Beside);
    proptest::collection::vec(prop_oneof![12 => step(), 1 => beside], 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        max_shrink_iters: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn histories(steps in history()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let store = std::sync::Arc::new(Store::new());
            let mut trial = Trial { store, scope: scope("a"), model: Model::default() };
            for step in &steps {
                match step {
                    Step::Beside(steps) => trial.beside(steps).await,
                    step => trial.step(step).await,
                }
            }
            trial.step(&Step::Collect).await;
        });
    }
}
