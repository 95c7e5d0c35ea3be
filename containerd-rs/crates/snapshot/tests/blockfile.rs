//! The blockfile snapshotter with ext4 in loop devices: the contract, and the files and mounts that it gives.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod contract;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::{ErrorKind, Kinded, Labels, Mount};
use contract::scene::Traits;
use snapshot::blockfile::{self, BlockfileOptions};
use snapshot::{CommitOptions, Snapshotter};

/// An empty ext4 without `lost+found`.
fn scratch(directory: &Path) -> PathBuf {
    let image = directory.join("empty.img");
    std::fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
    contract::disk::format("ext4", &image);
    let mount = Mount::new("ext4", image.display().to_string(), vec!["loop".into()]);
    let mounted = sys::mount::TempMount::new(&[mount], directory).unwrap();
    std::fs::remove_dir(mounted.path().join("lost+found")).unwrap();
    mounted.close().unwrap();
    image
}

async fn open(root: PathBuf) -> Arc<dyn Snapshotter> {
    let options =
        BlockfileOptions { scratch_file: Some(scratch(root.parent().unwrap())), ..Default::default() };
    Arc::new(blockfile::open(&root, options).await.unwrap())
}

contract!(open, Traits { counts_files: false, ..Traits::DIRECTORIES });

#[tokio::test]
async fn files_and_mounts_are_as_clients_expect() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    let options = BlockfileOptions {
        scratch_file: Some(scratch(dir.path())),
        mount_options: vec!["noatime".into()],
        ..Default::default()
    };
    let sn = blockfile::open(&root, options).await.unwrap();
    let file = |id: u32| root.join(format!("snapshots/{id}")).display().to_string();
    let m = sn.prepare("a", "", Labels::new()).await.unwrap();
    assert_eq!((m[0].fstype.as_str(), &m[0].source), ("ext4", &file(1)));
    assert_eq!(m[0].options, ["noatime", "loop", "rw"]);
    sn.commit("c", "a", CommitOptions::default()).await.unwrap();
    let m = sn.view("v", "c", Labels::new()).await.unwrap();
    assert_eq!((&m[0].source, m[0].options.join(",")), (&file(1), "noatime,loop,ro".into()));
    assert!(!Path::new(&file(2)).exists());
    std::fs::write(file(9), "left by a crash").unwrap();
    sn.cleanup().await.unwrap();
    assert!(!Path::new(&file(9)).exists() && Path::new(&file(1)).exists());
}

#[tokio::test]
async fn without_a_scratch_file_it_is_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    let Err(refused) = blockfile::open(&root, BlockfileOptions::default()).await else {
        panic!("no scratch")
    };
    assert_eq!((refused.kind(), base::chain(&refused)), {
        (ErrorKind::FailedPrecondition, "no scratch file generator".into())
    });
    // One that is there is enough; one that is made again replaces it.
    std::fs::write(root.join("scratch"), "old").unwrap();
    blockfile::open(&root, BlockfileOptions::default()).await.unwrap();
    let fresh = dir.path().join("fresh");
    std::fs::write(&fresh, "new").unwrap();
    let mut options = BlockfileOptions { scratch_file: Some(fresh), ..Default::default() };
    drop(blockfile::open(&root, options.clone()).await.unwrap());
    assert_eq!(std::fs::read(root.join("scratch")).unwrap(), b"old");
    options.recreate_scratch = true;
    blockfile::open(&root, options).await.unwrap();
    assert_eq!(std::fs::read(root.join("scratch")).unwrap(), b"new");
}
