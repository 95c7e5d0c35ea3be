#![allow(clippy::unwrap_used, clippy::expect_used)]
//! Real directories and real kernels: these tests run as root.

use std::fs;
use std::io::Cursor;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::{Mode, OFlags, lgetxattr, open};
use tar::{Builder, EntryType, Header};

use super::*;

const DIR: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);

/// An archive in the making.
pub(super) struct Tar(Builder<Vec<u8>>);

impl Tar {
    pub(super) fn new() -> Self {
        Tar(Builder::new(Vec::new()))
    }

    pub(super) fn put(
        mut self,
        kind: EntryType,
        name: &str,
        mode: u32,
        link: Option<&str>,
        body: &[u8],
    ) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(body.len() as u64);
        header.set_mtime(1_000_000_000);
        // Written raw: the builder refuses the names that matter here.
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        if let Some(link) = link {
            header.as_gnu_mut().unwrap().linkname[..link.len()].copy_from_slice(link.as_bytes());
        }
        header.set_cksum();
        self.0.append(&header, body).unwrap();
        self
    }

    pub(super) fn file(self, name: &str, body: &str) -> Self {
        self.put(EntryType::Regular, name, 0o644, None, body.as_bytes())
    }
    pub(super) fn dir(self, name: &str) -> Self {
        self.put(EntryType::Directory, name, 0o750, None, b"")
    }
    pub(super) fn symlink(self, name: &str, to: &str) -> Self {
        self.put(EntryType::Symlink, name, 0o777, Some(to), b"")
    }
    pub(super) fn hardlink(self, name: &str, to: &str) -> Self {
        self.put(EntryType::Link, name, 0o644, Some(to), b"")
    }
    pub(super) fn pax(mut self, records: &[(&str, &[u8])]) -> Self {
        self.0.append_pax_extensions(records.iter().map(|(k, v)| (*k, *v))).unwrap();
        self
    }
    pub(super) fn done(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

pub(super) fn run(
    root: &Path,
    lowers: &[&Path],
    hiding: Hiding,
    bytes: &[u8],
) -> Result<Applied, LayerError> {
    let open = |p: &Path| open(p, DIR, Mode::empty()).unwrap();
    let target = Target { root: open(root), lowers: lowers.iter().map(|p| open(p)).collect() };
    let rules = Rules {
        whiteouts: hiding,
        skip_devices: false,
        apart: false,
        limits: Limits { entries: None, bytes: None },
    };
    apply(Cursor::new(bytes), target, rules).map(|(applied, _)| applied)
}

pub(super) fn plain(root: &Path, tar: Tar) -> Result<Applied, LayerError> {
    run(root, &[], Hiding::Remove, &tar.done())
}

pub(super) fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

pub(super) fn is_whiteout(path: &Path) -> bool {
    let meta = fs::symlink_metadata(path).unwrap();
    meta.file_type().is_char_device() && meta.rdev() == 0
}

pub(super) fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 1024];
    lgetxattr(path, name, &mut value).ok().map(|n| value[..n].to_vec())
}

#[test]
fn makes_every_kind() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let tar = Tar::new()
        .dir("etc/")
        .file("etc/hosts", "127.0.0.1 localhost\n")
        .put(EntryType::Regular, "su", 0o4755, None, b"x")
        .symlink("etc/link", "hosts")
        .hardlink("same", "etc/hosts")
        .put(EntryType::Fifo, "pipe", 0o600, None, b"")
        .file("./deep/er/file", "in parents that are not listed");
    assert_eq!(plain(root, tar).unwrap().entries, 7);
    assert_eq!(fs::read_to_string(root.join("etc/link")).unwrap(), "127.0.0.1 localhost\n");
    assert_eq!(fs::metadata(root.join("same")).unwrap().nlink(), 2);
    assert_eq!(fs::metadata(root.join("su")).unwrap().permissions().mode() & 0o7777, 0o4755);
    assert!(fs::metadata(root.join("pipe")).unwrap().file_type().is_fifo());
    assert_eq!(fs::metadata(root.join("etc")).unwrap().permissions().mode() & 0o7777, 0o750);
    assert_eq!(fs::metadata(root.join("deep/er")).unwrap().permissions().mode() & 0o7777, 0o755);
    // The time of a directory survives what was made in it.
    assert_eq!(fs::metadata(root.join("etc")).unwrap().mtime(), 1_000_000_000);
}

#[test]
fn replaces_all_but_directories() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    fs::create_dir_all(root.join("d/inner")).unwrap();
    fs::write(root.join("d/old"), "old").unwrap();
    fs::create_dir_all(root.join("gone/with/all")).unwrap();
    fs::write(root.join("f"), "file").unwrap();
    symlink("/nowhere", root.join("l")).unwrap();
    let tar = Tar::new().dir("d").file("gone", "now a file").dir("f").file("l", "not through the link");
    plain(root, tar).unwrap();
    assert_eq!(names(&root.join("d")), ["inner", "old"]);
    assert_eq!(fs::read_to_string(root.join("gone")).unwrap(), "now a file");
    assert!(fs::metadata(root.join("f")).unwrap().is_dir());
    assert!(fs::symlink_metadata(root.join("l")).unwrap().is_file());
}

#[test]
fn nothing_gets_out() {
    let outer = tempfile::tempdir().unwrap();
    let (root, outside) = (outer.path().join("root"), outer.path().join("outside"));
    fs::create_dir_all(&root).unwrap();
    fs::create_dir_all(&outside).unwrap();
    fs::write(outside.join("secret"), "s").unwrap();
    let abs = outside.to_str().unwrap();
    let tar = Tar::new()
        .file("../../outside/a", "1")
        .file(&format!("{abs}/b"), "2")
        .symlink("up", "../outside")
        .file("up/c", "3")
        .symlink("abs", abs)
        .file("abs/d", "4")
        .symlink("loop/x", "../../../../../../outside")
        .file("loop/x/e", "5")
        .put(EntryType::Regular, "up/.wh.secret", 0, None, b"")
        .put(EntryType::Directory, "abs", 0o777, None, b"");
    plain(&root, tar).unwrap();
    assert_eq!(names(&outside), ["secret"]);
    assert_eq!(fs::read_to_string(root.join("outside/c")).unwrap(), "3");
    assert_eq!(fs::read_to_string(root.join("outside/e")).unwrap(), "5");
    assert_eq!(fs::read_to_string(root.join(&abs[1..]).join("d")).unwrap(), "4");

    for link in ["../outside/secret", "/../outside/secret", &format!("{abs}/secret")] {
        let tar = Tar::new().hardlink("stolen", link);
        assert!(plain(&root, tar).is_err(), "{link}");
    }
    let through = Tar::new().symlink("way", abs).hardlink("stolen", "way/secret");
    assert!(plain(&root, through).is_err());
    assert!(!root.join("stolen").exists());
}

#[test]
fn endless_links_are_an_error() {
    let root = tempfile::tempdir().unwrap();
    let tar = Tar::new().symlink("a", "b").symlink("b", "a").file("a/x", "");
    assert!(matches!(plain(root.path(), tar), Err(LayerError::Write { .. })));
}

#[test]
fn bad_whiteouts_and_types_are_refused() {
    for name in [".wh.", "a/.wh..", "a/.wh..."] {
        let root = tempfile::tempdir().unwrap();
        let e = plain(root.path(), Tar::new().dir("a").file(name, "")).unwrap_err();
        assert!(matches!(e, LayerError::Malformed(_)), "{name}: {e}");
    }
    let root = tempfile::tempdir().unwrap();
    let e = plain(root.path(), Tar::new().put(EntryType::new(b'V'), "v", 0, None, b"")).unwrap_err();
    assert_eq!(e.to_string(), "invalid layer archive: unhandled tar header type 86");
}

fn lower_for_whiteouts(root: &Path) {
    fs::create_dir_all(root.join("dir/sub/leaf")).unwrap();
    fs::write(root.join("dir/file"), "lower").unwrap();
    fs::write(root.join("dir/sub/low"), "lower").unwrap();
    fs::write(root.join("top"), "lower").unwrap();
}

#[test]
fn whiteouts_remove() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    lower_for_whiteouts(root);
    plain(root, Tar::new().file(".wh.top", "").file("dir/.wh.sub", "").file("dir/.wh.absent", "")).unwrap();
    assert_eq!(names(root), ["dir"]);
    assert_eq!(names(&root.join("dir")), ["file"]);
}

#[test]
fn opaque_keeps_what_the_layer_brings_in_any_order() {
    // What the layer brings may be a listed file, an unlisted parent, or something in a directory
    // that only the lower layer has.
    for (before, after) in [(true, false), (false, true)] {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        lower_for_whiteouts(root);
        let add = |tar: Tar| tar.file("dir/new", "n").file("dir/made/x", "n").file("dir/sub/high", "n");
        let mut tar = Tar::new();
        if before {
            tar = add(tar);
        }
        tar = tar.file("dir/.wh..wh..opq", "");
        if after {
            tar = add(tar);
        }
        plain(root, tar).unwrap();
        assert_eq!(names(&root.join("dir")), ["made", "new", "sub"], "before: {before}");
        assert_eq!(names(&root.join("dir/sub")), ["high"]);
        assert!(root.join("top").exists());
    }
}

#[test]
fn a_layer_does_not_hide_its_own() {
    for whiteout_first in [true, false] {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        lower_for_whiteouts(root);
        let brings = |t: Tar| t.dir("dir").file("dir/mine", "m").file("top", "mine");
        let hides = |t: Tar| t.file(".wh.dir", "").file(".wh.top", "");
        let tar = if whiteout_first { brings(hides(Tar::new())) } else { hides(brings(Tar::new())) };
        plain(root, tar).unwrap();
        assert_eq!(names(root), ["dir", "top"]);
        assert_eq!(names(&root.join("dir")), ["mine"]);
        assert_eq!(fs::read_to_string(root.join("top")).unwrap(), "mine");
    }
}

#[test]
fn overlay_whiteouts() {
    let (upper, lower) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (upper, lower) = (upper.path(), lower.path());
    lower_for_whiteouts(lower);
    fs::create_dir(lower.join("again")).unwrap();
    fs::set_permissions(lower.join("dir"), fs::Permissions::from_mode(0o1770)).unwrap();
    std::os::unix::fs::chown(lower.join("dir"), Some(5), Some(6)).unwrap();
    rustix::fs::lsetxattr(lower.join("dir"), "user.note", b"low", rustix::fs::XattrFlags::empty()).unwrap();
    let tar = Tar::new()
        .file("dir/.wh.sub", "")
        .file(".wh.top", "")
        .file(".wh.top", "")
        .file("opaque/.wh..wh..opq", "")
        .file(".wh.absent", "")
        .file("opaque/.wh.absent", "")
        .file(".wh.again", "")
        .dir("again")
        .file("again/x", "");
    run(upper, &[lower], Hiding::Overlay, &tar.done()).unwrap();
    assert!(is_whiteout(&upper.join("dir/sub")));
    assert!(is_whiteout(&upper.join("top")));
    // Where there is nothing to hide a device would only be in the way.
    assert!(!upper.join("absent").exists() && names(&upper.join("opaque")).is_empty());
    assert_eq!(xattr(&upper.join("opaque"), OVERLAY_OPAQUE).unwrap(), b"y");
    assert_eq!(xattr(&upper.join("again"), OVERLAY_OPAQUE).unwrap(), b"y");
    assert!(lower.join("dir/sub/low").exists());
    // A parent that is not listed looks like the lower one.
    let made = fs::metadata(upper.join("dir")).unwrap();
    assert_eq!((made.uid(), made.gid(), made.permissions().mode() & 0o7777), (5, 6, 0o1770));
    assert_eq!(xattr(&upper.join("dir"), "user.note").unwrap(), b"low");
    assert_eq!(made.mtime(), fs::metadata(lower.join("dir")).unwrap().mtime());
}

#[test]
fn long_names_pax_and_attributes() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(200));
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let tar = Tar::new()
        .pax(&[("path", long.as_bytes()), ("size", b"5"), ("uid", b"3000000"), ("mtime", b"1234567890.5")])
        .put(EntryType::Regular, "short", 0o600, None, b"hello")
        .pax(&[
            ("SCHILY.xattr.user.note", b"value"),
            ("SCHILY.xattr.security.capability", &capability),
            ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
        ])
        .file("caps", "x")
        .pax(&[("SCHILY.xattr.user.note", b"value")])
        .symlink("link", "caps");
    plain(root, tar).unwrap();
    let meta = fs::metadata(root.join(&long)).unwrap();
    assert_eq!(
        (meta.len(), meta.uid(), meta.mtime(), meta.mtime_nsec()),
        (5, 3_000_000, 1_234_567_890, 500_000_000)
    );
    let caps = root.join("caps");
    assert_eq!(xattr(&caps, "user.note").unwrap(), b"value");
    assert_eq!(xattr(&caps, "security.capability").unwrap(), capability);
    assert_eq!(xattr(&caps, OVERLAY_OPAQUE), None);
    assert!(root.join("link").symlink_metadata().unwrap().is_symlink());
}

#[test]
fn gnu_long_names() {
    let root = tempfile::tempdir().unwrap();
    let name = format!("{}/{}", "x".repeat(100), "y".repeat(100));
    let mut builder = Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_size(2);
    header.set_mode(0o644);
    builder.append_data(&mut header, &name, &b"ok"[..]).unwrap();
    let bytes = builder.into_inner().unwrap();
    run(root.path(), &[], Hiding::Remove, &bytes).unwrap();
    assert_eq!(fs::read_to_string(root.path().join(name)).unwrap(), "ok");
}

#[test]
fn holes() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let size = b"1048576";
    let mut data = vec![0u8; 512];
    data[..12].copy_from_slice(b"1\n1048000\n4\n");
    data.extend_from_slice(b"tail");
    let tar = Tar::new()
        .pax(&[("GNU.sparse.map", b"0,2,1048574,2"), ("GNU.sparse.size", size), ("GNU.sparse.name", b"one")])
        .put(EntryType::Regular, "GNUSparseFile.0/one", 0o644, None, b"abyz")
        .pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.realsize", size),
            ("GNU.sparse.name", b"two"),
        ])
        .put(EntryType::Regular, "GNUSparseFile.0/two", 0o644, None, &data)
        .file("after", "in step");
    plain(root, tar).unwrap();
    let one = fs::read(root.join("one")).unwrap();
    assert_eq!((one.len(), &one[..3], &one[1_048_573..]), (1_048_576, &b"ab\0"[..], &b"\0yz"[..]));
    let two = fs::read(root.join("two")).unwrap();
    assert_eq!((two.len(), &two[1_048_000..1_048_005]), (1_048_576, &b"tail\0"[..]));
    assert_eq!(fs::read_to_string(root.join("after")).unwrap(), "in step");
    assert!(fs::metadata(root.join("one")).unwrap().blocks() < 64);

    for map in [&b"0,2"[..], b"0,9,4,2", b"2,2,0,2", b"0,2,1048575,2", b"x"] {
        let tar = Tar::new().pax(&[("GNU.sparse.map", map), ("GNU.sparse.size", size)]).put(
            EntryType::Regular,
            "bad",
            0o644,
            None,
            b"abyz",
        );
        assert!(matches!(plain(root, tar), Err(LayerError::Malformed(_))), "{map:?}");
    }
}

#[test]
fn devices() {
    let root = tempfile::tempdir().unwrap();
    let device = |major: u32, minor: u32| {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Char);
        header.set_path("null").unwrap();
        header.set_mode(0o666);
        header.set_size(0);
        header.set_device_major(major).unwrap();
        header.set_device_minor(minor).unwrap();
        header
    };
    let mut good = device(1, 3);
    good.set_cksum();
    let mut builder = Builder::new(Vec::new());
    builder.append(&good, &b""[..]).unwrap();
    run(root.path(), &[], Hiding::Remove, &builder.into_inner().unwrap()).unwrap();
    let meta = fs::metadata(root.path().join("null")).unwrap();
    assert_eq!((meta.rdev(), meta.permissions().mode() & 0o777), (rustix::fs::makedev(1, 3), 0o666));

    let mut bad = device(0, 0);
    bad.as_ustar_mut().unwrap().dev_major = [0x80, 0, 0, 1, 0, 0, 0, 1];
    bad.set_cksum();
    let mut builder = Builder::new(Vec::new());
    builder.append(&bad, &b""[..]).unwrap();
    let e = run(root.path(), &[], Hiding::Remove, &builder.into_inner().unwrap()).unwrap_err();
    assert!(e.to_string().contains("out of range"), "{e}");
}

#[test]
fn broken_archives() {
    let good = Tar::new().file("a", "body").file("b", "body").done();
    let root = tempfile::tempdir().unwrap();
    let mut sum = good.clone();
    sum[0] = b'z';
    let cut = &good[..512 + 100];
    let header_cut = &good[..1024 + 50];
    for bad in [&sum[..], cut, header_cut, &good[..10], &[7u8; 4096][..]] {
        assert!(matches!(run(root.path(), &[], Hiding::Remove, bad), Err(LayerError::Malformed(_))));
    }
    // An archive may end without its marker, and an empty one is none at all.
    run(root.path(), &[], Hiding::Remove, &good[..2048]).unwrap();
    run(root.path(), &[], Hiding::Remove, b"").unwrap();
    let huge = Tar::new().pax(&[("size", b"99999999999999999999")]).file("x", "").done();
    assert!(run(root.path(), &[], Hiding::Remove, &huge).is_err());
    let limited = Rules {
        whiteouts: Hiding::Remove,
        skip_devices: false,
        apart: false,
        limits: Limits { entries: Some(1), bytes: None },
    };
    let target = Target { root: open(root.path(), DIR, Mode::empty()).unwrap(), lowers: Vec::new() };
    assert!(matches!(apply(Cursor::new(good), target, limited), Err(LayerError::Limit { limit: 1, .. })));
}

#[test]
fn deeper_than_descriptors() {
    // A tree much deeper than a path can name, removed by one whiteout.
    let root = tempfile::tempdir().unwrap();
    let mut at = open(root.path(), DIR, Mode::empty()).unwrap();
    for _ in 0..3000 {
        rustix::fs::mkdirat(&at, "d", Mode::from_raw_mode(0o700)).unwrap();
        at = rustix::fs::openat(&at, "d", DIR, Mode::empty()).unwrap();
    }
    drop(at);
    plain(root.path(), Tar::new().file(".wh.d", "")).unwrap();
    assert!(names(root.path()).is_empty());
}
