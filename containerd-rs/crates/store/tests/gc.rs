//! What garbage collection keeps and removes, label by label.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fixture;

use std::time::{Duration, SystemTime};

use base::timestamp::to_rfc3339_nano;
use base::{Digest, Scope};
use fixture::*;
use store::{ContentStore, Resource, WriterOptions};

fn in_hours(h: i64) -> String {
    let delta = Duration::from_secs(h.unsigned_abs() * 3600);
    let now = SystemTime::now();
    to_rfc3339_nano(if h < 0 { now - delta } else { now + delta })
}

#[tokio::test]
async fn images_containers_and_labels_keep_what_they_refer_to() {
    let (store, a) = (Store::new(), scope("a"));
    let layer = store.blob(&a, b"layer", &[]).await;
    let config = store.blob(&a, b"config", &[("containerd.io/gc.ref.snapshot.sn", "chain")]).await;
    let refs = [
        ("containerd.io/gc.ref.content.l.0", layer.as_str()),
        ("containerd.io/gc.ref.content.config", config.as_str()),
    ];
    let manifest = store.blob(&a, b"manifest", &refs).await;
    let loose = store.blob(&a, b"loose", &[]).await;
    store.image(&a, "i", &manifest, &[]).await;
    for (key, parent) in [("base", ""), ("chain", "base"), ("rw", "chain"), ("loose", "base")] {
        store.snapshot(&a, key, parent, &[]).await;
    }
    let mut c = container("c");
    (c.snapshotter, c.snapshot_key) = ("sn".into(), "rw".into());
    store.meta.containers().create(&a.namespace, c).await.unwrap();

    let report = store.gc.run().await.unwrap();
    assert_eq!(report.removed_snapshots, [("a".into(), "sn".into(), "loose".into())]);
    assert_eq!((report.removed_blobs, report.removed_images.len()), (1, 0));
    assert!(!store.blob_path(&loose).exists());
    assert_eq!(store.snapshots(&a), ["base", "chain", "rw"]);
    for d in [&layer, &config, &manifest] {
        assert!(store.has(&a, d).await && store.blob_path(d).exists());
    }
    assert_eq!(store.gc.run().await.unwrap().removed_blobs, 0);

    store.meta.images().delete(&a, "i", None).await.unwrap();
    assert_eq!(store.gc.run().await.unwrap().removed_blobs, 3);
    assert_eq!(store.snapshots(&a), ["base", "chain", "rw"], "the container");
    store.meta.containers().delete(&a.namespace, "c").await.unwrap();
    assert_eq!(store.gc.run().await.unwrap().removed_snapshots.len(), 3);
    // no link to a child that is gone is left
    store.snapshot(&a, "base", "", &[]).await;
    store.meta.snapshots("sn").remove(&a, "base").await.unwrap();
}

#[tokio::test]
async fn cycles_and_dead_ends_are_fine() {
    let (store, a) = (Store::new(), scope("a"));
    let (x, y) = (Digest::sha256("x"), Digest::sha256("y"));
    store.blob(&a, b"x", &[("containerd.io/gc.ref.content.0", y.as_str())]).await;
    store
        .blob(
            &a,
            b"y",
            &[
                ("containerd.io/gc.ref.content.0", x.as_str()),
                ("containerd.io/gc.ref.content.1", "no digest"),
            ],
        )
        .await;
    store.image(&a, "i", &x, &[("containerd.io/gc.ref.image.x", "not there")]).await;
    assert_eq!(store.gc.run().await.unwrap().removed_blobs, 0);
    store.meta.images().delete(&a, "i", None).await.unwrap();
    assert_eq!(store.gc.run().await.unwrap().removed_blobs, 2);
}

#[tokio::test]
async fn roots_and_expiry() {
    let (store, a) = (Store::new(), scope("a"));
    let (past, future) = (in_hours(-1), in_hours(1));
    let root = store.blob(&a, b"root", &[("containerd.io/gc.root", "x")]).await;
    let until = store.blob(&a, b"until", &[("containerd.io/gc.expire", &future)]).await;
    let over = store.blob(&a, b"over", &[("containerd.io/gc.expire", &past)]).await;
    store.snapshot(&a, "root", "", &[("containerd.io/gc.root", "x")]).await;
    store.snapshot(&a, "over", "", &[("containerd.io/gc.expire", &past)]).await;
    for (name, label) in [("fresh", future.as_str()), ("stale", &past), ("odd", "soon")] {
        store.image(&a, name, &root, &[("containerd.io/gc.expire", label)]).await;
    }
    // an expired image that something refers to stays
    store.image(&a, "referred", &root, &[("containerd.io/gc.expire", &past)]).await;
    store.image(&a, "parent", &root, &[("containerd.io/gc.ref.image", "referred")]).await;
    let report = store.gc.run().await.unwrap();
    assert_eq!(report.removed_images, [("a".to_owned(), "stale".to_owned())]);
    assert!(store.has(&a, &root).await && store.has(&a, &until).await && !store.has(&a, &over).await);
    assert_eq!(store.snapshots(&a), ["root"]);
}

#[tokio::test]
async fn back_references_tie_a_life_to_another() {
    let (store, a) = (Store::new(), scope("a"));
    let image_target = store.blob(&a, b"target", &[]).await;
    store.image(&a, "i", &image_target, &[]).await;
    store.meta.containers().create(&a.namespace, container("c")).await.unwrap();
    store.snapshot(&a, "kept", "", &[("containerd.io/gc.root", "1")]).await;
    let tie = |label: &str| format!("containerd.io/gc.bref.{label}");
    let by_image = store.blob(&a, b"1", &[(&tie("image"), "i")]).await;
    let by_content = store.blob(&a, b"2", &[(&tie("content.x"), image_target.as_str())]).await;
    let by_container = store.blob(&a, b"3", &[(&tie("container"), "c")]).await;
    let by_snapshot = store.blob(&a, b"4", &[(&tie("snapshot.sn"), "kept")]).await;
    let by_nothing = store.blob(&a, b"5", &[(&tie("image"), "other")]).await;
    store.snapshot(&a, "tied", "", &[(&tie("container"), "c")]).await;
    assert_eq!(store.gc.run().await.unwrap().removed_blobs, 1);
    assert!(!store.has(&a, &by_nothing).await);
    store.meta.images().delete(&a, "i", None).await.unwrap();
    store.gc.run().await.unwrap();
    assert!(!store.has(&a, &by_image).await && !store.has(&a, &by_content).await);
    assert!(store.has(&a, &by_container).await && store.has(&a, &by_snapshot).await);
    assert_eq!(store.snapshots(&a), ["kept", "tied"]);
    store.meta.containers().delete(&a.namespace, "c").await.unwrap();
    store.gc.run().await.unwrap();
    assert!(!store.has(&a, &by_container).await);
    assert_eq!(store.snapshots(&a), ["kept"]);
}

#[tokio::test]
async fn conditional_references_look_at_when_a_snapshot_was_used() {
    let (store, a) = (Store::new(), scope("a"));
    let used = "containerd.io/gc.cond.value-usedat";
    store.snapshot(&a, "young", "", &[(used, &in_hours(-1))]).await;
    store.snapshot(&a, "old", "", &[(used, &in_hours(-100))]).await;
    store.snapshot(&a, "unknown", "", &[]).await;
    let cond = "containerd.io/gc.cond.snapshot.sn";
    let target = store
        .blob(
            &a,
            b"t",
            &[
                (&format!("{cond}/1"), "usedat<24h|young"),
                (&format!("{cond}/2"), "usedat<24h|old"),
                (&format!("{cond}/3"), "usedat<24h|unknown"),
            ],
        )
        .await;
    store.image(&a, "i", &target, &[]).await;
    store.gc.run().await.unwrap();
    assert_eq!(store.snapshots(&a), ["young"]);
    store.meta.images().delete(&a, "i", None).await.unwrap();
    store.gc.run().await.unwrap();
    assert!(store.snapshots(&a).is_empty(), "only while what has the condition is kept");
}

#[tokio::test]
async fn leases_hold_trees_or_when_flat_only_what_they_list() {
    let (store, a) = (Store::new(), scope("a"));
    for (id, flat) in [("deep", false), ("flat", true)] {
        let child = store.blob(&a, format!("child {id}").as_bytes(), &[]).await;
        let refs =
            [("containerd.io/gc.ref.content.0", child.as_str()), ("containerd.io/gc.ref.snapshot.sn", id)];
        let parent = store.blob(&a, format!("parent {id}").as_bytes(), &refs).await;
        store.snapshot(&a, id, "", &[]).await;
        let with: &[(&str, &str)] = if flat { &[("containerd.io/gc.flat", "1")] } else { &[] };
        store.lease(&a, id, with).await;
        let hold = Resource { id: parent.to_string(), kind: "content".into() };
        store.meta.leases().add_resource(&a.namespace, id, hold).await.unwrap();
        store.gc.run().await.unwrap();
        assert!(store.has(&a, &parent).await);
        assert_eq!(store.has(&a, &child).await, !flat, "{id}");
        assert_eq!(store.snapshots(&a).contains(&id.to_owned()), !flat, "{id}");
    }
    store.snapshot(&a, "base", "", &[]).await;
    store.snapshot(&a, "top", "base", &[]).await;
    let top = Resource { id: "top".into(), kind: "snapshots/sn".into() };
    store.meta.leases().add_resource(&a.namespace, "flat", top).await.unwrap();
    store.gc.run().await.unwrap();
    assert_eq!(store.snapshots(&a), ["base", "deep", "top"], "parents belong to a flat snapshot");
    for id in ["flat", "deep"] {
        store.meta.leases().delete(&a.namespace, id).await.unwrap();
    }
    store.gc.run().await.unwrap();
    assert!(store.snapshots(&a).is_empty());
}

#[tokio::test]
async fn expired_leases_go_with_what_they_held() {
    let (store, a) = (Store::new(), scope("a"));
    let stale = store.lease(&a, "stale", &[("containerd.io/gc.expire", &in_hours(-1))]).await;
    let fresh = store.lease(&a, "fresh", &[("containerd.io/gc.expire", &in_hours(1))]).await;
    let odd = store.lease(&a, "odd", &[("containerd.io/gc.expire", "next week")]).await;
    let mut kept = Vec::new();
    for (i, scope) in [&stale, &fresh, &odd].into_iter().enumerate() {
        kept.push(store.blob(scope, &[i as u8], &[]).await);
    }
    // an image that expires is held by a lease for as long as that is there
    store.image(&fresh, "expired but leased", &kept[1], &[("containerd.io/gc.expire", &in_hours(-1))]).await;
    let report = store.gc.run().await.unwrap();
    assert_eq!((report.removed_leases, report.removed_blobs, report.removed_images.len()), (1, 1, 0));
    assert!(!store.has(&a, &kept[0]).await && store.has(&a, &kept[1]).await && store.has(&a, &kept[2]).await);
    assert!(store.meta.leases().get(&a.namespace, "stale").is_err());
    store.meta.leases().delete(&a.namespace, "fresh").await.unwrap();
    assert_eq!(store.gc.run().await.unwrap().removed_images.len(), 1);
}

#[tokio::test]
async fn ingests_live_by_their_lease_or_a_day() {
    let (store, a) = (Store::new(), scope("a"));
    let held = store.lease(&a, "l", &[]).await;
    let open = |scope: Scope, reference: &'static str| {
        let content = store.content.clone();
        async move {
            let mut w = content.writer(&scope, WriterOptions::new(reference)).await.unwrap();
            w.write(b"bytes").await.unwrap();
            w.close().await;
        }
    };
    open(held.clone(), "leased").await;
    open(a.clone(), "free").await;
    assert_eq!(store.gc.run().await.unwrap().removed_ingests, 0);
    assert_eq!(store.ingest_dirs(), 2);
    store.meta.leases().delete(&a.namespace, "l").await.unwrap();
    assert_eq!(store.gc.run().await.unwrap().removed_ingests, 1);
    assert_eq!(store.ingest_dirs(), 1);
    assert!(store.content.status(&a, "free").await.is_ok());
}

#[tokio::test]
async fn bytes_that_no_record_names_go_at_the_first_run() {
    let (store, a) = (Store::new(), scope("a"));
    let kept = store.blob(&a, b"kept", &[("containerd.io/gc.root", "1")]).await;
    let orphan = store.blob_path(&Digest::sha256("orphan"));
    std::fs::write(&orphan, "orphan").unwrap();
    let ingests = store.dir.path().join("content/ingest");
    for (name, reference) in [("one", "a/1/lost"), ("two", "")] {
        std::fs::create_dir(ingests.join(name)).unwrap();
        std::fs::write(ingests.join(name).join("ref"), reference).unwrap();
    }
    std::fs::write(store.dir.path().join("content/deleted/5"), "half deleted").unwrap();
    std::fs::write(orphan.with_file_name("not a digest"), "left alone").unwrap();
    let store = store.reopen();
    store.gc.run().await.unwrap();
    assert!(!orphan.exists() && store.blob_path(&kept).exists());
    assert_eq!(store.ingest_dirs(), 0);
    assert_eq!(std::fs::read_dir(store.dir.path().join("content/deleted")).unwrap().count(), 0);
    assert!(orphan.with_file_name("not a digest").exists());
}
