//! Backends, collectors, the scheduler, and writers beside a collection.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fixture;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use base::{Digest, Namespace};
use fixture::*;
use store::gc::Node;
use store::{Collection, Collector, ContentStore, LiveKeys, Scheduler, SchedulerOptions, SnapshotBackend};

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
