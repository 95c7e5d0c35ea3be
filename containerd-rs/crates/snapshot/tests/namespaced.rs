//! The namespaced layer: the contract through it, namespaces and leases, and what crashes leave.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod contract;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use base::filter::FilterSet;
use base::labels::snapshot as label;
use base::{ErrorKind, Kinded, Labels, Mount, Namespace, Scope};
use snapshot::overlay::{Overlay, OverlayOptions};
use snapshot::{CommitOptions, Info, Kind, Result, Snapshots, Snapshotter, Usage};
use store::{Gc, LocalContent, Metadata, MetadataOptions};

/// One namespace of the layer, as a snapshotter.
struct InNamespace {
    snapshots: Snapshots,
    scope: Scope,
}

#[async_trait]
impl Snapshotter for InNamespace {
    async fn stat(&self, key: &str) -> Result<Info> {
        self.snapshots.stat(&self.scope, key).await
    }
    async fn update(&self, info: Info, mask: &[String]) -> Result<Info> {
        self.snapshots.update(&self.scope, info, mask).await
    }
    async fn usage(&self, key: &str) -> Result<Usage> {
        self.snapshots.usage(&self.scope, key).await
    }
    async fn mounts(&self, key: &str) -> Result<Vec<Mount>> {
        self.snapshots.mounts(&self.scope, key).await
    }
    async fn prepare(&self, key: &str, parent: &str, labels: Labels) -> Result<Vec<Mount>> {
        self.snapshots.prepare(&self.scope, key, parent, labels).await
    }
    async fn view(&self, key: &str, parent: &str, labels: Labels) -> Result<Vec<Mount>> {
        self.snapshots.view(&self.scope, key, parent, labels).await
    }
    async fn commit(&self, name: &str, key: &str, options: CommitOptions) -> Result<()> {
        self.snapshots.commit(&self.scope, name, key, options).await
    }
    async fn remove(&self, key: &str) -> Result<()> {
        self.snapshots.remove(&self.scope, key).await
    }
    async fn walk(&self, filters: &FilterSet) -> Result<Vec<Info>> {
        self.snapshots.walk(&self.scope, filters).await
    }
    async fn cleanup(&self) -> Result<()> {
        self.snapshots.cleanup().await
    }
    fn capabilities(&self) -> &[&'static str] {
        self.snapshots.capabilities()
    }
    fn root(&self) -> &Path {
        self.snapshots.root()
    }
}

fn scope(namespace: &str) -> Scope {
    Scope::new(Namespace::new(namespace).unwrap())
}

fn metadata(root: &Path) -> Metadata {
    let dir = root.join("meta");
    std::fs::create_dir_all(&dir).unwrap();
    Metadata::open(&dir, MetadataOptions::default()).unwrap()
}

async fn overlay(root: &Path) -> Arc<dyn Snapshotter> {
    Arc::new(Overlay::open(&root.join("overlayfs"), OverlayOptions::default()).await.unwrap())
}

async fn open(root: PathBuf) -> Arc<dyn Snapshotter> {
    let snapshots = Snapshots::new("overlayfs", overlay(&root).await, &metadata(&root));
    snapshots.recover().await.unwrap();
    Arc::new(InNamespace { snapshots, scope: scope("testsuite") })
}

contract!(
    open,
    contract::scene::Traits { renames_directories: false, ..contract::scene::Traits::DIRECTORIES }
);

fn target(name: &str) -> Labels {
    Labels::from([(label::REF.into(), name.into()), ("client".into(), "only".into())])
}

async fn keys(backend: &Arc<dyn Snapshotter>) -> Vec<String> {
    let mut keys: Vec<String> =
        backend.walk(&FilterSet::all()).await.unwrap().into_iter().map(|i| i.name).collect();
    keys.sort();
    keys
}

#[tokio::test]
async fn namespaces_do_not_see_each_other() {
    let root = tempfile::tempdir().unwrap();
    let backend = overlay(root.path()).await;
    let sn = Snapshots::new("overlayfs", Arc::clone(&backend), &metadata(root.path()));
    let (one, two) = (scope("one"), scope("two"));
    for scope in [&one, &two] {
        sn.prepare(scope, "a", "", target("c")).await.unwrap();
        sn.commit(scope, "c", "a", CommitOptions::default()).await.unwrap();
    }
    sn.prepare(&one, "b", "c", Labels::new()).await.unwrap();
    assert_eq!(sn.stat(&two, "b").await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(sn.walk(&two, &FilterSet::all()).await.unwrap().len(), 1);
    assert_eq!(backend.walk(&FilterSet::all()).await.unwrap().len(), 3);
    sn.remove(&two, "c").await.unwrap();
    assert_eq!(sn.stat(&one, "c").await.unwrap().kind, Kind::Committed);
}

#[tokio::test]
async fn an_existing_target_is_the_answer() {
    let root = tempfile::tempdir().unwrap();
    let backend = overlay(root.path()).await;
    let sn = Snapshots::new("overlayfs", Arc::clone(&backend), &metadata(root.path()));
    let ns = scope("one");
    sn.prepare(&ns, "a", "", target("c")).await.unwrap();
    // Only labels of snapshots are told to the backend.
    let below = backend.walk(&FilterSet::all()).await.unwrap().remove(0);
    assert_eq!(below.labels, Labels::from([(label::REF.into(), "c".into())]));
    sn.commit(&ns, "c", "a", CommitOptions::default()).await.unwrap();
    let e = sn.prepare(&ns, "again", "", target("c")).await.unwrap_err();
    assert_eq!(
        (e.kind(), e.to_string()),
        (ErrorKind::AlreadyExists, "target snapshot \"c\": already exists".into())
    );
    assert_eq!(keys(&backend).await.len(), 1);
}

/// A remote snapshotter: when told a target, it has that at once.
struct Remote(Arc<dyn Snapshotter>);

#[async_trait]
impl Snapshotter for Remote {
    async fn prepare(&self, key: &str, parent: &str, labels: Labels) -> Result<Vec<Mount>> {
        let mounts = self.0.prepare(key, parent, labels.clone()).await?;
        if labels.contains_key(label::REF) {
            let options = CommitOptions { labels, parent: String::new() };
            self.0.commit(&format!("remote-{key}"), key, options).await?;
            return Err(snapshot::Error::refused(ErrorKind::AlreadyExists, "here it is"));
        }
        Ok(mounts)
    }
    async fn stat(&self, key: &str) -> Result<Info> {
        self.0.stat(key).await
    }
    async fn update(&self, info: Info, mask: &[String]) -> Result<Info> {
        self.0.update(info, mask).await
    }
    async fn usage(&self, key: &str) -> Result<Usage> {
        self.0.usage(key).await
    }
    async fn mounts(&self, key: &str) -> Result<Vec<Mount>> {
        self.0.mounts(key).await
    }
    async fn view(&self, key: &str, parent: &str, labels: Labels) -> Result<Vec<Mount>> {
        self.0.view(key, parent, labels).await
    }
    async fn commit(&self, name: &str, key: &str, options: CommitOptions) -> Result<()> {
        self.0.commit(name, key, options).await
    }
    async fn remove(&self, key: &str) -> Result<()> {
        self.0.remove(key).await
    }
    async fn walk(&self, filters: &FilterSet) -> Result<Vec<Info>> {
        self.0.walk(filters).await
    }
    async fn cleanup(&self) -> Result<()> {
        self.0.cleanup().await
    }
    fn capabilities(&self) -> &[&'static str] {
        self.0.capabilities()
    }
    fn root(&self) -> &Path {
        self.0.root()
    }
}

#[tokio::test]
async fn what_a_remote_snapshotter_has_is_adopted() {
    let root = tempfile::tempdir().unwrap();
    let remote: Arc<dyn Snapshotter> = Arc::new(Remote(overlay(root.path()).await));
    let sn = Snapshots::new("remote", Arc::clone(&remote), &metadata(root.path()));
    let ns = scope("one");
    for (key, parent, name) in [("x", "", "c1"), ("y", "c1", "c2")] {
        let e = sn.prepare(&ns, key, parent, target(name)).await.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::AlreadyExists);
        let info = sn.stat(&ns, name).await.unwrap();
        assert_eq!((info.kind, info.parent.as_str()), (Kind::Committed, parent));
        assert_eq!(info.labels["client"], "only");
        assert_eq!(sn.stat(&ns, key).await.unwrap_err().kind(), ErrorKind::NotFound);
    }
    sn.prepare(&ns, "run", "c2", Labels::new()).await.unwrap();
}

#[tokio::test]
async fn records_of_lost_snapshots_make_room() {
    let root = tempfile::tempdir().unwrap();
    let backend = overlay(root.path()).await;
    let sn = Snapshots::new("overlayfs", Arc::clone(&backend), &metadata(root.path()));
    let ns = scope("one");
    sn.prepare(&ns, "a", "", target("c")).await.unwrap();
    sn.commit(&ns, "c", "a", CommitOptions::default()).await.unwrap();
    sn.prepare(&ns, "b", "c", target("d")).await.unwrap();
    sn.commit(&ns, "d", "b", CommitOptions::default()).await.unwrap();
    for below in keys(&backend).await.into_iter().rev() {
        backend.remove(&below).await.unwrap();
    }
    assert!(sn.walk(&ns, &FilterSet::all()).await.unwrap().is_empty());
    for (key, parent, name) in [("a", "", "c"), ("b", "c", "d")] {
        sn.prepare(&ns, key, parent, target(name)).await.unwrap();
        sn.commit(&ns, name, key, CommitOptions::default()).await.unwrap();
    }
    assert_eq!(sn.stat(&ns, "d").await.unwrap().parent, "c");
}

/// Fails at one place, as a crash there would.
struct Crashing {
    inner: Arc<dyn Snapshotter>,
    after_commit: AtomicBool,
    before_commit: AtomicBool,
}

#[async_trait]
impl Snapshotter for Crashing {
    async fn commit(&self, name: &str, key: &str, options: CommitOptions) -> Result<()> {
        let crash = || std::future::pending::<()>();
        if self.before_commit.load(Ordering::SeqCst) {
            crash().await;
        }
        self.inner.commit(name, key, options).await?;
        if self.after_commit.load(Ordering::SeqCst) {
            crash().await;
        }
        Ok(())
    }
    async fn prepare(&self, key: &str, parent: &str, labels: Labels) -> Result<Vec<Mount>> {
        self.inner.prepare(key, parent, labels).await
    }
    async fn stat(&self, key: &str) -> Result<Info> {
        self.inner.stat(key).await
    }
    async fn update(&self, info: Info, mask: &[String]) -> Result<Info> {
        self.inner.update(info, mask).await
    }
    async fn usage(&self, key: &str) -> Result<Usage> {
        self.inner.usage(key).await
    }
    async fn mounts(&self, key: &str) -> Result<Vec<Mount>> {
        self.inner.mounts(key).await
    }
    async fn view(&self, key: &str, parent: &str, labels: Labels) -> Result<Vec<Mount>> {
        self.inner.view(key, parent, labels).await
    }
    async fn remove(&self, key: &str) -> Result<()> {
        self.inner.remove(key).await
    }
    async fn walk(&self, filters: &FilterSet) -> Result<Vec<Info>> {
        self.inner.walk(filters).await
    }
    async fn cleanup(&self) -> Result<()> {
        self.inner.cleanup().await
    }
    fn capabilities(&self) -> &[&'static str] {
        self.inner.capabilities()
    }
    fn root(&self) -> &Path {
        self.inner.root()
    }
}

#[test]
fn a_commit_is_all_or_nothing_over_a_crash() {
    for after in [true, false] {
        let root = tempfile::tempdir().unwrap();
        let ns = scope("one");
        // The runtime is dropped with the commit half-way: what is in memory is gone.
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let crashing = Arc::new(Crashing {
                inner: overlay(root.path()).await,
                after_commit: AtomicBool::new(after),
                before_commit: AtomicBool::new(!after),
            });
            let meta = metadata(root.path());
            let sn = Snapshots::new("overlayfs", crashing, &meta);
            sn.prepare(&ns, "a", "", Labels::new()).await.unwrap();
            let committing = tokio::spawn({
                let (sn, ns) = (sn.clone(), ns.clone());
                async move { sn.commit(&ns, "c", "a", CommitOptions::default()).await }
            });
            while meta.snapshots("overlayfs").pending_commits().unwrap().is_empty()
                || (after && sn.backend().walk(&FilterSet::all()).await.unwrap()[0].kind != Kind::Committed)
            {
                tokio::task::yield_now().await;
            }
            committing.abort();
        });
        drop(runtime);
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let backend = overlay(root.path()).await;
            let sn = Snapshots::new("overlayfs", backend, &metadata(root.path()));
            sn.recover().await.unwrap();
            let kinds: Vec<(String, Kind)> = sn
                .walk(&ns, &FilterSet::all())
                .await
                .unwrap()
                .into_iter()
                .map(|i| (i.name, i.kind))
                .collect();
            let wanted = if after { ("c".into(), Kind::Committed) } else { ("a".into(), Kind::Active) };
            assert_eq!(kinds, [wanted]);
            if !after {
                sn.commit(&ns, "c", "a", CommitOptions::default()).await.unwrap();
            }
        });
    }
}

#[tokio::test]
async fn pruning_takes_what_no_record_names() {
    let root = tempfile::tempdir().unwrap();
    let (backend, meta) = (overlay(root.path()).await, metadata(root.path()));
    let sn = Snapshots::new("overlayfs", Arc::clone(&backend), &meta);
    let ns = scope("one");
    sn.prepare(&ns, "a", "", Labels::new()).await.unwrap();
    sn.commit(&ns, "c", "a", CommitOptions::default()).await.unwrap();
    sn.prepare(&ns, "kept", "c", Labels::new()).await.unwrap();
    let kept = keys(&backend).await;
    // Removed by a client; and left by a crash between backend and record, a chain at that.
    sn.prepare(&ns, "removed", "c", Labels::new()).await.unwrap();
    sn.remove(&ns, "removed").await.unwrap();
    let parent = kept.iter().find(|k| k.ends_with("/c")).unwrap();
    backend.prepare("orphan-a", parent, Labels::new()).await.unwrap();
    backend.commit("orphan", "orphan-a", CommitOptions::default()).await.unwrap();
    backend.prepare("orphan-b", "orphan", Labels::new()).await.unwrap();
    // Held by labels, as a client would.
    for key in ["c", "kept"] {
        let mut info = sn.stat(&ns, key).await.unwrap();
        info.labels = Labels::from([(base::labels::gc::ROOT.into(), "1".into())]);
        sn.update(&ns, info, &[]).await.unwrap();
    }
    let gc = Gc::new(meta.clone(), LocalContent::open(&root.path().join("content"), meta.clone()).unwrap());
    gc.register_snapshotter("overlayfs", Arc::new(sn.clone()));
    gc.run().await.unwrap();
    assert_eq!(keys(&backend).await, kept);
    let directories = std::fs::read_dir(root.path().join("overlayfs/snapshots")).unwrap().count();
    assert_eq!(directories, 2);
}

#[tokio::test]
async fn a_lease_holds_what_was_made_under_it() {
    let root = tempfile::tempdir().unwrap();
    let meta = metadata(root.path());
    let sn = Snapshots::new("overlayfs", overlay(root.path()).await, &meta);
    let ns = scope("one");
    let lease = meta.leases().create(&ns.namespace, None, Labels::new()).await.unwrap();
    let leased = ns.with_lease(base::LeaseId::new(&lease.id).unwrap());
    let held = || {
        let mut ids: Vec<String> = meta
            .leases()
            .list_resources(&ns.namespace, &lease.id)
            .unwrap()
            .into_iter()
            .map(|r| format!("{} {}", r.kind, r.id))
            .collect();
        ids.sort();
        ids
    };
    sn.prepare(&leased, "a", "", target("c")).await.unwrap();
    assert_eq!(held(), ["snapshots/overlayfs a"]);
    sn.commit(&leased, "c", "a", CommitOptions::default()).await.unwrap();
    assert_eq!(held(), ["snapshots/overlayfs c"]);
    sn.prepare(&ns, "other", "c", target("d")).await.unwrap();
    sn.commit(&ns, "d", "other", CommitOptions::default()).await.unwrap();
    // Being told that the target is there makes the lease hold it.
    sn.prepare(&leased, "again", "c", target("d")).await.unwrap_err();
    assert_eq!(held(), ["snapshots/overlayfs c", "snapshots/overlayfs d"]);
}
