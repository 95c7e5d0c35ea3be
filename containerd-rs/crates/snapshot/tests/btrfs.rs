//! The btrfs snapshotter on a real btrfs: the contract, the mounts that it gives, and what a crash leaves.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod contract;

use std::path::PathBuf;
use std::sync::Arc;

use base::{ErrorKind, Kinded, Labels};
use contract::disk::Disk;
use contract::scene::Traits;
use snapshot::{CommitOptions, Snapshotter};

async fn open(root: PathBuf) -> Arc<dyn Snapshotter> {
    Arc::new(snapshot::btrfs::open(&root).await.unwrap())
}

contract!(open, Traits::DIRECTORIES, Disk::btrfs);

#[tokio::test]
async fn mounts_are_as_clients_expect() {
    let disk = Disk::btrfs();
    let root = disk.path().join("root");
    let sn = open(root.clone()).await;
    let m = sn.prepare("a", "", Labels::new()).await.unwrap();
    let device = sys::mount::lookup(&root).unwrap().source;
    let id = sys::btrfs::subvolume_id(&root.join("active/1")).unwrap();
    assert_eq!((m[0].fstype.as_str(), &m[0].source), ("btrfs", &device));
    assert_eq!(m[0].options, [format!("subvolid={id}")]);
    sn.commit("c", "a", CommitOptions::default()).await.unwrap();
    assert!(root.join("snapshots/1").exists() && !root.join("active/1").exists());
    let m = sn.view("v", "c", Labels::new()).await.unwrap();
    let id = sys::btrfs::subvolume_id(&root.join("view/2")).unwrap();
    assert_eq!(m[0].options, [format!("subvolid={id}"), "ro".into()]);
}

#[tokio::test]
async fn elsewhere_it_is_skipped_with_the_reason() {
    let root = tempfile::tempdir().unwrap();
    let Err(refused) = snapshot::btrfs::open(root.path()).await else { panic!("not a btrfs") };
    assert_eq!(refused.kind(), ErrorKind::FailedPrecondition);
    let text = base::chain(&refused);
    assert!(text.ends_with("must be a btrfs filesystem to be used with the btrfs snapshotter"), "{text}");
}

#[tokio::test]
async fn what_a_crash_leaves_is_cleaned_and_commits_are_done_again() {
    let disk = Disk::btrfs();
    let root = disk.path().join("root");
    {
        let sn = open(root.clone()).await;
        sn.prepare("a", "", Labels::new()).await.unwrap();
        sn.prepare("b", "", Labels::new()).await.unwrap();
        sn.commit("c", "b", CommitOptions::default()).await.unwrap();
    }
    // A commit of `a` that got as far as the snapshot, one of `b` that did not get to delete, a prepare without its record.
    sys::btrfs::snapshot(&root.join("active/1"), &root.join("snapshots/1"), true).unwrap();
    sys::btrfs::snapshot(&root.join("snapshots/2"), &root.join("active/2"), false).unwrap();
    sys::btrfs::create_subvolume(&root.join("active/7")).unwrap();
    let sn = open(root.clone()).await;
    sn.cleanup().await.unwrap();
    let list = |name: &str| {
        let entries = std::fs::read_dir(root.join(name)).unwrap();
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!((list("active"), list("snapshots")), (vec!["1".to_owned()], vec!["2".to_owned()]));
    sys::btrfs::snapshot(&root.join("active/1"), &root.join("snapshots/1"), true).unwrap();
    sn.commit("d", "a", CommitOptions::default()).await.unwrap();
    sn.prepare("e", "d", Labels::new()).await.unwrap();
    assert_eq!(list("active"), ["8"]);
}

#[tokio::test]
async fn subvolumes_of_a_container_go_with_it() {
    let disk = Disk::btrfs();
    let root = disk.path().join("root");
    let sn = open(root.clone()).await;
    sn.prepare("a", "", Labels::new()).await.unwrap();
    std::fs::create_dir(root.join("active/1/dir")).unwrap();
    sys::btrfs::create_subvolume(&root.join("active/1/dir/nested")).unwrap();
    sys::btrfs::create_subvolume(&root.join("active/1/dir/nested/more")).unwrap();
    sn.remove("a").await.unwrap();
    assert_eq!(std::fs::read_dir(root.join("active")).unwrap().count(), 0);
}
