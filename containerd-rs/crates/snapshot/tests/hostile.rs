//! Layers of an attacker, by the class of what went wrong in other daemons: see docs/behaviours/hostile.md.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod differ;

use std::fs;
use std::io::Cursor;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use base::oci::media_type;
use base::{ErrorKind, Kinded, Mount};
use rustix::fs::{CWD, Mode, OFlags, RenameFlags, open, renameat_with};
use snapshot::layer::{Hiding, LayerError, Rules, Target, apply};
use sys::mount::{UnmountFlags, mount, unmount};
use tar::EntryType;

use differ::{Scene, gzip, noise};

/// An archive in the making; names go in as they are.
struct Layer(tar::Builder<Vec<u8>>);

impl Layer {
    fn new() -> Self {
        Layer(tar::Builder::new(Vec::new()))
    }

    fn raw(mut self, name: &str, body: &[u8], change: impl FnOnce(&mut tar::Header)) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(body.len() as u64);
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        change(&mut header);
        header.set_cksum();
        self.0.append(&header, body).unwrap();
        self
    }

    fn put(self, kind: EntryType, name: &str, mode: u32, link: &str, body: &[u8]) -> Self {
        self.raw(name, body, |header| {
            header.set_entry_type(kind);
            header.set_mode(mode);
            header.as_gnu_mut().unwrap().linkname[..link.len()].copy_from_slice(link.as_bytes());
        })
    }

    fn file(self, name: &str, body: &str) -> Self {
        self.put(EntryType::Regular, name, 0o644, "", body.as_bytes())
    }

    fn dir(self, name: &str, mode: u32) -> Self {
        self.put(EntryType::Directory, name, mode, "", b"")
    }

    fn symlink(self, name: &str, to: &str) -> Self {
        self.put(EntryType::Symlink, name, 0o777, to, b"")
    }

    fn link(self, name: &str, to: &str) -> Self {
        self.put(EntryType::Link, name, 0o777, to, b"")
    }

    fn pax(mut self, records: &[(&str, &[u8])]) -> Self {
        self.0.append_pax_extensions(records.iter().copied()).unwrap();
        self
    }

    fn done(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

/// A root with something beside it that is not the layer's.
struct Beside {
    dir: tempfile::TempDir,
}

impl Beside {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["root", "outside"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        fs::write(dir.path().join("outside/secret"), "secret").unwrap();
        fs::set_permissions(dir.path().join("outside/secret"), fs::Permissions::from_mode(0o600)).unwrap();
        Beside { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn outside(&self) -> String {
        self.path("outside").display().to_string()
    }

    fn apply(&self, hiding: Hiding, bytes: &[u8]) -> Result<(), LayerError> {
        let result = apply_to(&self.path("root"), hiding, bytes);
        let meta = fs::symlink_metadata(self.path("outside/secret")).unwrap();
        assert_eq!(
            (meta.mode(), meta.nlink(), meta.uid(), meta.mtime() > 1_000_000_000),
            (0o100_600, 1, 0, true)
        );
        assert_eq!(fs::read(self.path("outside/secret")).unwrap(), b"secret");
        assert_eq!(fs::read_dir(self.path("outside")).unwrap().count(), 1);
        assert_eq!(fs::read_dir(self.dir.path()).unwrap().count(), 2);
        result
    }

    /// Both ways of hiding, from an empty root each.
    fn holds(&self, layer: impl Fn() -> Layer) {
        for hiding in [Hiding::Remove, Hiding::Overlay] {
            let _refused_or_inside = self.apply(hiding, &layer().done());
            sys::tree::Root::open_at(self.dir.path()).unwrap().remove_all("root").unwrap();
            fs::create_dir(self.path("root")).unwrap();
        }
    }
}

fn dir(path: &Path) -> OwnedFd {
    open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap()
}

fn rules(hiding: Hiding) -> Rules {
    let text = format!(
        r#"{{"whiteouts":{},"skip_devices":false,"limits":{{"entries":null,"bytes":null}}}}"#,
        serde_json::to_string(&hiding).unwrap()
    );
    serde_json::from_str(&text).unwrap()
}

fn apply_to(root: &Path, hiding: Hiding, bytes: &[u8]) -> Result<(), LayerError> {
    apply(Cursor::new(bytes), Target { root: dir(root), lowers: Vec::new() }, rules(hiding)).map(|_| ())
}

#[test]
fn traversal_by_name() {
    let beside = Beside::new();
    beside.holds(|| {
        let names = [
            "../outside/secret",
            "../../../../../../etc/hostile",
            "/../outside/x",
            "a/../../outside/y",
            "..",
            "../",
        ];
        names.iter().fold(Layer::new(), |layer, name| {
            layer.file(name, "mine").dir(name, 0o777).file(&format!("{name}/.wh.secret"), "")
        })
    });
    beside.holds(|| {
        Layer::new()
            .file("../outside/.wh.secret", "")
            .file("../outside/.wh..wh..opq", "")
            .file("../.wh.outside", "")
    });
    assert!(!Path::new("/etc/hostile").exists());
}

#[test]
fn traversal_by_symbolic_link() {
    let beside = Beside::new();
    let outside = beside.outside();
    for to in
        [outside.as_str(), "../outside", "../../../../../../../../../../tmp", "/proc/self/cwd/../outside"]
    {
        beside.holds(|| {
            Layer::new()
                .symlink("l", to)
                .file("l/secret", "mine")
                .dir("l/sub", 0o777)
                .file("l/.wh.secret", "")
                .file("l/.wh..wh..opq", "")
                .symlink("m", "l")
                .file("m/secret", "mine")
        });
    }
}

#[test]
fn traversal_by_hard_link() {
    let beside = Beside::new();
    let secret = format!("{}/secret", beside.outside());
    for to in [secret.as_str(), "../outside/secret", "l/secret", "l"] {
        beside.holds(|| {
            Layer::new()
                .symlink("l", "../outside")
                .link("h", to)
                .file("h", "through the link")
                .put(EntryType::Link, "h2", 0o4777, to, b"")
                .dir("h2", 0o777)
        });
    }
    // A hard link to a symbolic link is that link; writing it replaces it.
    beside.holds(|| Layer::new().symlink("s", &secret).link("h", "s").file("h", "mine").file("s", "mine"));
}

#[test]
fn cve_2021_32760_modes_owners_and_times_do_not_follow_links() {
    let beside = Beside::new();
    let secret = format!("{}/secret", beside.outside());
    beside.holds(|| {
        Layer::new()
            .put(EntryType::Symlink, "l", 0o4777, &secret, b"")
            .put(EntryType::Link, "l", 0o4777, "l", b"")
            .put(EntryType::Link, "h", 0o4777, "l", b"")
            .pax(&[("SCHILY.xattr.user.a", b"b"), ("mtime", b"1"), ("uid", b"7")])
            .put(EntryType::Symlink, "x", 0o4777, &secret, b"")
            .pax(&[("mtime", b"1"), ("uid", b"7")])
            .put(EntryType::Link, "y", 0o4777, "x", b"")
    });
}

/// Something swaps a directory of the root for a link to the outside, again and again, while a layer is applied there.
#[test]
fn cve_2025_47290_a_race_for_a_directory_leads_nowhere() {
    let beside = Beside::new();
    let root = beside.path("root");
    fs::create_dir(root.join("d")).unwrap();
    std::os::unix::fs::symlink(beside.outside(), root.join("swap")).unwrap();
    let stop = AtomicBool::new(false);
    let (one, other) = (root.join("d"), root.join("swap"));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let _gone = renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE);
            }
        });
        for round in 0..20 {
            let layer = (0..50).fold(Layer::new(), |layer, n| {
                layer
                    .file(&format!("d/f{round}-{n}"), "mine")
                    .put(EntryType::Directory, &format!("d/s{n}"), 0o777, "", b"")
                    .file("d/.wh.secret", "")
                    .link(&format!("d/h{round}-{n}"), "d/secret")
            });
            let _any = beside.apply(Hiding::Remove, &layer.done());
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn device_numbers_out_of_range_are_refused() {
    for (major, minor) in [("0010000", "0000000"), ("0000001", "4000000"), ("7777777", "7777777")] {
        let layer = Layer::new().raw("dev", b"", |header| {
            header.set_entry_type(EntryType::Char);
            let gnu = header.as_gnu_mut().unwrap();
            gnu.dev_major[..7].copy_from_slice(major.as_bytes());
            gnu.dev_minor[..7].copy_from_slice(minor.as_bytes());
        });
        let beside = Beside::new();
        // The kernel would cut them, and make another device.
        let e = beside.apply(Hiding::Remove, &layer.done()).unwrap_err();
        assert!(matches!(e, LayerError::Malformed(_)), "{e}");
        assert!(!beside.path("root/dev").exists());
    }
}

#[test]
fn devices_and_set_id_programs_stay_where_they_are_put() {
    let beside = Beside::new();
    let layer = || {
        Layer::new()
            .symlink("dev", "../outside")
            .raw("dev/null", b"", |header| {
                header.set_entry_type(EntryType::Char);
                header.set_device_major(1).unwrap();
                header.set_device_minor(3).unwrap();
            })
            .put(EntryType::Regular, "dev/su", 0o6777, "", b"#!/bin/sh")
            .put(EntryType::Link, "dev/secret", 0o6777, "dev/su", b"")
    };
    beside.holds(layer);
    // The owner is set before the mode: a set-id bit never belongs to the wrong one.
    let owned = Layer::new().raw("su", b"x", |header| {
        header.set_mode(0o4755);
        header.set_uid(1234);
    });
    beside.apply(Hiding::Remove, &owned.done()).unwrap();
    let meta = fs::metadata(beside.path("root/su")).unwrap();
    assert_eq!((meta.uid(), meta.mode() & 0o7777), (1234, 0o4755));
}

#[test]
fn numbers_that_overflow_are_refused() {
    let huge = b"99999999999999999999999999";
    let nearly = b"9223372036854775807";
    for records in [
        &[("size", &huge[..])][..],
        &[("size", b"-1")],
        &[("uid", huge)],
        &[("uid", b"4294967295")],
        &[("uid", b"4294967296")],
        &[("gid", b"18446744073709551616")],
        &[("mtime", huge)],
        &[
            ("GNU.sparse.major", b"0"),
            ("GNU.sparse.minor", b"1"),
            ("GNU.sparse.map", b"9223372036854775807,9223372036854775807"),
            ("GNU.sparse.size", nearly),
        ],
        &[
            ("GNU.sparse.major", b"0"),
            ("GNU.sparse.minor", b"1"),
            ("GNU.sparse.map", b"0,18446744073709551615"),
            ("GNU.sparse.size", nearly),
        ],
        &[("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", huge)],
    ] {
        let beside = Beside::new();
        let layer = Layer::new().pax(records).file("f", "");
        let e = beside.apply(Hiding::Remove, &layer.done()).expect_err(&format!("{records:?}"));
        assert!(matches!(e, LayerError::Malformed(_)), "{records:?}: {e}");
    }
    for (at, len) in [(124, 12), (108, 8), (116, 8)] {
        // Base 256, all ones but the sign.
        let layer = Layer::new().raw("f", b"", |header| {
            header.as_mut_bytes()[at..at + len].fill(0xff);
            header.as_mut_bytes()[at] = 0x80 | 0x3f;
        });
        let beside = Beside::new();
        assert!(
            matches!(beside.apply(Hiding::Remove, &layer.done()), Err(LayerError::Malformed(_))),
            "field {at}"
        );
    }
}

#[test]
fn headers_bigger_than_they_may_be_are_refused() {
    let beside = Beside::new();
    let big = vec![b'x'; 2 << 20];
    let layer = Layer::new().pax(&[("comment", &big)]).file("f", "");
    assert!(matches!(beside.apply(Hiding::Remove, &layer.done()), Err(LayerError::Limit { .. })));
    // A name that is longer than a path may be is an error of one call, not a panic.
    let long = "d/".repeat(4000);
    let layer = Layer::new().pax(&[("path", long.as_bytes())]).file("f", "");
    let _refused = beside.apply(Hiding::Remove, &layer.done());
}

#[test]
fn many_entries_and_a_deep_tree() {
    // How the time grows with this is counted in src/layer/linear_tests.rs.
    let beside = Beside::new();
    let mut layer = Layer::new();
    let deep = "d/".repeat(45);
    for n in 0..5_000 {
        layer = layer.file(&format!("{deep}{n}"), "").file(&format!("{deep}.wh.{n}x"), "");
    }
    beside.apply(Hiding::Overlay, &layer.done()).unwrap();
    // Nothing is known of what is below: each whiteout is a device.
    assert_eq!(fs::read_dir(beside.path("root").join(&deep)).unwrap().count(), 10_000);
}

/// Zeros that inflate to more than a layer may have, in either packing.
#[tokio::test]
async fn decompression_bombs_end_at_the_limit() {
    let mut s = Scene::new();
    s.options.limits.bytes = Some(8 << 20);
    let zeros = vec![0; 64 << 20];
    let tar = Layer::new().raw("zeros", &zeros, |_| {}).done();
    for (media_type, bytes) in [
        (media_type::OCI_LAYER_GZIP, gzip(&tar)),
        (media_type::OCI_LAYER_ZSTD, zstd::encode_all(&tar[..], 1).unwrap()),
    ] {
        assert!(bytes.len() < 1 << 20);
        let layer = s.put(media_type, &bytes).await;
        let e = s.apply(&layer, &s.bind(media_type)).await.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::ResourceExhausted, "{}", base::chain(&e));
        assert!(base::chain(&e).contains("layer has more than 8388608 bytes"), "{}", base::chain(&e));
        let written = fs::metadata(s.root.path().join(media_type).join("zeros")).map_or(0, |m| m.len());
        assert!(written <= 8 << 20, "{written}");
    }
}

/// A frame that asks for a window of two gigabytes.
#[tokio::test]
async fn a_window_bigger_than_memory_fails_one_apply() {
    let s = Scene::new();
    // Magic number, no content size, window descriptor 21 << 3: 2^31 bytes; then a raw block.
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3];
    let tar = Layer::new().file("f", "body").done();
    let size = (tar.len() as u32) << 3 | 1;
    frame.extend_from_slice(&size.to_le_bytes()[..3]);
    frame.extend_from_slice(&tar);
    let layer = s.put(media_type::OCI_LAYER_ZSTD, &frame).await;
    let e = s.apply(&layer, &s.bind("d")).await.unwrap_err();
    assert!(base::chain(&e).contains("read layer"), "{}", base::chain(&e));
    let good = s.put(media_type::OCI_LAYER, &tar).await;
    s.apply(&good, &s.bind("e")).await.unwrap();
}

/// The file system that a layer is written to is not filled to the last byte.
#[tokio::test]
async fn a_layer_does_not_fill_the_file_system() {
    let s = Scene::new();
    let small = s.dir("small");
    mount(&Mount::new("tmpfs", "tmpfs", vec!["size=32m".into()]), &small).unwrap();
    let mut tar = Layer::new();
    for n in 0..64 {
        tar = tar.raw(&format!("f{n}"), &vec![n as u8; 1 << 20], |_| {});
    }
    let layer = s.put(media_type::OCI_LAYER_GZIP, &gzip(&tar.done())).await;
    let result = s.apply(&layer, &s.bind("small")).await;
    let left = rustix::fs::statvfs(&small).unwrap();
    unmount(&small, UnmountFlags::DETACH).unwrap();
    let e = result.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::ResourceExhausted);
    let said = base::chain(&e);
    assert!(said.contains("layer needs more bytes than the file system of the snapshots has"), "{said}");
    assert!(left.f_bfree > 0, "it is full");
}

/// An attacker's layer beside a good one: a worker that dies takes only its own apply with it.
#[tokio::test]
async fn a_layer_that_kills_its_worker_fails_alone() {
    let s = Scene::new();
    let good = s
        .put(media_type::OCI_LAYER_GZIP, &gzip(&Layer::new().raw("big", &noise(4 << 20), |_| {}).done()))
        .await;
    let mut starved = Scene::new();
    starved.options.memory = 1 << 20;
    let bad = starved.put(media_type::OCI_LAYER, &Layer::new().file("f", "").done()).await;
    let (failed, applied) = tokio::join!(async { starved.apply(&bad, &starved.bind("d")).await }, async {
        s.apply(&good, &s.bind("d")).await
    });
    let e = failed.unwrap_err();
    assert!(!base::chain(&e).is_empty());
    applied.unwrap();
    assert!(fs::read(s.root.path().join("d/big")).unwrap() == noise(4 << 20));
}
