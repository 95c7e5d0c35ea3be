//! The pool with a program that notes what it is asked and keeps, in files, what a pool would: which devices there are, and which of
//! them are active. There is no device mapper behind it, so nothing is mounted.

use std::os::unix::fs::PermissionsExt;

use base::labels::snapshot as label;
use base::{Kinded, Labels};

use super::*;
use crate::info::CommitOptions;
use crate::snapshotter::Snapshotter;

const SCRIPT: &str = r#"#!/bin/sh
cd "$(dirname "$0")" || exit 1
echo "$*" >> log
fail() { echo "device-mapper: $1 ioctl on x  failed: $2" >&2; echo "Command failed." >&2; exit 1; }
case "$1" in
version) echo "Library version: 1.02.205" ;;
info) echo pool; ls active ;;
message)
  set -- $4
  case "$1" in
  delete) [ -e "thin/$2" ] || fail message "No data available"; rm "thin/$2" ;;
  *) [ -e "thin/$2" ] && fail message "File exists"; touch "thin/$2" ;;
  esac ;;
create) touch "active/$2" ;;
remove) name=$(basename "$4"); [ -e "active/$name" ] || { echo "Device $4 not found" >&2; exit 1; }; rm "active/$name" ;;
status) echo "0 2048 thin 384 2047" ;;
esac
"#;

struct World {
    directory: tempfile::TempDir,
    dmsetup: Dmsetup,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("dmsetup");
        std::fs::write(&program, SCRIPT).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["thin", "active"] {
            std::fs::create_dir(directory.path().join(name)).unwrap();
        }
        let dmsetup =
            Dmsetup { program: program.display().to_string(), directory: directory.path().join("active") };
        World { directory, dmsetup }
    }

    fn pool(&self) -> Pool {
        let devices = Devices::open(&self.directory.path().join("pool.db")).unwrap();
        Pool { dmsetup: self.dmsetup.clone(), devices, options: options() }
    }

    fn list(&self, name: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.directory.path().join(name)).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn log(&self) -> Vec<String> {
        let path = self.directory.path().join("log");
        let log = std::fs::read_to_string(&path).unwrap_or_default();
        let _ = std::fs::remove_file(path);
        log.lines().filter(|line| !line.starts_with("info")).map(str::to_owned).collect()
    }
}

fn options() -> DevmapperOptions {
    DevmapperOptions {
        pool_name: "pool".into(),
        base_image_size: 1 << 20,
        fs_type: "ext4".into(),
        ..DevmapperOptions::default()
    }
}

/// A snapshot without a parent would need a device to make a file system on: it is put there by hand.
fn first(pool: &Pool, id: u64) {
    pool.devices.add(id, "xfs").unwrap();
    pool.dmsetup.create_thin("pool", pool.devices.get(id).unwrap().unwrap().device).unwrap();
}

#[tokio::test]
async fn the_life_of_a_device() {
    let world = World::new();
    let pool = world.pool();
    let root = world.directory.path().display().to_string();
    tokio::task::spawn_blocking(move || {
        use crate::backend::Chain;
        use crate::info::Kind;
        use crate::volume::Storage;
        first(&pool, 1);
        world.log();
        let chain = Chain { kind: Kind::Active, id: 2, parents: vec![1] };
        pool.create(&chain, &Labels::new()).unwrap();
        let mounts = pool.mounts(&chain, &Labels::new()).unwrap();
        assert_eq!(
            mounts,
            [base::Mount::new("xfs", format!("{root}/active/pool-snap-2"), vec!["nouuid".into()])]
        );
        assert_eq!(pool.usage(2, Some(1)).unwrap().size, 384 * 512);
        assert_eq!(pool.labels(2)[label::DEVMAPPER_FSTYPE], "xfs");
        pool.seal(2).unwrap();
        pool.sealed(2).unwrap();
        let view = Chain { kind: Kind::View, id: 3, parents: vec![2, 1] };
        pool.create(&view, &Labels::new()).unwrap();
        assert_eq!(pool.mounts(&view, &Labels::new()).unwrap()[0].options, ["nouuid", "ro"]);
        pool.remove(3, None).unwrap();
        pool.remove(3, None).unwrap();
        pool.remove(2, None).unwrap();
        assert_eq!(
            world.log(),
            [
                "message pool 0 create_snap 2 1".to_owned(),
                format!("create pool-snap-2 --table 0 2048 thin {root}/active/pool 2"),
                "status pool-snap-2".to_owned(),
                "suspend pool-snap-2".to_owned(),
                "resume pool-snap-2".to_owned(),
                format!("remove --retry --deferred {root}/active/pool-snap-2"),
                "message pool 0 create_snap 3 2".to_owned(),
                format!("create pool-snap-3 --table 0 2048 thin {root}/active/pool 3"),
                format!("remove --retry --force {root}/active/pool-snap-3"),
                "message pool 0 delete 3".to_owned(),
                "message pool 0 delete 2".to_owned(),
            ]
        );
        assert_eq!((world.list("thin"), world.list("active").len()), (vec!["1".to_owned()], 0));
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn ids_of_others_are_avoided_and_crashes_cleaned_up_after() {
    let world = World::new();
    let root = world.directory.path().join("root");
    std::fs::create_dir(&root).unwrap();
    // Somebody else has device 2 of the pool.
    std::fs::write(world.directory.path().join("thin/2"), "").unwrap();
    let opened = |world: &World| {
        let (root, dmsetup) = (root.clone(), world.dmsetup.clone());
        async move { open_with(&root, options(), dmsetup).await.unwrap() }
    };
    {
        let sn = opened(&world).await;
        // The first one cannot be mounted here; what it leaves behind is nothing.
        assert!(sn.prepare("a", "", Labels::new()).await.is_err());
        assert_eq!((world.list("thin"), world.list("active").len()), (vec!["2".to_owned()], 0));
    }
    let (root_of, dmsetup) = (root.clone(), world.dmsetup.clone());
    tokio::task::spawn_blocking(move || {
        let devices = Devices::open(&root_of.join("pool.db")).unwrap();
        let pool = Pool { dmsetup, devices, options: options() };
        first(&pool, 7);
        use crate::volume::Storage;
        // A crash before the record of snapshot 8; number 2 of the pool turns out to be taken.
        let chain = crate::backend::Chain { kind: crate::info::Kind::Active, id: 8, parents: vec![7] };
        pool.create(&chain, &Labels::new()).unwrap();
        assert_eq!(pool.devices.get(8).unwrap().unwrap().device, 3);
        assert_eq!(pool.devices.add(9, "ext4").unwrap().device, 4);
    })
    .await
    .unwrap();
    assert_eq!(world.list("thin"), ["1", "2", "3"]);
    // As after a reboot: no device is active, until the next start.
    std::fs::remove_file(world.directory.path().join("active/pool-snap-8")).unwrap();
    let sn = opened(&world).await;
    assert_eq!(world.list("active"), ["pool-snap-8"]);
    sn.cleanup().await.unwrap();
    assert_eq!((world.list("thin"), world.list("active").len()), (vec!["2".to_owned()], 0));
}

#[tokio::test]
async fn what_is_missing_is_said() {
    let world = World::new();
    let root = world.directory.path().join("root");
    let refused = async |options: DevmapperOptions, dmsetup: Dmsetup| {
        let Err(e) = open_with(&root, options, dmsetup).await else { panic!("opened") };
        (e.kind(), base::chain(&e))
    };
    let none = Dmsetup { program: "/no/such/dmsetup".into(), ..world.dmsetup.clone() };
    assert_eq!(refused(options(), none).await.0, base::ErrorKind::NotFound);
    let other = DevmapperOptions { pool_name: "other".into(), ..options() };
    let (_, text) = refused(other, world.dmsetup.clone()).await;
    assert!(text.starts_with("failed to query pool \"other\""), "{text}");
    let odd = DevmapperOptions { fs_type: "ntfs".into(), ..options() };
    assert_eq!(refused(odd, world.dmsetup.clone()).await.1, "unsupported Filesystem Type: \"ntfs\"");
    let nothing = DevmapperOptions { base_image_size: 0, ..options() };
    assert_eq!(refused(nothing, world.dmsetup.clone()).await.1, "base_image_size is required");
}

#[tokio::test]
async fn removal_can_wait_for_the_cleanup() {
    for async_remove in [false, true] {
        let world = World::new();
        let root = world.directory.path().join("root");
        let made = DevmapperOptions { async_remove, ..options() };
        {
            // Snapshot 1, committed, whose device is there.
            let sn = crate::native::Native::open(&root).await.unwrap();
            sn.prepare("a", "", Labels::new()).await.unwrap();
            sn.commit("c", "a", CommitOptions::default()).await.unwrap();
        }
        let (root_of, dmsetup) = (root.clone(), world.dmsetup.clone());
        tokio::task::spawn_blocking(move || {
            let devices = Devices::open(&root_of.join("pool.db")).unwrap();
            first(&Pool { dmsetup, devices, options: options() }, 1);
        })
        .await
        .unwrap();
        let sn = open_with(&root, made, world.dmsetup.clone()).await.unwrap();
        sn.prepare("b", "c", Labels::new()).await.unwrap();
        assert_eq!(sn.stat("b").await.unwrap().labels[label::DEVMAPPER_FSTYPE], "xfs");
        sn.remove("b").await.unwrap();
        assert_eq!(world.list("active").len(), usize::from(async_remove));
        sn.cleanup().await.unwrap();
        assert_eq!((world.list("thin"), world.list("active").len()), (vec!["1".to_owned()], 0));
    }
}
