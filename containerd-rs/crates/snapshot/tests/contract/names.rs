//! Refusals, rebasing, usage, cleanup and concurrency: what a client or a crash can bring about.

use std::sync::Arc;

use super::files::{dir, file};
use super::scene::{Scene, commit_options, labels};
use base::filter::FilterSet;
use base::{ErrorKind, Kinded};
use snapshot::{CommitOptions, Kind, REBASE};

fn on(parent: &str) -> CommitOptions {
    CommitOptions { labels: labels(), parent: parent.into() }
}

pub async fn names_and_kinds(s: &Scene) {
    let sn = &s.snapshotter;
    s.layer("c", "", &[]).await;
    s.prepare("a", "").await;
    s.view("v", "c").await;
    let kind = |e: snapshot::Error| e.kind();
    assert_eq!(sn.stat("none").await.map_err(kind), Err(ErrorKind::NotFound));
    assert_eq!(sn.mounts("none").await.map_err(kind), Err(ErrorKind::NotFound));
    assert_eq!(sn.usage("none").await.map_err(kind), Err(ErrorKind::NotFound));
    assert_eq!(sn.remove("none").await.map_err(kind), Err(ErrorKind::NotFound));
    assert_eq!(sn.prepare("x", "none", labels()).await.map_err(kind), Err(ErrorKind::NotFound));
    assert_eq!(sn.prepare("x", "a", labels()).await.map_err(kind), Err(ErrorKind::InvalidArgument));
    assert_eq!(sn.view("x", "v", labels()).await.map_err(kind), Err(ErrorKind::InvalidArgument));
    assert_eq!(sn.mounts("c").await.map_err(kind), Err(ErrorKind::FailedPrecondition));
    assert_eq!(sn.commit("x", "none", commit_options()).await.map_err(kind), Err(ErrorKind::NotFound));
    assert_eq!(sn.commit("c", "a", commit_options()).await.map_err(kind), Err(ErrorKind::AlreadyExists));
    assert_eq!(sn.commit("x", "v", commit_options()).await.map_err(kind), Err(ErrorKind::FailedPrecondition));
    assert_eq!(sn.commit("x", "c", commit_options()).await.map_err(kind), Err(ErrorKind::FailedPrecondition));
    // Nothing of that changed anything.
    assert_eq!(sn.walk(&FilterSet::all()).await.unwrap().len(), 3);
    assert_eq!(sn.mounts("a").await.unwrap(), sn.mounts("a").await.unwrap());
    s.commit("x", "a").await;
}

pub async fn rebase(s: &Scene) {
    let sn = &s.snapshotter;
    let kind = |e: snapshot::Error| e.kind();
    s.layer("low", "", &[file("/low", "l", 0o644)]).await;
    s.layer("other", "", &[]).await;
    s.prepare("child", "low").await;
    assert_eq!(sn.commit("x", "child", on("other")).await.map_err(kind), Err(ErrorKind::InvalidArgument));
    sn.commit("same", "child", on("low")).await.unwrap();
    if !sn.capabilities().contains(&REBASE) {
        return;
    }
    let mounts = s.prepare("alone", "").await;
    super::files::apply(s.mount(&mounts).path(), &[file("/high", "h", 0o644)]);
    assert_eq!(sn.commit("x", "alone", on("none")).await.map_err(kind), Err(ErrorKind::NotFound));
    s.prepare("active", "").await;
    assert_eq!(sn.commit("x", "alone", on("active")).await.map_err(kind), Err(ErrorKind::FailedPrecondition));
    sn.commit("high", "alone", on("low")).await.unwrap();
    assert_eq!(sn.stat("high").await.unwrap().parent, "low");
    assert_eq!(sn.remove("low").await.map_err(kind), Err(ErrorKind::FailedPrecondition));
    let mounts = s.view("v", "high").await;
    let shown = super::files::listing(s.mount(&mounts).path());
    assert_eq!(shown.keys().map(String::as_str).collect::<Vec<_>>(), ["high", "low"]);
}

pub async fn usage(s: &Scene) {
    let sn = &s.snapshotter;
    let body = "x".repeat(1 << 20);
    let mounts = s.prepare("a", "").await;
    let empty = sn.usage("a").await.unwrap();
    super::files::apply(s.mount(&mounts).path(), &[dir("/d", 0o755), file("/d/f", &body, 0o644)]);
    let live = sn.usage("a").await.unwrap();
    if s.traits.counts_files {
        assert_eq!(live.inodes, empty.inodes + 2);
    }
    assert!(live.size - empty.size >= 1 << 20, "{live:?} after {empty:?}");
    s.commit("c", "a").await;
    let committed = sn.usage("c").await.unwrap();
    match s.traits.converts {
        true => assert!(committed.size > 0),
        false => assert_eq!(committed, live),
    }
    s.view("v", "c").await;
    assert_eq!(sn.usage("v").await.unwrap().size, 0);
}

pub async fn cleanup_spares_the_living(s: &Scene) {
    s.layer("c", "", &[file("/f", "kept", 0o644)]).await;
    s.layer("gone", "c", &[file("/g", "g", 0o644)]).await;
    let mounts = s.prepare("a", "c").await;
    super::files::apply(s.mount(&mounts).path(), &[file("/w", "written", 0o644)]);
    s.snapshotter.remove("gone").await.unwrap();
    s.snapshotter.cleanup().await.unwrap();
    s.snapshotter.cleanup().await.unwrap();
    let shown = super::files::listing(s.mount(&mounts).path());
    assert_eq!(shown.keys().map(String::as_str).collect::<Vec<_>>(), ["f", "w"]);
}

pub async fn many_at_once(s: &Scene) {
    // Prepares, removes, refused doubles and cleanups in each other's way.
    s.layer("c", "", &[file("/f", "f", 0o644)]).await;
    let mut tasks = Vec::new();
    for i in 0..24 {
        let sn = Arc::clone(&s.snapshotter);
        tasks.push(tokio::spawn(async move {
            let key = format!("k{}", i / 2);
            match sn.prepare(&key, "c", labels()).await {
                Ok(_) if i % 4 == 0 => sn.remove(&key).await.unwrap(),
                Ok(_) => {}
                Err(e) => assert_eq!(e.kind(), ErrorKind::AlreadyExists),
            }
            sn.cleanup().await.unwrap();
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    for info in s.snapshotter.walk(&FilterSet::all()).await.unwrap() {
        if info.kind == Kind::Active {
            let mounts = s.snapshotter.mounts(&info.name).await.unwrap();
            assert!(s.mount(&mounts).path().join("f").exists());
        }
    }
}
