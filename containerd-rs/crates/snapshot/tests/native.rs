//! The native snapshotter: the contract, and that a copy is a copy.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod contract;

use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::PathBuf;
use std::sync::Arc;

use base::Labels;
use snapshot::native::Native;
use snapshot::{CommitOptions, Snapshotter};

async fn open(root: PathBuf) -> Arc<dyn Snapshotter> {
    Arc::new(Native::open(&root).await.unwrap())
}

contract!(open, contract::scene::Traits::DIRECTORIES);

#[tokio::test]
async fn copies_every_kind() {
    let root = tempfile::tempdir().unwrap();
    let sn = Native::open(root.path()).await.unwrap();
    let m = sn.prepare("a", "", Labels::new()).await.unwrap();
    assert_eq!((m[0].fstype.as_str(), m[0].options.join(",")), ("bind", "rbind,rw".into()));
    let from = PathBuf::from(&m[0].source);
    std::fs::create_dir(from.join("d")).unwrap();
    std::fs::write(from.join("d/f"), "body").unwrap();
    std::fs::hard_link(from.join("d/f"), from.join("same")).unwrap();
    symlink("/etc/passwd", from.join("link")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        from.join("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o640),
        0,
    )
    .unwrap();
    rustix::fs::lsetxattr(from.join("d/f"), "user.note", b"v", rustix::fs::XattrFlags::empty()).unwrap();
    std::fs::set_permissions(from.join("d/f"), std::os::unix::fs::PermissionsExt::from_mode(0o4755)).unwrap();
    sn.commit("c", "a", CommitOptions::default()).await.unwrap();
    let to = PathBuf::from(&sn.prepare("b", "c", Labels::new()).await.unwrap()[0].source);
    let meta = std::fs::metadata(to.join("d/f")).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.nlink()), (0o4755, 2));
    assert_eq!(meta.mtime_nsec(), std::fs::metadata(from.join("d/f")).unwrap().mtime_nsec());
    assert_eq!(meta.ino(), std::fs::metadata(to.join("same")).unwrap().ino());
    assert_ne!(meta.ino(), std::fs::metadata(from.join("same")).unwrap().ino());
    assert_eq!(std::fs::read_link(to.join("link")).unwrap(), PathBuf::from("/etc/passwd"));
    assert!(std::fs::symlink_metadata(to.join("pipe")).unwrap().file_type().is_fifo());
    let mut value = [0; 8];
    assert_eq!(rustix::fs::lgetxattr(to.join("d/f"), "user.note", &mut value).unwrap(), 1);
}
