//! One history on the real store and on the model.

use std::collections::{BTreeMap, BTreeSet};

use base::filter::FilterSet;
use base::{Digest, LeaseId, Scope};
use store::{ContentStore, Resource};

use crate::fixture::*;
use crate::model::*;

pub fn digest(id: Id) -> Digest {
    Digest::sha256(id.to_string())
}

pub fn name(thing: Thing) -> String {
    match thing {
        Thing::Blob(id) => digest(id).to_string(),
        Thing::Snapshot(id) | Thing::Image(id) | Thing::Container(id) | Thing::Sandbox(id) => {
            format!("n{id}")
        }
    }
}

pub fn kind(thing: Thing) -> &'static str {
    match thing {
        Thing::Blob(_) => "content",
        Thing::Snapshot(_) => "snapshot.sn",
        Thing::Image(_) => "image",
        Thing::Container(_) => "container",
        Thing::Sandbox(_) => "sandbox",
    }
}

pub fn hours(h: i64) -> String {
    let now = std::time::SystemTime::now();
    let by = std::time::Duration::from_secs(3600 * h.unsigned_abs());
    base::timestamp::to_rfc3339_nano(if h < 0 { now - by } else { now + by })
}

pub fn real_labels(labels: &[Label]) -> Vec<(String, String)> {
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

pub fn resource(thing: Thing) -> Option<Resource> {
    let kind = match thing {
        Thing::Blob(_) => "content",
        Thing::Snapshot(_) => "snapshots/sn",
        Thing::Image(_) => "images",
        _ => return None,
    };
    Some(Resource { id: name(thing), kind: kind.into() })
}

/// One run of a history on the real store and on the model.
pub struct Trial {
    pub store: std::sync::Arc<Store>,
    pub scope: Scope,
    pub model: Model,
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

    pub async fn step(&mut self, step: &Step) {
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
    pub async fn beside(&mut self, steps: &[Step]) {
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
