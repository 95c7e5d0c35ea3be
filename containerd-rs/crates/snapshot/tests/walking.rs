//! The walking differ over a real content store, real workers and real mounts.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod differ;

use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use base::labels::UNCOMPRESSED;
use base::oci::media_type;
use base::{Descriptor, Digest, ErrorKind, Kinded, Labels, Mount};
use snapshot::overlay::{Overlay, OverlayOptions};
use snapshot::{ApplyOptions, CommitOptions, CompareOptions, Differ, Snapshotter};
use sys::mount::TempMount;

use differ::{Scene, gzip, noise, tar};

#[tokio::test]
async fn applies_every_packing_and_gives_the_diff_id() {
    let s = Scene::new();
    let small = tar(&[("etc/hosts", b"127.0.0.1"), ("a", b"b")]);
    let big = tar(&[("big", &noise(6 << 20)), ("a", b"b")]);
    for (i, plain) in [&small, &big].into_iter().enumerate() {
        for (media_type, bytes) in [
            (media_type::OCI_LAYER, plain.clone()),
            (media_type::OCI_LAYER_GZIP, gzip(plain)),
            (media_type::OCI_LAYER_ZSTD, zstd::encode_all(&plain[..], 3).unwrap()),
            (media_type::DOCKER_LAYER_GZIP, gzip(plain)),
            (media_type::DOCKER_LAYER, gzip(plain)),
        ] {
            // Unlike media types share bytes here, so the blob may be there already.
            let digest = Digest::sha256(&bytes);
            let layer = match s.content.info(&s.scope, &digest).await {
                Ok(_) => Descriptor::new(media_type, digest, bytes.len() as i64),
                Err(_) => s.put(media_type, &bytes).await,
            };
            let name = format!("{i}-{}", media_type.replace('/', "-"));
            let done = s.apply(&layer, &s.bind(&name)).await.unwrap();
            let wanted = Descriptor::new(media_type::OCI_LAYER, Digest::sha256(plain), plain.len() as i64);
            assert_eq!(done, wanted, "{media_type}");
            assert_eq!(std::fs::read_to_string(s.dir(&name).join("a")).unwrap(), "b");
        }
    }
    assert_eq!(
        std::fs::metadata(s.dir("1-application-vnd.oci.image.layer.v1.tar").join("big")).unwrap().len(),
        6 << 20
    );
    s.leaves_nothing();
}

#[tokio::test]
async fn progress_ends_at_the_size_of_the_layer() {
    let s = Scene::new();
    let layer = s.put(media_type::OCI_LAYER, &tar(&[("big", &noise(5 << 20))])).await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let options = ApplyOptions {
        sync_fs: true,
        progress: Some(Arc::new({
            let seen = Arc::clone(&seen);
            move |n| seen.lock().unwrap().push(n)
        })),
        payloads: BTreeMap::new(),
        ..ApplyOptions::default()
    };
    s.differ().apply(&s.scope, &layer, &s.bind("d"), options).await.unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!((seen.first(), seen.last()), (Some(&0), Some(&(layer.size as u64))));
    assert!(seen.is_sorted());
}

#[tokio::test]
async fn overlay_upper_directory_is_written_directly() {
    let s = Scene::new();
    let sn = Overlay::open(&s.root.path().join("overlayfs"), OverlayOptions::default()).await.unwrap();
    let base_layer =
        s.put(media_type::OCI_LAYER, &tar(&[("d/x", b"x"), ("d/y", b"y"), ("gone", b"g")])).await;
    let mounts = sn.prepare("a", "", Labels::new()).await.unwrap();
    s.apply(&base_layer, &mounts).await.unwrap();
    sn.commit("1", "a", CommitOptions::default()).await.unwrap();
    let mounts = sn.prepare("b", "1", Labels::new()).await.unwrap();
    let bytes = tar(&[(".wh.gone", b""), ("d/.wh..wh..opq", b""), ("d/z", b"z")]);
    let layer = s.put(media_type::OCI_LAYER_GZIP, &gzip(&bytes)).await;
    s.apply(&layer, &mounts).await.unwrap();
    let upper = s.root.path().join("overlayfs/snapshots/2/fs");
    let gone = std::fs::symlink_metadata(upper.join("gone")).unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    sn.commit("2", "b", CommitOptions::default()).await.unwrap();
    let view = sn.view("v", "2", Labels::new()).await.unwrap();
    let mount = TempMount::new(&view, &s.dir("tmp")).unwrap();
    let shown: Vec<_> =
        std::fs::read_dir(mount.path().join("d")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(shown, ["z"]);
    assert!(!mount.path().join("gone").exists());
    mount.close().unwrap();
    s.leaves_nothing();
}

#[tokio::test]
async fn anything_else_is_mounted_for_a_while() {
    let s = Scene::new();
    let (lower, upper, work) = (s.dir("lower"), s.dir("upper"), s.dir("work"));
    std::fs::write(lower.join("old"), "o").unwrap();
    let overlay = Mount::new(
        "overlay",
        "overlay",
        vec![
            format!("lowerdir={}", lower.display()),
            format!("upperdir={}", upper.display()),
            format!("workdir={}", work.display()),
        ],
    );
    // Two mounts: the second is the overlay bound again, so nothing can be written directly.
    let beside = Mount::new("tmpfs", "tmpfs", vec!["size=1m".into()]);
    let layer = s.put(media_type::OCI_LAYER, &tar(&[(".wh.old", b""), ("new", b"n")])).await;
    s.apply(&layer, &[beside, overlay]).await.unwrap();
    assert!(std::fs::symlink_metadata(upper.join("old")).unwrap().file_type().is_char_device());
    assert_eq!(std::fs::read_to_string(upper.join("new")).unwrap(), "n");
    s.leaves_nothing();
}

#[tokio::test]
async fn bad_layers_are_one_clear_error() {
    let s = Scene::new();
    let good = tar(&[("a", b"b")]);
    let packed = gzip(&good);
    for (what, media_type, bytes, kind) in [
        ("cut", media_type::OCI_LAYER_GZIP, packed[..packed.len() - 9].to_vec(), ErrorKind::Unknown),
        ("noise", media_type::OCI_LAYER_GZIP, noise(4096), ErrorKind::InvalidArgument),
        ("cut tar", media_type::OCI_LAYER, good[..700].to_vec(), ErrorKind::InvalidArgument),
        ("whiteout", media_type::OCI_LAYER, tar(&[("x/.wh..", b"")]), ErrorKind::InvalidArgument),
    ] {
        let layer = s.put(media_type, &bytes).await;
        let e = s.apply(&layer, &s.bind(what)).await.unwrap_err();
        assert_eq!(e.kind(), kind, "{what}: {}", base::chain(&e));
    }
    let odd =
        Descriptor { media_type: "application/x-odd".into(), ..s.put(media_type::OCI_LAYER, &good).await };
    assert_eq!(s.apply(&odd, &s.bind("d")).await.unwrap_err().kind(), ErrorKind::Unimplemented);
    let absent = Descriptor::new(media_type::OCI_LAYER, Digest::sha256(b"absent"), 1);
    assert_eq!(s.apply(&absent, &s.bind("d")).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn limits_hold() {
    let mut s = Scene::new();
    let layer =
        s.put(media_type::OCI_LAYER_GZIP, &gzip(&tar(&[("zeros", &vec![0; 8 << 20]), ("b", b"")]))).await;
    s.options.limits.bytes = Some(1 << 20);
    let e = s.apply(&layer, &s.bind("d")).await.unwrap_err();
    assert_eq!(
        (e.kind(), base::chain(&e)),
        (ErrorKind::ResourceExhausted, "layer has more than 1048576 bytes".into())
    );
    s.options.limits.bytes = None;
    s.options.limits.entries = Some(1);
    let e = s.apply(&layer, &s.bind("d")).await.unwrap_err();
    assert_eq!(base::chain(&e), "layer has more than 1 entries");
    // No worker can even start in so little.
    s.options.limits.entries = None;
    s.options.memory = 1 << 20;
    let e = s.apply(&layer, &s.bind("d")).await.unwrap_err();
    assert!(!base::chain(&e).is_empty());
}

/// A change to a committed tree, as a container would make it.
async fn changed(s: &Scene) -> (Overlay, Vec<Mount>, Vec<Mount>) {
    let sn = Overlay::open(&s.root.path().join("overlayfs"), OverlayOptions::default()).await.unwrap();
    let layer =
        s.put(media_type::OCI_LAYER, &tar(&[("d/x", b"x"), ("d/y", b"y"), ("e/z", b"z"), ("f", b"f")])).await;
    let mounts = sn.prepare("a", "", Labels::new()).await.unwrap();
    s.apply(&layer, &mounts).await.unwrap();
    sn.commit("1", "a", CommitOptions::default()).await.unwrap();
    let lower = sn.view("lower", "1", Labels::new()).await.unwrap();
    let upper = sn.prepare("upper", "1", Labels::new()).await.unwrap();
    let mount = TempMount::new(&upper, &s.dir("tmp")).unwrap();
    let at = |p: &str| mount.path().join(p);
    std::fs::write(at("d/x"), "changed").unwrap();
    std::fs::remove_dir_all(at("e")).unwrap();
    std::fs::create_dir(at("e")).unwrap();
    std::fs::write(at("e/new"), "n").unwrap();
    std::fs::set_permissions(at("f"), std::fs::Permissions::from_mode(0o4755)).unwrap();
    mount.close().unwrap();
    (sn, lower, upper)
}

#[tokio::test]
async fn a_difference_applied_gives_the_same_tree() {
    let s = Scene::new();
    let (sn, lower, upper) = changed(&s).await;
    let differ = s.differ();
    for media_type in ["", media_type::OCI_LAYER, media_type::OCI_LAYER_ZSTD] {
        let options = CompareOptions { media_type: media_type.into(), ..CompareOptions::default() };
        let made = differ.compare(&s.scope, &lower, &upper, options).await.unwrap();
        let info = s.content.info(&s.scope, &made.digest).await.unwrap();
        assert_eq!(info.size as i64, made.size);
        let wanted = if media_type.is_empty() { media_type::OCI_LAYER_GZIP } else { media_type };
        assert_eq!(made.media_type, wanted);
        let key = format!("again{media_type}");
        let mounts = sn.prepare(&key, "1", Labels::new()).await.unwrap();
        let applied = s.apply(&made, &mounts).await.unwrap();
        match info.labels.get(UNCOMPRESSED) {
            Some(diff_id) => assert_eq!(diff_id, applied.digest.as_str()),
            None => assert_eq!((media_type, &made.digest), (media_type::OCI_LAYER, &applied.digest)),
        }
        let mount = TempMount::new(&mounts, &s.dir("tmp")).unwrap();
        let read = |p: &str| std::fs::read_to_string(mount.path().join(p));
        assert_eq!((read("d/x").unwrap(), read("d/y").unwrap()), ("changed".into(), "y".into()));
        assert!(read("e/z").is_err());
        assert_eq!(read("e/new").unwrap(), "n");
        assert_eq!(std::fs::metadata(mount.path().join("f")).unwrap().mode() & 0o7777, 0o4755);
        mount.close().unwrap();
    }
    assert!(s.content.statuses(&s.scope, &base::filter::FilterSet::all()).await.unwrap().is_empty());
    s.leaves_nothing();
}

#[tokio::test]
async fn the_short_way_over_the_upper_directory_tells_the_same() {
    let s = Scene::new();
    let (_sn, lower, upper) = changed(&s).await;
    let plain = || CompareOptions { media_type: media_type::OCI_LAYER.into(), ..CompareOptions::default() };
    let short = s.differ().compare(&s.scope, &lower, &upper, plain()).await.unwrap();
    // The same lower tree in other words: both trees are walked whole.
    let mut other = lower.clone();
    other[0].options.push("bind".into());
    other[0].source.push('/');
    let long = s.differ().compare(&s.scope, &other, &upper, plain()).await.unwrap();
    assert_eq!(short, long);
}

#[tokio::test]
async fn differences_keep_to_the_epoch_and_their_reference() {
    let s = Scene::new();
    let (_sn, lower, upper) = changed(&s).await;
    let count = AtomicU64::new(0);
    let options = || CompareOptions {
        media_type: media_type::OCI_LAYER.into(),
        reference: format!("ref-{}", count.fetch_add(1, Ordering::Relaxed)),
        labels: Labels::from([("mine".into(), "1".into())]),
        source_date_epoch: Some(UNIX_EPOCH + Duration::from_secs(1_000_000_000)),
    };
    let first = s.differ().compare(&s.scope, &lower, &upper, options()).await.unwrap();
    let second = s.differ().compare(&s.scope, &lower, &upper, options()).await.unwrap();
    assert_eq!(first, second);
    let info = s.content.info(&s.scope, &first.digest).await.unwrap();
    assert_eq!(info.labels["mine"], "1");
    let bytes = s.content.open(&s.scope, &first.digest).await.unwrap().read_all(1 << 20).await.unwrap();
    for entry in tar::Archive::new(&bytes[..]).entries().unwrap() {
        assert!(entry.unwrap().header().mtime().unwrap() <= 1_000_000_000);
    }
    let odd = CompareOptions { media_type: "application/x-odd".into(), ..CompareOptions::default() };
    let e = s.differ().compare(&s.scope, &lower, &upper, odd).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unimplemented);
}
