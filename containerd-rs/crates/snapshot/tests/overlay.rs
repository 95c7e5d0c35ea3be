//! The overlay snapshotter: the contract, and the mounts that it gives.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod contract;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::Labels;
use base::labels::snapshot as label;
use snapshot::overlay::{Overlay, OverlayOptions, supported};
use snapshot::{CommitOptions, Snapshotter};

async fn open(root: PathBuf) -> Arc<dyn Snapshotter> {
    Arc::new(Overlay::open(&root, OverlayOptions::default()).await.unwrap())
}

contract!(
    open,
    contract::scene::Traits { renames_directories: false, ..contract::scene::Traits::DIRECTORIES }
);

fn fs(root: &Path, id: u64) -> String {
    root.join(format!("snapshots/{id}/fs")).display().to_string()
}

#[tokio::test]
async fn mounts_are_as_clients_expect() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let options = OverlayOptions { mount_options: vec!["volatile".into()], ..OverlayOptions::default() };
    let sn = Overlay::open(root, options).await.unwrap();
    let labels = Labels::new;
    let commit = CommitOptions::default;

    let m = sn.prepare("a", "", labels()).await.unwrap();
    assert_eq!(
        (m[0].fstype.as_str(), &m[0].source, m[0].options.join(",")),
        ("bind", &fs(root, 1), "rw,rbind".into())
    );
    sn.commit("1", "a", commit()).await.unwrap();
    let m = sn.view("v0", "", labels()).await.unwrap();
    assert_eq!((&m[0].source, m[0].options.join(",")), (&fs(root, 2), "ro,rbind".into()));
    let m = sn.view("v1", "1", labels()).await.unwrap();
    assert_eq!((&m[0].source, m[0].options.join(",")), (&fs(root, 1), "ro,rbind".into()));

    let index = Path::new("/sys/module/overlay/parameters/index").exists();
    let tail = if index { ",volatile,index=off" } else { ",volatile" };
    let m = sn.prepare("b", "1", labels()).await.unwrap();
    let work = root.join("snapshots/4/work");
    let wanted =
        format!("workdir={},upperdir={},lowerdir={}{tail}", work.display(), fs(root, 4), fs(root, 1));
    assert_eq!(
        (m[0].fstype.as_str(), m[0].source.as_str(), m[0].options.join(",")),
        ("overlay", "overlay", wanted)
    );
    sn.commit("2", "b", commit()).await.unwrap();
    let m = sn.view("v2", "2", labels()).await.unwrap();
    assert_eq!(m[0].options.join(","), format!("lowerdir={}:{}{tail}", fs(root, 4), fs(root, 1)));
    assert_eq!(sn.mounts("v2").await.unwrap(), m);
}

#[tokio::test]
async fn an_operators_index_option_stays() {
    let root = tempfile::tempdir().unwrap();
    let options = OverlayOptions { mount_options: vec!["index=on".into()], ..OverlayOptions::default() };
    let sn = Overlay::open(root.path(), options).await.unwrap();
    sn.prepare("a", "", Labels::new()).await.unwrap();
    sn.commit("1", "a", CommitOptions::default()).await.unwrap();
    let m = sn.prepare("b", "1", Labels::new()).await.unwrap();
    assert_eq!(m[0].options.last().map(String::as_str), Some("index=on"));
}

#[tokio::test]
async fn mapped_ids_and_upperdir_label() {
    use std::os::unix::fs::MetadataExt;
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let options = OverlayOptions { upperdir_label: true, ..OverlayOptions::default() };
    let sn = Overlay::open(root, options).await.unwrap();
    let labels = Labels::from([
        (label::UID_MAPPING.into(), "0:100000:65536".into()),
        (label::GID_MAPPING.into(), "0:200000:65536".into()),
    ]);
    let m = sn.prepare("a", "", labels).await.unwrap();
    assert_eq!(m[0].options.join(","), "uidmap=0:100000:65536,gidmap=0:200000:65536,rw,rbind");
    let meta = std::fs::metadata(fs(root, 1)).unwrap();
    assert_eq!((meta.uid(), meta.gid()), (100_000, 200_000));
    assert_eq!(sn.stat("a").await.unwrap().labels[label::OVERLAY_UPPERDIR], fs(root, 1));
    sn.commit("c", "a", CommitOptions::default()).await.unwrap();
    // The owner of the tree's root goes on to the children.
    sn.prepare("b", "c", Labels::new()).await.unwrap();
    let meta = std::fs::metadata(fs(root, 2)).unwrap();
    assert_eq!((meta.uid(), meta.gid()), (100_000, 200_000));
    let bad = Labels::from([(label::UID_MAPPING.into(), "nonsense".into())]);
    assert!(sn.prepare("x", "", bad).await.is_err());
    assert_eq!(std::fs::read_dir(root.join("snapshots")).unwrap().count(), 2);
}

#[tokio::test]
async fn removal_is_deferred_unless_asked_for() {
    for sync_remove in [false, true] {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let options = OverlayOptions { sync_remove, ..OverlayOptions::default() };
        let sn = Overlay::open(root, options).await.unwrap();
        sn.prepare("a", "", Labels::new()).await.unwrap();
        sn.remove("a").await.unwrap();
        assert_eq!(Path::new(&fs(root, 1)).exists(), !sync_remove);
        sn.cleanup().await.unwrap();
        assert!(!root.join("snapshots/1").exists());
    }
}

#[tokio::test]
async fn reopening_keeps_records_and_never_reuses_numbers() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let before = {
        let sn = open(root.to_owned()).await;
        sn.prepare("a", "", Labels::new()).await.unwrap();
        sn.commit("c", "a", CommitOptions::default()).await.unwrap();
        sn.prepare("b", "c", Labels::new()).await.unwrap();
        sn.stat("c").await.unwrap()
    };
    // What a crash between directory and record leaves behind.
    std::fs::create_dir_all(root.join("snapshots/7/fs")).unwrap();
    let sn = open(root.to_owned()).await;
    assert_eq!(sn.stat("c").await.unwrap(), before);
    let m = sn.prepare("d", "", Labels::new()).await.unwrap();
    assert_eq!(m[0].source, fs(root, 8));
    sn.cleanup().await.unwrap();
    assert!(!root.join("snapshots/7").exists());
    assert!(root.join("snapshots/8").exists() && root.join("snapshots/2").exists());
}

#[test]
fn overlay_works_here() {
    let root = tempfile::tempdir().unwrap();
    supported(root.path()).unwrap();
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    // procfs cannot hold the directories that the trial needs.
    assert!(supported(Path::new("/proc/self/nothing")).is_err());
}
