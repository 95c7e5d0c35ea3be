//! Records of snapshots, and the steps in which they follow a backend.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fixture;

use base::ErrorKind::{AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, Unavailable};
use base::LeaseId;
use base::labels::Labels;
use fixture::*;
use store::NewSnapshot;

#[tokio::test]
async fn snapshot_records() {
    let (store, a) = (Store::new(), scope("a"));
    let all = store.meta.snapshots("sn");
    let none = Labels::new();
    refused(all.get(&a.namespace, "s"), NotFound, "snapshot s does not exist: not found");
    refused(
        all.prepare(&a, "k", "p", None, &none).await.map(drop),
        NotFound,
        "parent snapshot p does not exist: not found",
    );
    let lost = a.with_lease(LeaseId::new("lost").unwrap());
    refused(
        all.prepare(&lost, "k", "", None, &none).await.map(drop),
        NotFound,
        "lease does not exist: not found",
    );
    store.snapshot(&a, "base", "", &[("l", "1")]).await;
    store.snapshot(&a, "top", "base", &[]).await;
    let (base, top) = (all.get(&a.namespace, "base").unwrap(), all.get(&a.namespace, "top").unwrap());
    assert!(base.backend_key.starts_with("a/") && base.backend_key.ends_with("/base"));
    assert_eq!(top.parent, "base");
    assert_eq!(all.list(&a.namespace).unwrap(), [base.clone(), top.clone()]);
    assert_eq!(store.meta.snapshots("other").list(&a.namespace).unwrap(), []);

    // what exists is leased and said to exist
    let held = store.lease(&a, "l", &[]).await;
    refused(
        all.prepare(&held, "top", "", None, &none).await.map(drop),
        AlreadyExists,
        "snapshot \"top\": already exists",
    );
    refused(
        all.prepare(&held, "x", "", Some("base"), &none).await.map(drop),
        AlreadyExists,
        "target snapshot \"base\": already exists",
    );
    assert_eq!(store.meta.leases().list_resources(&a.namespace, "l").unwrap().len(), 2);

    refused(
        all.remove(&a, "base").await,
        FailedPrecondition,
        "cannot remove snapshot with child: failed precondition",
    );
    refused(all.remove(&a, "x").await, NotFound, "snapshot x does not exist: not found");
    all.remove(&a, "top").await.unwrap();
    all.remove(&a, "base").await.unwrap();
    assert_eq!(all.list(&a.namespace).unwrap(), []);
}

#[tokio::test]
async fn backend_keys_are_never_used_twice_and_protected_from_the_start() {
    let (store, a) = (Store::new(), scope("a"));
    let all = store.meta.snapshots("sn");
    let first = all.prepare(&a, "k", "", None, &Labels::new()).await.unwrap();
    let second = all.prepare(&a, "k", "", None, &Labels::new()).await.unwrap();
    assert_ne!(first.backend_key, second.backend_key);
    assert_eq!(all.live_keys().unwrap().len(), 2);
    assert!(store.meta.snapshots("other").live_keys().unwrap().is_empty());
    let key = first.backend_key.clone();
    drop((first, second));
    assert!(all.live_keys().unwrap().is_empty());
    drop(all);
    let store = store.reopen();
    let again = store.meta.snapshots("sn").prepare(&a, "k", "", None, &Labels::new()).await.unwrap();
    assert_ne!(again.backend_key, key);
}

#[tokio::test]
async fn two_makers_of_one_snapshot() {
    let (store, a) = (Store::new(), scope("a"));
    let all = store.meta.snapshots("sn");
    let first = all.prepare(&a, "k", "", None, &Labels::new()).await.unwrap();
    let second = all.prepare(&a, "k", "", None, &Labels::new()).await.unwrap();
    let new = |key: &str| NewSnapshot {
        key: "k".into(),
        backend_key: key.into(),
        parent: String::new(),
        backend_parent: String::new(),
        labels: Labels::new(),
        times: None,
    };
    all.insert(&a, new(&first.backend_key)).await.unwrap();
    refused(all.insert(&a, new(&second.backend_key)).await, AlreadyExists, "snapshot \"k\": already exists");
    let mut child = NewSnapshot { key: "c".into(), parent: "k".into(), ..new("b") };
    child.backend_parent = "wrong".into();
    refused(
        all.insert(&a, child).await,
        InvalidArgument,
        "mismatched parent k from target c: invalid argument",
    );
}

#[tokio::test]
async fn commits_leave_an_intent_that_outlives_a_crash() {
    let (store, a) = (Store::new(), scope("a"));
    let all = store.meta.snapshots("sn");
    store.snapshot(&a, "base", "", &[]).await;
    store.snapshot(&a, "active", "base", &[]).await;
    let held = store.lease(&a, "l", &[]).await;
    let begin = |scope: &base::Scope, name: &str, key: &str| {
        let (all, scope, name, key) = (all.clone(), scope.clone(), name.to_owned(), key.to_owned());
        async move { all.begin_commit(&scope, &name, &key, "", labels(&[("l", "1")])).await }
    };
    refused(begin(&a, "c", "x").await, NotFound, "snapshot x does not exist: not found");
    refused(begin(&held, "base", "active").await, AlreadyExists, "snapshot \"base\": already exists");
    let commit = begin(&held, "c", "active").await.unwrap();
    assert!(!commit.rebase && commit.parent == "base");
    refused(
        begin(&a, "d", "active").await,
        Unavailable,
        "snapshot \"active\" is being committed as \"c\": unavailable",
    );
    refused(
        all.remove(&a, "active").await,
        Unavailable,
        "snapshot \"active\" is being committed as \"c\": unavailable",
    );
    store.snapshot(&a, "other", "", &[]).await;
    refused(begin(&a, "c", "other").await, Unavailable, "snapshot \"c\" is being committed: unavailable");
    // collection while it is under way keeps what it needs
    store.gc.run().await.unwrap();
    drop(all);

    let store = store.reopen();
    let all = store.meta.snapshots("sn");
    let pending = all.pending_commits().unwrap();
    assert_eq!(pending, std::slice::from_ref(&commit));
    let live = all.live_keys().unwrap();
    assert!(live.contains(&commit.backend_name) && live.contains(&commit.backend_key));
    let made = all.finish_commit(&pending[0]).await.unwrap();
    assert_eq!((made.parent.as_str(), made.backend_key.as_str()), ("base", commit.backend_name.as_str()));
    assert_eq!(made.labels, labels(&[("l", "1")]));
    refused(all.get(&a.namespace, "active"), NotFound, "snapshot active does not exist: not found");
    assert!(all.pending_commits().unwrap().is_empty());
    refused(
        all.remove(&a, "base").await,
        FailedPrecondition,
        "cannot remove snapshot with child: failed precondition",
    );
    store.gc.run().await.unwrap();
    assert!(all.get(&a.namespace, "c").is_ok(), "the lease holds it");

    // an active one without parent can be put on one, and a commit can be taken back
    store.snapshot(&a, "free", "", &[]).await;
    let commit = all.begin_commit(&held, "d", "free", "c", Labels::new()).await.unwrap();
    assert!(commit.rebase && commit.backend_parent == made.backend_key);
    all.cancel_commit(&commit).await.unwrap();
    assert_eq!(all.get(&a.namespace, "free").unwrap().parent, "");
    all.remove(&a, "free").await.unwrap();
}

#[tokio::test]
async fn snapshot_labels() {
    let (store, a) = (Store::new(), scope("a"));
    let all = store.meta.snapshots("sn");
    store.snapshot(&a, "s", "", &[("a", "1")]).await;
    let one = all.update(&a, "s", labels(&[("b", "2")]), &mask(&["labels.b"])).await.unwrap();
    assert_eq!(one.labels, labels(&[("a", "1"), ("b", "2")]));
    assert_eq!(all.update(&a, "s", labels(&[("c", "3")]), &[]).await.unwrap().labels, labels(&[("c", "3")]));
    refused(all.update(&a, "x", Labels::new(), &[]).await, NotFound, "snapshot x does not exist: not found");
    refused(
        all.update(&a, "s", Labels::new(), &mask(&["parent"])).await,
        InvalidArgument,
        "cannot update \"parent\" field on snapshot \"s\": invalid argument",
    );
    assert_eq!(
        all.update(&a, "", Labels::new(), &[]).await.err().map(|e| base::Kinded::kind(&e)),
        Some(InvalidArgument)
    );
    let big = labels(&[("k", &"v".repeat(4096))]);
    assert!(all.update(&a, "s", big.clone(), &[]).await.is_err());
    assert!(all.prepare(&a, "t", "", None, &big).await.is_err());
}
