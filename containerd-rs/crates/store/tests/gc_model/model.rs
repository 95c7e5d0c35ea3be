//! The naive model: what there is, and what can be reached, found the slow way.

use std::collections::{BTreeMap, BTreeSet};

/// Objects are small numbers; blob 3 has the bytes "3".
pub type Id = u8;
pub const IDS: Id = 6;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Thing {
    Blob(Id),
    Snapshot(Id),
    Image(Id),
    Container(Id),
    Sandbox(Id),
}

#[derive(Clone, Debug)]
pub enum Label {
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
pub enum Step {
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
pub struct Object {
    pub labels: Vec<Label>,
    /// Image: target; snapshot: parent; container: snapshot.
    pub points: Option<Thing>,
}

#[derive(Clone, Debug)]
pub struct ModelLease {
    pub flat: bool,
    pub expired: bool,
    pub holds: BTreeSet<Thing>,
}

#[derive(Clone, Debug, Default)]
pub struct Model {
    pub objects: BTreeMap<Thing, Object>,
    pub leases: BTreeMap<Id, ModelLease>,
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
    pub fn reachable(&self) -> BTreeSet<Thing> {
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
    pub fn collect(&mut self) {
        let keep = self.reachable();
        self.objects.retain(|t, _| keep.contains(t));
        self.leases.retain(|_, l| !l.expired);
    }
}

/// All things that there could be.
pub fn everything() -> impl Iterator<Item = Thing> {
    (0..IDS).flat_map(|id| {
        [Thing::Blob(id), Thing::Snapshot(id), Thing::Image(id), Thing::Container(id), Thing::Sandbox(id)]
    })
}
