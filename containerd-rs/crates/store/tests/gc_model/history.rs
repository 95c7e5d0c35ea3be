//! Random histories.

use proptest::prelude::*;

use crate::model::*;

pub fn thing() -> impl Strategy<Value = Thing> {
    let id = 0..IDS;
    prop_oneof![
        3 => id.clone().prop_map(Thing::Blob),
        3 => id.clone().prop_map(Thing::Snapshot),
        2 => id.clone().prop_map(Thing::Image),
        1 => id.clone().prop_map(Thing::Container),
        1 => id.prop_map(Thing::Sandbox),
    ]
}

pub fn label() -> impl Strategy<Value = Label> {
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

pub fn label_list() -> impl Strategy<Value = Vec<Label>> {
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

pub fn step() -> impl Strategy<Value = Step> {
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

pub fn history() -> impl Strategy<Value = Vec<Step>> {
    let beside = proptest::collection::vec(step(), 1..6).prop_map(Step::Beside);
    proptest::collection::vec(prop_oneof![12 => step(), 1 => beside], 1..60)
}
