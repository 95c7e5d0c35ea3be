//! What garbage collection keeps and removes, label by label.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fixture;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use base::timestamp::to_rfc3339_nano;
use base::{Digest, Namespace, Scope};
use fixture::*;
use store::gc::Node;
use store::{
    Collection, Collector, ContentStore, LiveKeys, Resource, Scheduler, SchedulerOptions, SnapshotBackend,
    WriterOptions,
};

fn in_hours(h: i64) -> String {
    let delta = Duration::from_secs(h.unsigned_abs() * 3600);
    let now = SystemTime::now();
    to_rfc3339_nano(if h < 0 { now - delta } else { now + delta })
}

impl Store {
    fn snapshots(&self, scope: &Scope) -> Vec<String> {
        let all = self.meta.snapshots("sn").list(&scope.namespace).unwrap();
        all.into_iter().map(|s| s.key).collect()
    }
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

/// A backend that lists slowly, so that others can come in between.
struct Backend {
    keys: Mutex<BTreeSet<String>>,
    cleaned: AtomicUsize,
    fail: AtomicBool,
}

#[async_trait]
impl SnapshotBackend for Backend {
    async fn prune(&self, live: &LiveKeys) -> store::Result<usize> {
        let listed: Vec<String> = self.keys.lock().unwrap().iter().cloned().collect();
        let live = live.current()?;
        if self.fail.swap(false, Ordering::SeqCst) {
            return Err(store::Error::Closed);
        }
        let dead: Vec<_> = listed.into_iter().filter(|k| !live.contains(k)).collect();
        self.keys.lock().unwrap().retain(|k| !dead.contains(k));
        Ok(dead.len())
    }

    async fn cleanup(&self) -> store::Result<()> {
        self.cleaned.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

#[tokio::test]
async fn backends_are_pruned_at_first_when_dirty_and_again_after_a_failure() {
    let (store, a) = (Store::new(), scope("a"));
    store.snapshot(&a, "s", "", &[("containerd.io/gc.root", "1")]).await;
    store.snapshot(&a, "t", "", &[("containerd.io/gc.root", "1")]).await;
    let key = |k: &str| store.meta.snapshots("sn").get(&a.namespace, k).unwrap().backend_key;
    let keys = BTreeSet::from([key("s"), key("t"), "a/1/orphan".to_owned()]);
    let backend = Arc::new(Backend {
        keys: Mutex::new(keys),
        cleaned: AtomicUsize::new(0),
        fail: AtomicBool::new(false),
    });
    store.gc.register_snapshotter("sn", backend.clone());
    let left = || backend.keys.lock().unwrap().len();
    store.gc.run().await.unwrap();
    assert_eq!((left(), backend.cleaned.load(Ordering::SeqCst)), (2, 1));
    store.gc.run().await.unwrap();
    assert_eq!(backend.cleaned.load(Ordering::SeqCst), 1, "nothing to do");
    store.meta.snapshots("sn").remove(&a, "t").await.unwrap();
    backend.fail.store(true, Ordering::SeqCst);
    store.gc.run().await.unwrap();
    assert_eq!(left(), 2);
    store.gc.run().await.unwrap();
    assert_eq!(left(), 1);
    store.meta.snapshots("sn").update(&a, "s", labels(&[]), &[]).await.unwrap();
    store.gc.run().await.unwrap();
    assert_eq!(left(), 0);
}

/// Mounts: `active` or held by leases, with a note of what was removed.
#[derive(Default)]
struct Mounts {
    all: Vec<(&'static str, &'static str)>,
    active: Vec<&'static str>,
    leased: Vec<(&'static str, &'static str)>,
    back: Vec<(&'static str, Digest)>,
    removed: Arc<Mutex<Vec<String>>>,
    finished: Arc<AtomicUsize>,
    cancelled: Arc<AtomicUsize>,
}

struct Run {
    of: Arc<Mounts>,
    noted: Vec<String>,
}

struct MountCollector(Arc<Mounts>);

impl Collector for MountCollector {
    fn kind(&self) -> &'static str {
        "mount"
    }
    fn reference_label(&self) -> Option<String> {
        Some("mount".into())
    }
    fn start(&self) -> store::Result<Box<dyn Collection>> {
        Ok(Box::new(Run { of: self.0.clone(), noted: Vec::new() }))
    }
}

#[async_trait]
impl Collection for Run {
    fn all(&self, tell: &mut dyn FnMut(&str, &str)) {
        self.of.all.iter().for_each(|(ns, key)| tell(ns, key));
    }
    fn active(&self, ns: &str, tell: &mut dyn FnMut(&str)) {
        self.of.active.iter().filter(|_| ns == "a").for_each(|key| tell(key));
    }
    fn leased(&self, _: &str, lease: &str, tell: &mut dyn FnMut(&str)) {
        self.of.leased.iter().filter(|(l, _)| *l == lease).for_each(|(_, key)| tell(key));
    }
    fn back_references(&self, ns: &str, tell: &mut dyn FnMut(Node, Node)) {
        let ns: Arc<str> = Arc::from(ns);
        for (key, by) in &self.of.back {
            let kept = Node::new(store::gc::Kind::External("mount"), &ns, *key);
            tell(Node::new(store::gc::Kind::Content, &ns, by.as_str()), kept);
        }
    }
    fn references(&self, ns: &str, key: &str, tell: &mut dyn FnMut(Node)) {
        if key == "active" {
            tell(Node::new(store::gc::Kind::Content, &Arc::from(ns), Digest::sha256("by mount").as_str()));
        }
    }
    fn remove(&mut self, ns: &str, key: &str) {
        self.noted.push(format!("{ns}/{key}"));
    }
    fn cancel(self: Box<Self>) {
        self.of.cancelled.fetch_add(1, Ordering::SeqCst);
    }
    async fn finish(self: Box<Self>) -> store::Result<()> {
        self.of.removed.lock().unwrap().extend(self.noted);
        self.of.finished.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

#[tokio::test]
async fn collectors_take_part() {
    let (store, a) = (Store::new(), scope("a"));
    store.lease(&a, "l", &[]).await;
    let by_mount = store.blob(&a, b"by mount", &[]).await;
    let refers = store
        .blob(&a, b"r", &[("containerd.io/gc.root", "1"), ("containerd.io/gc.ref.mount.1", "referred")])
        .await;
    let mounts = Arc::new(Mounts {
        all: ["active", "leased", "referred", "tied", "garbage"]
            .map(|k| ("a", k))
            .into_iter()
            .chain([("other", "garbage")])
            .collect(),
        active: vec!["active"],
        leased: vec![("l", "leased"), ("gone", "garbage")],
        back: vec![("tied", refers.clone()), ("garbage", Digest::sha256("nothing"))],
        ..Mounts::default()
    });
    store.gc.register(Arc::new(MountCollector(mounts.clone())));
    store.gc.run().await.unwrap();
    assert_eq!(*mounts.removed.lock().unwrap(), ["a/garbage", "other/garbage"]);
    assert_eq!((mounts.finished.load(Ordering::SeqCst), mounts.cancelled.load(Ordering::SeqCst)), (1, 0));
    assert!(store.has(&a, &by_mount).await, "what a live mount refers to");
}

#[tokio::test]
async fn a_record_that_cannot_be_read_stops_collection() {
    let (store, a) = (Store::new(), scope("a"));
    let loose = store.blob(&a, b"loose", &[]).await;
    // as a later version would write it
    let store = spoil(store, b"\x63");
    let mounts = Arc::new(Mounts::default());
    store.gc.register(Arc::new(MountCollector(mounts.clone())));
    let e = store.gc.run().await.unwrap_err();
    assert_eq!(base::Kinded::kind(&e), base::ErrorKind::DataLoss);
    assert!(e.to_string().contains("images") && e.to_string().contains("newer version"), "{e}");
    assert!(store.has(&a, &loose).await && store.blob_path(&loose).exists());
    assert_eq!(mounts.cancelled.load(Ordering::SeqCst), 1);
}

/// Puts a value that is no image among the images, past all checks.
fn spoil(store: Store, value: &[u8]) -> Store {
    let Store { meta, content, gc, dir } = store;
    drop((meta, content, gc));
    let database = redb::Database::open(dir.path().join("meta/meta.redb")).unwrap();
    let txn = database.begin_write().unwrap();
    let images = redb::TableDefinition::<&[u8], &[u8]>::new("images");
    txn.open_table(images).unwrap().insert(&b"a\x00\x01name"[..], value).unwrap();
    txn.commit().unwrap();
    drop(database);
    Store::open(dir, store::MetadataOptions::default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_made_beside_a_run_is_not_lost() {
    let (store, a) = (Arc::new(Store::new()), scope("a"));
    let stop = Arc::new(AtomicBool::new(false));
    let collector = {
        let (store, stop) = (store.clone(), stop.clone());
        tokio::spawn(async move {
            let mut runs = 0;
            while !stop.load(Ordering::SeqCst) {
                store.gc.run().await.unwrap();
                runs += 1;
            }
            runs
        })
    };
    let mut tasks = Vec::new();
    for t in 0..4 {
        let (store, a) = (store.clone(), a.clone());
        tasks.push(tokio::spawn(async move {
            for i in 0..40 {
                let name = format!("{t}-{i}");
                let held = store.lease(&a, &name, &[]).await;
                let child = store.blob(&held, format!("child {name}").as_bytes(), &[]).await;
                let refs = [("containerd.io/gc.ref.content.0", child.as_str())];
                let parent = store.blob(&held, format!("parent {name}").as_bytes(), &refs).await;
                store.snapshot(&held, &format!("s{name}"), "", &[]).await;
                store
                    .image(&a, &name, &parent, &[("containerd.io/gc.ref.snapshot.sn", &format!("s{name}"))])
                    .await;
                store.meta.leases().delete(&a.namespace, &name).await.unwrap();
                assert!(store.has(&a, &child).await && store.has(&a, &parent).await, "{name}");
                assert!(store.blob_path(&child).exists(), "{name}");
                if i % 2 == 0 {
                    store.meta.images().delete(&a, &name, None).await.unwrap();
                }
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    stop.store(true, Ordering::SeqCst);
    let runs = collector.await.unwrap();
    assert!(runs > 3, "only {runs} runs");
    store.gc.run().await.unwrap();
    store.gc.run().await.unwrap();
    let any = base::filter::FilterSet::parse(&[""; 0]).unwrap();
    assert_eq!(store.meta.images().list(&a.namespace, &any).unwrap().len(), 80);
    assert_eq!(store.content.list(&a, &any).await.unwrap().len(), 160);
    assert_eq!(store.snapshots(&a).len(), 80);
    let blobs = std::fs::read_dir(store.dir.path().join("content/blobs/sha256")).unwrap().count();
    assert_eq!(blobs, 160);
}

#[tokio::test]
async fn the_scheduler_runs_after_deletions_and_when_asked() {
    let (store, a) = (Store::new(), scope("a"));
    let reports = Arc::new(Mutex::new(Vec::new()));
    let options = SchedulerOptions {
        startup_delay: Duration::ZERO,
        pause_threshold: 0.5,
        ..SchedulerOptions::default()
    };
    let told = reports.clone();
    let scheduler = Scheduler::start(
        store.gc.clone(),
        options,
        Arc::new(move |r| told.lock().unwrap().push(r.as_ref().unwrap().removed_blobs)),
    );
    let first = store.blob(&a, b"1", &[]).await;
    assert_eq!(scheduler.collect_now().await.unwrap().removed_blobs, 1);
    assert!(!store.blob_path(&first).exists());
    let second = store.blob(&a, b"2", &[("containerd.io/gc.root", "1")]).await;
    store.content.delete(&a, &second).await.unwrap();
    let gone = async {
        while store.blob_path(&second).exists() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.unwrap();
    let ns = Namespace::new("a").unwrap();
    store.meta.namespaces().delete(&ns).await.unwrap();
    drop(scheduler);
    assert_eq!(reports.lock().unwrap()[0], 1);
}
