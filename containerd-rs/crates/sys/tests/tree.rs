//! Trees of an attacker: nothing leads out of the root.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use sys::Error;
use sys::tree::{Kind, OFlags, Root, Time};

struct Place {
    dir: tempfile::TempDir,
    root: Root,
}

impl Place {
    /// `rootfs` to work in, and beside it `outside` with a secret that must stay as it is.
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("rootfs")).unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        fs::write(dir.path().join("outside/secret"), "secret").unwrap();
        let root = Root::open_at(&dir.path().join("rootfs")).unwrap();
        Place { dir, root }
    }

    fn rootfs(&self) -> PathBuf {
        self.dir.path().join("rootfs")
    }

    fn outside(&self) -> PathBuf {
        self.dir.path().join("outside")
    }

    fn assert_outside_untouched(&self) {
        let names: Vec<_> = fs::read_dir(self.outside()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["secret"]);
        assert_eq!(fs::read(self.outside().join("secret")).unwrap(), b"secret");
        assert_eq!(fs::metadata(self.outside().join("secret")).unwrap().nlink(), 1);
        assert_eq!(fs::metadata(self.outside()).unwrap().uid(), 0);
    }
}

#[test]
fn symlinks_and_dots_stay_inside() {
    let place = Place::new();
    let (root, rootfs) = (&place.root, place.rootfs());
    let outside = place.outside();
    fs::create_dir_all(rootfs.join("etc")).unwrap();
    fs::write(rootfs.join("etc/passwd"), "inside").unwrap();
    symlink(&outside, rootfs.join("abs")).unwrap();
    symlink("../../../../../../../../etc", rootfs.join("rel")).unwrap();
    symlink("/etc/passwd", rootfs.join("passwd")).unwrap();
    symlink("/proc/self/root", rootfs.join("magic")).unwrap();
    symlink("loop", rootfs.join("loop")).unwrap();
    assert_eq!(root.read_bounded("passwd", 100).unwrap(), b"inside");
    assert_eq!(root.read_bounded("/../../../etc/passwd", 100).unwrap(), b"inside");
    assert_eq!(root.read_bounded("rel/passwd", 100).unwrap(), b"inside");
    assert!(root.read_bounded("abs/secret", 100).unwrap_err().is_not_found());
    assert!(root.read_bounded("magic/etc/hostname", 100).unwrap_err().is_not_found());
    assert!(root.read_bounded("loop", 100).unwrap_err().is_errno(Errno::LOOP));
    // Creating through them, too.
    assert!(root.entry("abs/new").unwrap_err().is_not_found());
    root.entry("rel/new").unwrap().create_file(0o644).unwrap();
    assert!(rootfs.join("etc/new").exists());
    root.entry("../../up").unwrap().create_file(0o644).unwrap();
    assert!(rootfs.join("up").exists());
    place.assert_outside_untouched();
}

#[test]
fn magic_links_are_refused() {
    // With the host's root as root, /proc is reachable: its magic links must not be walked through.
    let host = Root::open_at(Path::new("/")).unwrap();
    assert!(host.open("proc/self/status", OFlags::RDONLY).is_ok());
    let error = host.open("proc/self/root/etc", OFlags::RDONLY).unwrap_err();
    assert!(error.is_errno(Errno::LOOP), "{error:?}");
    let fd = fs::File::open("/dev/null").unwrap();
    let link = format!("proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
    assert!(host.open(link, OFlags::RDONLY).unwrap_err().is_errno(Errno::LOOP));
}

#[test]
fn the_last_name_is_never_followed() {
    let place = Place::new();
    let (root, rootfs) = (&place.root, place.rootfs());
    let secret = place.outside().join("secret");
    symlink(&secret, rootfs.join("link")).unwrap();
    let link = root.entry("link").unwrap();
    assert!(link.create_file(0o644).unwrap_err().is_errno(Errno::EXIST));
    assert!(link.open_file().unwrap_err().is_errno(Errno::INVAL));
    link.chown(1234, 4321).unwrap();
    link.set_times(None, Some(Time { secs: 99, nanos: 5 })).unwrap();
    assert!(link.chmod(0o777).unwrap_err().is_errno(Errno::OPNOTSUPP));
    link.set_xattr("trusted.x", b"1").unwrap();
    let meta = link.metadata().unwrap().unwrap();
    assert_eq!(
        (meta.kind, meta.uid, meta.gid, meta.modified),
        (Kind::Symlink, 1234, 4321, Time { secs: 99, nanos: 5 })
    );
    assert_eq!(link.read_link().unwrap(), secret);
    // A hard link to the symlink, not to the secret.
    root.link("link", "hard").unwrap();
    assert!(fs::symlink_metadata(rootfs.join("hard")).unwrap().is_symlink());
    root.remove_all("link").unwrap();
    place.assert_outside_untouched();
    assert_eq!(sys::xattr::get(&secret, "trusted.x").unwrap(), None);
}

#[test]
fn entries_carry_every_attribute() {
    let place = Place::new();
    let (root, rootfs) = (&place.root, place.rootfs());
    root.mkdir_all("usr/bin", 0o755).unwrap();
    let entry = root.entry("usr/bin/tool").unwrap();
    let mut file = entry.create_file(0o4755).unwrap();
    file.write_all(b"#!").unwrap();
    drop(file);
    entry.chown(10, 20).unwrap();
    assert_eq!(entry.metadata().unwrap().unwrap().mode, 0o755, "chown takes the set-user bit");
    entry.chmod(0o4755).unwrap();
    entry.set_xattr("user.note", b"hello").unwrap();
    entry.set_times(Some(Time { secs: -5, nanos: 1 }), Some(Time { secs: 1, nanos: 2 })).unwrap();
    let meta = entry.metadata().unwrap().unwrap();
    assert_eq!((meta.kind, meta.mode, meta.uid, meta.gid, meta.size), (Kind::File, 0o4755, 10, 20, 2));
    assert_eq!((meta.accessed.secs, meta.modified), (-5, Time { secs: 1, nanos: 2 }));
    assert_eq!(entry.xattr("user.note").unwrap().unwrap(), b"hello");
    assert_eq!(entry.xattrs().unwrap(), ["user.note"]);
    entry.remove_xattr("user.note").unwrap();

    root.link("usr/bin/tool", "usr/bin/other").unwrap();
    assert_eq!(entry.metadata().unwrap().unwrap().nlink, 2);
    root.mknod("null", Kind::Char, 0o666, (1, 3)).unwrap();
    let node = fs::metadata(rootfs.join("null")).unwrap();
    assert!(node.file_type().is_char_device() && node.permissions().mode() & 0o777 == 0o666);
    assert_eq!(root.metadata("null").unwrap().unwrap().rdev, (1, 3));
    assert!(matches!(root.mknod("x", Kind::Block, 0o600, (5000, 0)), Err(Error::Invalid(_))));
    assert!(matches!(root.mknod("x", Kind::Block, 0o600, (0, 1 << 20)), Err(Error::Invalid(_))));
    root.mknod("pipe", Kind::Fifo, 0o622, (0, 0)).unwrap();
    assert!(fs::metadata(rootfs.join("pipe")).unwrap().file_type().is_fifo());
    let gone = entry.sibling("gone").unwrap();
    gone.whiteout().unwrap();
    assert!(gone.metadata().unwrap().unwrap().is_whiteout());
    root.entry("usr").unwrap().set_opaque(false).unwrap();
    assert_eq!(sys::xattr::get(&rootfs.join("usr"), sys::xattr::OVERLAY_OPAQUE).unwrap().unwrap(), b"y");
    for bad in ["", ".", "..", "a/b"] {
        assert!(matches!(entry.sibling(bad), Err(Error::Invalid(_))), "{bad:?}");
    }
    assert!(matches!(entry.chown(u32::MAX, 0), Err(Error::Invalid(_))));
    assert!(matches!(root.entry("a\0b"), Err(Error::Invalid(_))));
    // The root itself.
    let top = root.entry("/").unwrap();
    top.chmod(0o750).unwrap();
    top.chown(3, 4).unwrap();
    assert_eq!(fs::metadata(&rootfs).unwrap().permissions().mode() & 0o7777, 0o750);
    assert_eq!(root.metadata("").unwrap().unwrap().uid, 3);
    assert!(top.remove_all().is_err());
}

#[test]
fn only_regular_files_are_read_and_only_so_much() {
    let place = Place::new();
    let (root, rootfs) = (&place.root, place.rootfs());
    fs::write(rootfs.join("file"), "12345").unwrap();
    root.mknod("fifo", Kind::Fifo, 0o644, (0, 0)).unwrap();
    root.mknod("zero", Kind::Char, 0o644, (1, 5)).unwrap();
    symlink("fifo", rootfs.join("to-fifo")).unwrap();
    assert_eq!(root.read_bounded("file", 5).unwrap(), b"12345");
    assert!(matches!(root.read_bounded("file", 4), Err(Error::Malformed { .. })));
    for refused in ["fifo", "zero", "to-fifo"] {
        assert!(root.read_bounded(refused, 10).unwrap_err().is_errno(Errno::INVAL), "{refused}");
    }
    assert!(root.read_bounded("", 10).unwrap_err().is_errno(Errno::ISDIR));
    assert!(root.read_bounded("missing", 10).unwrap_err().is_not_found());
    let mut text = String::new();
    root.open_file("file").unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "12345");
}

#[test]
fn parents_are_made_inside_even_through_dangling_links() {
    let place = Place::new();
    let (root, rootfs) = (&place.root, place.rootfs());
    assert_eq!(root.mkdir_all("a/b/c", 0o711).unwrap(), ["a", "a/b", "a/b/c"].map(PathBuf::from));
    assert_eq!(fs::metadata(rootfs.join("a/b")).unwrap().permissions().mode() & 0o7777, 0o711);
    assert!(root.mkdir_all("a/b/c", 0o700).unwrap().is_empty());
    symlink("/var/run/../lib", rootfs.join("dangling")).unwrap();
    symlink(place.outside().join("x"), rootfs.join("out")).unwrap();
    symlink("../../../../..", rootfs.join("a/up")).unwrap();
    let (entry, made) = root.entry_creating("dangling/deep/file", 0o755).unwrap();
    assert_eq!(made, ["var", "var/run", "var/lib", "var/lib/deep"].map(PathBuf::from));
    entry.create_file(0o600).unwrap();
    assert!(rootfs.join("var/lib/deep/file").exists());
    root.mkdir_all("out/y", 0o755).unwrap();
    assert!(rootfs.join(place.outside().strip_prefix("/").unwrap()).join("x/y").is_dir());
    assert_eq!(root.mkdir_all("a/up/top", 0o755).unwrap(), [PathBuf::from("top")]);
    fs::write(rootfs.join("file"), "").unwrap();
    assert!(root.mkdir_all("file/x", 0o755).unwrap_err().is_errno(Errno::NOTDIR));
    symlink("l2", rootfs.join("l1")).unwrap();
    symlink("l1", rootfs.join("l2")).unwrap();
    assert!(root.mkdir_all("l1/x", 0o755).unwrap_err().is_errno(Errno::LOOP));
    assert_eq!(root.mkdir_all("/a/./../z/", 0o755).unwrap(), [PathBuf::from("z")]);
    place.assert_outside_untouched();
}

#[test]
fn trees_of_any_depth_are_removed_and_links_are_not_followed() {
    let place = Place::new();
    let (root, rootfs) = (&place.root, place.rootfs());
    root.mkdir_all("tree/a/b", 0o755).unwrap();
    symlink(place.outside(), rootfs.join("tree/a/out")).unwrap();
    symlink(place.outside().join("secret"), rootfs.join("tree/secret")).unwrap();
    for i in 0..1000 {
        fs::write(rootfs.join(format!("tree/a/b/{i}")), "").unwrap();
    }
    let mut at = root.entry("tree/a/deep").unwrap();
    for _ in 0..5000 {
        at.create_dir(0o000).unwrap();
        at = at.child("d").unwrap();
    }
    at.create_file(0o400).unwrap();
    assert_eq!(root.metadata("tree").unwrap().unwrap().kind, Kind::Dir);
    root.remove_all("tree").unwrap();
    assert_eq!(root.metadata("tree").unwrap(), None);
    root.remove_all("tree").unwrap();
    root.remove_all("tree/below").unwrap();
    place.assert_outside_untouched();
}

#[test]
fn mounts_below_are_not_emptied() {
    let place = Place::new();
    let (root, rootfs) = (&place.root, place.rootfs());
    root.mkdir_all("tree/mounted", 0o755).unwrap();
    let options = vec!["bind".to_owned()];
    sys::mount::mount(
        &base::Mount::new("bind", place.outside().to_string_lossy(), options),
        &rootfs.join("tree/mounted"),
    )
    .unwrap();
    let error = root.remove_all("tree").unwrap_err();
    sys::mount::unmount_all(&rootfs.join("tree/mounted"), sys::mount::UnmountFlags::empty()).unwrap();
    assert!(error.is_errno(Errno::XDEV) || error.is_errno(Errno::BUSY), "{error:?}");
    place.assert_outside_untouched();
    root.remove_all("tree").unwrap();
}

#[test]
fn renames_listings_and_sub_roots() {
    let place = Place::new();
    let (root, rootfs) = (&place.root, place.rootfs());
    root.mkdir_all("home/etc", 0o755).unwrap();
    root.mkdir_all("etc", 0o755).unwrap();
    fs::write(rootfs.join("home/etc/name"), "home").unwrap();
    fs::write(rootfs.join("etc/name"), "top").unwrap();
    symlink("/etc", rootfs.join("home/link")).unwrap();
    assert_eq!(root.read_bounded("home/link/name", 9).unwrap(), b"top");
    let home = root.sub_root("home").unwrap();
    assert_eq!(home.read_bounded("link/name", 9).unwrap(), b"home");
    let mut names: Vec<_> = home.read_dir("").unwrap().into_iter().map(|e| (e.name, e.kind)).collect();
    names.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(names, [("etc".into(), Kind::Dir), ("link".into(), Kind::Symlink)]);
    assert!(root.entry("home/link").unwrap().read_dir().is_err(), "an entry is not followed");
    root.rename("etc/name", "home/etc/name").unwrap();
    assert_eq!(fs::read(rootfs.join("home/etc/name")).unwrap(), b"top");
    assert_eq!(root.metadata("etc/name/x").unwrap(), None);
    root.entry("etc").unwrap().remove_dir().unwrap();
    root.entry("home/link").unwrap().remove_file().unwrap();
}

/// A thread swaps a directory for a symlink that leads out, again and again, while files are made, changed and removed below it.
#[test]
fn swapping_a_directory_for_a_symlink_wins_nothing() {
    let place = Place::new();
    let (root, rootfs) = (&place.root, place.rootfs());
    fs::create_dir(rootfs.join("dir")).unwrap();
    symlink(place.outside(), rootfs.join("evil")).unwrap();
    let stop = AtomicBool::new(false);
    let swaps = std::thread::scope(|scope| {
        let swapper = scope.spawn(|| {
            let mut swaps = 0u64;
            let here =
                rustix::fs::open(&rootfs, rustix::fs::OFlags::PATH, rustix::fs::Mode::empty()).unwrap();
            while !stop.load(Ordering::Relaxed) {
                rustix::fs::renameat_with(&here, "dir", &here, "evil", rustix::fs::RenameFlags::EXCHANGE)
                    .unwrap();
                swaps += 1;
            }
            swaps
        });
        let end = Instant::now() + Duration::from_millis(1500);
        let mut done = 0u64;
        while Instant::now() < end {
            // Each may fail, as the directory comes and goes; none may touch what is outside.
            let made = root.entry("dir/secret").and_then(|e| {
                e.remove_all()?;
                e.create_file(0o600)?;
                e.chown(5, 5)?;
                e.chmod(0o777)?;
                e.set_xattr("user.x", b"1")
            });
            done += u64::from(made.is_ok());
            let _ = root.mkdir_all("dir/sub/deeper", 0o755);
            let _ = root
                .entry_creating("dir/sub/other/file", 0o755)
                .and_then(|(e, _)| e.create_file(0o644).map(drop));
            let _ = root.remove_all("dir/sub");
            if let Ok(bytes) = root.read_bounded("dir/secret", 100) {
                assert_ne!(bytes, b"secret");
            }
        }
        stop.store(true, Ordering::Relaxed);
        assert!(done > 0, "the directory was never there");
        swapper.join().unwrap()
    });
    assert!(swaps > 100);
    place.assert_outside_untouched();
}
