//! Mounts on the real kernel, as root.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use base::Mount;
use rustix::io::Errno;
use sys::Error;
use sys::mount::{self, TempMount, UnmountFlags};

/// A directory whose mounts go away with it, also when a test fails.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn dir(&self, name: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        mount::unmount_recursive(self.0.path(), UnmountFlags::DETACH).unwrap();
        assert!(mount::mounts_below(&self.0.path().canonicalize().unwrap()).unwrap().is_empty());
    }
}

fn of(fstype: &str, source: impl AsRef<Path>, options: &[&str]) -> Mount {
    let options = options.iter().map(|o| (*o).to_owned()).collect();
    Mount::new(fstype, source.as_ref().to_string_lossy(), options)
}

fn unmount(path: &Path) {
    mount::unmount_all(path, UnmountFlags::empty()).unwrap();
}

#[test]
fn binds_read_write_and_read_only() {
    let place = Place::new();
    let (source, target) = (place.dir("source"), place.dir("target"));
    mount::mount(&of("bind", &source, &["rbind", "rw"]), &target).unwrap();
    fs::write(target.join("f"), "x").unwrap();
    assert_eq!(fs::read(source.join("f")).unwrap(), b"x");
    unmount(&target);
    mount::mount(&of("bind", &source, &["rbind", "ro", "nosuid"]), &target).unwrap();
    let info = mount::lookup(&target).unwrap();
    assert_eq!(info.mount_point, target.canonicalize().unwrap());
    assert!(
        info.options.split(',').any(|o| o == "ro") && info.options.contains("nosuid"),
        "{}",
        info.options
    );
    let error = fs::write(target.join("g"), "x").unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EROFS));
    fs::write(source.join("g"), "x").unwrap();
}

#[test]
fn propagation_is_a_step_of_its_own() {
    let place = Place::new();
    let (source, target) = (place.dir("source"), place.dir("target"));
    mount::mount(&of("tmpfs", "tmpfs", &["size=64k", "mode=700", "shared"]), &source).unwrap();
    let shared = |p: &Path| mount::lookup(p).unwrap().propagation;
    assert!(shared(&source)[0].starts_with("shared:"));
    mount::mount(&of("bind", &source, &["rbind", "ro", "rslave"]), &target).unwrap();
    let info = mount::lookup(&target).unwrap();
    assert!(info.propagation[0].starts_with("master:"), "{info:?}");
    assert!(info.options.starts_with("ro"));
    mount::mount(&of("bind", &source, &["bind", "private"]), &target).unwrap();
    assert!(shared(&target).is_empty());
}

#[test]
fn targets_below_the_root_stay_inside_it() {
    let place = Place::new();
    let (root, outside) = (place.dir("root"), place.dir("outside"));
    fs::create_dir_all(root.join("real/dir")).unwrap();
    let inner = root.join(outside.strip_prefix("/").unwrap());
    fs::create_dir_all(&inner).unwrap();
    symlink(&outside, root.join("link")).unwrap();
    symlink("../../../../../../../real", root.join("up")).unwrap();
    let mut m = of("tmpfs", "tmpfs", &["size=64k"]);
    for (target, lands) in [("/real/dir", root.join("real/dir")), ("link", inner), ("up", root.join("real"))]
    {
        m.target = target.to_owned();
        mount::mount(&m, &root).unwrap();
        assert!(mount::is_mount_point(&lands).unwrap(), "{target}");
        unmount(&lands);
    }
    assert!(!mount::is_mount_point(&outside).unwrap());
    m.target = "missing".to_owned();
    assert!(mount::mount(&m, &root).unwrap_err().is_not_found());
}

#[test]
fn overlays_merge_layers_and_write_to_the_upper_one() {
    let place = Place::new();
    let (a, b) = (place.dir("layer:a"), place.dir("layer,b"));
    let (upper, work, merged) = (place.dir("upper"), place.dir("work"), place.dir("merged"));
    fs::write(a.join("who"), "a").unwrap();
    fs::write(b.join("who"), "b").unwrap();
    fs::write(b.join("only-b"), "b").unwrap();
    let escape = |p: &Path| p.to_string_lossy().replace(':', "\\:").replace(',', "\\,");
    let lower = format!("lowerdir={}:{}", escape(&a), escape(&b));
    let (upper_o, work_o) = (format!("upperdir={}", upper.display()), format!("workdir={}", work.display()));
    mount::mount(&of("overlay", "overlay", &["index=off", &work_o, &upper_o, &lower]), &merged).unwrap();
    assert_eq!(fs::read(merged.join("who")).unwrap(), b"a");
    assert_eq!(fs::read(merged.join("only-b")).unwrap(), b"b");
    fs::write(merged.join("new"), "n").unwrap();
    assert_eq!(fs::read(upper.join("new")).unwrap(), b"n");
    unmount(&merged);

    let temp =
        TempMount::read_only(&[of("overlay", "overlay", &[&work_o, &upper_o, &lower])], place.0.path())
            .unwrap();
    assert_eq!(fs::read(temp.path().join("new")).unwrap(), b"n");
    assert_eq!(fs::write(temp.path().join("x"), "").unwrap_err().raw_os_error(), Some(libc::EROFS));
    let path = temp.path().to_owned();
    temp.close().unwrap();
    assert!(!path.exists());
}

#[test]
fn three_hundred_layers_mount() {
    let place = Place::new();
    let merged = place.dir("merged");
    let layers: Vec<String> = (0..300)
        .map(|i| {
            let layer = place.dir(&format!("snapshots/{i}/fs"));
            fs::write(layer.join(format!("f{i}")), "").unwrap();
            layer.to_string_lossy().into_owned()
        })
        .collect();
    let (upper, work) = (place.dir("upper"), place.dir("work"));
    let options = [
        format!("workdir={}", work.display()),
        format!("upperdir={}", upper.display()),
        format!("lowerdir={}", layers.join(":")),
        "volatile".to_owned(),
    ];
    let m = Mount::new("overlay", "overlay", options.to_vec());
    let temp = TempMount::new(std::slice::from_ref(&m), place.0.path()).unwrap();
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 300);
    drop(temp);
    // `volatile` was left out above, or this second mount of the same upper directory would be refused.
    mount::mount(&m, &merged).unwrap();
    assert_eq!(fs::read_dir(&merged).unwrap().count(), 300);
}

#[test]
fn layers_and_binds_show_mapped_owners() {
    let place = Place::new();
    let (a, b) = (place.dir("snapshots/1/fs"), place.dir("snapshots/2/fs"));
    let (upper, work, merged) = (place.dir("upper"), place.dir("work"), place.dir("merged"));
    fs::write(a.join("f"), "").unwrap();
    std::os::unix::fs::chown(a.join("f"), Some(7), Some(8)).unwrap();
    let maps = ["uidmap=0:100000:65536", "gidmap=0:200000:65536"];
    let options = [
        format!("workdir={}", work.display()),
        format!("upperdir={}", upper.display()),
        format!("lowerdir={}:{}", a.display(), b.display()),
    ];
    let before = leftovers(&std::env::temp_dir());
    mount::mount(
        &of("overlay", "overlay", &[&options[0], &options[1], &options[2], maps[0], maps[1]]),
        &merged,
    )
    .unwrap();
    let meta = fs::metadata(merged.join("f")).unwrap();
    assert_eq!((meta.uid(), meta.gid()), (100_007, 200_008));
    assert_eq!(leftovers(&std::env::temp_dir()), before, "the temporary clone must be gone");
    unmount(&merged);
    mount::mount(&of("bind", &a, &["rbind", "rw", maps[0], maps[1]]), &merged).unwrap();
    assert_eq!(fs::metadata(merged.join("f")).unwrap().uid(), 100_007);
    unmount(&merged);
    assert!(mount::mount(&of("bind", &a, &["bind", "uidmap=0:x:1", "gidmap=0:1:1"]), &merged).is_err());
}

fn leftovers(dir: &Path) -> Vec<PathBuf> {
    let ours = |n: &std::ffi::OsStr| n.as_encoded_bytes().starts_with(b"ovl-idmapped");
    fs::read_dir(dir).unwrap().flatten().filter(|e| ours(&e.file_name())).map(|e| e.path()).collect()
}

#[test]
fn images_mount_through_a_loop_device() {
    let place = Place::new();
    let (image, target) = (place.0.path().join("image"), place.dir("target"));
    fs::File::create(&image).unwrap().set_len(8 << 20).unwrap();
    make("mkfs.ext4", &["-q", image.to_str().unwrap()]);
    mount::mount(&of("ext4", &image, &["loop"]), &target).unwrap();
    fs::write(target.join("kept"), "on the image").unwrap();
    let device = mount::lookup(&target).unwrap().source;
    assert!(device.starts_with("/dev/loop"), "{device}");
    unmount(&target);
    mount::mount(&of("ext4", &image, &["ro", "loop", "direct-io"]), &target).unwrap();
    assert_eq!(fs::read(target.join("kept")).unwrap(), b"on the image");
    assert_eq!(fs::write(target.join("x"), "").unwrap_err().raw_os_error(), Some(libc::EROFS));
}

#[test]
fn erofs_images_mount_from_the_file_and_through_a_loop_device() {
    let place = Place::new();
    let (image, content, target) = (place.0.path().join("image"), place.dir("content"), place.dir("target"));
    fs::write(content.join("file"), "packed").unwrap();
    make("mkfs.erofs", &["--quiet", image.to_str().unwrap(), content.to_str().unwrap()]);
    for options in [&["ro"][..], &["ro", "loop"], &["loop"]] {
        mount::mount(&of("erofs", &image, options), &target).unwrap();
        assert_eq!(fs::read(target.join("file")).unwrap(), b"packed", "{options:?}");
        assert!(mount::lookup(&target).unwrap().options.starts_with("ro"));
        unmount(&target);
    }
}

#[test]
fn btrfs_subvolumes_mount_by_id() {
    let place = Place::new();
    let (image, target) = (place.0.path().join("image"), place.dir("target"));
    fs::File::create(&image).unwrap().set_len(128 << 20).unwrap();
    make("mkfs.btrfs", &["-q", image.to_str().unwrap()]);
    mount::mount(&of("btrfs", &image, &["loop"]), &target).unwrap();
    make("btrfs", &["subvolume", "create", target.join("sub").to_str().unwrap()]);
    fs::write(target.join("sub/file"), "in the subvolume").unwrap();
    let device = mount::lookup(&target).unwrap().source;
    let second = place.dir("second");
    // The first subvolume of a new file system.
    mount::mount(&of("btrfs", &device, &["subvolid=256"]), &second).unwrap();
    assert_eq!(fs::read(second.join("file")).unwrap(), b"in the subvolume");
}

#[test]
fn fuse_file_systems_mount_through_their_helper() {
    let place = Place::new();
    let (a, b, target) = (place.dir("a"), place.dir("b"), place.dir("target"));
    fs::write(a.join("f"), "a").unwrap();
    fs::write(b.join("g"), "b").unwrap();
    let lower = format!("lowerdir={}:{}", a.display(), b.display());
    mount::mount(&of("fuse3.fuse-overlayfs", "overlay", &[&lower]), &target).unwrap();
    assert!(mount::lookup(&target).unwrap().fstype.starts_with("fuse"));
    assert_eq!(fs::read(target.join("f")).unwrap(), b"a");
    assert_eq!(fs::read(target.join("g")).unwrap(), b"b");
    unmount(&target);
    let error = mount::mount(&of("fuse3.no-such-program", "x", &[]), &target).unwrap_err();
    assert!(matches!(error, Error::Program { .. }), "{error:?}");
}

/// Runs a program of the test dependencies.
fn make(program: &str, args: &[&str]) {
    let output =
        Command::new(program).args(args).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn virtual_file_systems_mount_and_remount() {
    let place = Place::new();
    let target = place.dir("target");
    mount::mount(&of("proc", "proc", &["nosuid", "noexec", "nodev"]), &target).unwrap();
    assert!(target.join("self/status").exists());
    unmount(&target);
    mount::mount(&of("tmpfs", "tmpfs", &["size=64k", "defaults", "noatime"]), &target).unwrap();
    let info = mount::lookup(&target).unwrap();
    assert!(info.super_options.contains("size=64k") && info.options.contains("noatime"), "{info:?}");
    mount::mount(&of("tmpfs", "tmpfs", &["remount", "ro"]), &target).unwrap();
    assert_eq!(fs::write(target.join("x"), "").unwrap_err().raw_os_error(), Some(libc::EROFS));
    mount::mount(&of("tmpfs", "tmpfs", &["remount", "rw", "size=128k"]), &target).unwrap();
    assert!(mount::lookup(&target).unwrap().super_options.contains("size=128k"));
}

#[test]
fn failures_name_what_was_asked_and_keep_the_errno() {
    let place = Place::new();
    let target = place.dir("target");
    let error = mount::mount(&of("bind", "/no/such/source", &["rbind", "ro"]), &target).unwrap_err();
    assert!(error.is_not_found());
    let text = base::chain(&error);
    assert!(text.contains("/no/such/source") && text.contains(&*target.to_string_lossy()), "{text}");
    let error = mount::mount(&of("no-such-fs", "none", &[]), &target).unwrap_err();
    assert!(error.is_errno(Errno::NODEV), "{error:?}");
    let error = mount::mount(&of("tmpfs", "tmpfs", &["X-containerd.mkdir.path=/x"]), &target).unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error:?}");
    let error = mount::mount(&of("fuse3.x", "x", &["X-containerd.mkfs.size=1"]), &target).unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error:?}");
    let error = mount::mount(&of("tmpfs", "tmpfs", &[&"x".repeat(5000)]), &target).unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error:?}");
    let error =
        mount::mount(&of("overlay", "overlay", &["lowerdir=/no/such/a:/no/such/b"]), &target).unwrap_err();
    assert!(error.is_not_found(), "{error:?}");
    let many: Vec<String> = (0..200).map(|i| format!("/no/such/directory/with/a/name/{i}")).collect();
    let lower = format!("lowerdir={}", many.join(":"));
    let error = mount::mount(&of("overlay", "overlay", &[&lower]), &target).unwrap_err();
    assert!(error.is_not_found() && error.to_string().len() < 1000, "{error:?}");
    assert!(!mount::is_mount_point(&target).unwrap());
}

#[test]
fn a_failed_temporary_mount_leaves_nothing() {
    let place = Place::new();
    let tmp = place.dir("tmp");
    let good = of("tmpfs", "tmpfs", &["size=64k"]);
    let mounts = [good.clone(), of("bind", "/no/such/source", &["bind"])];
    assert!(TempMount::new(&mounts, &tmp).is_err());
    assert_eq!(fs::read_dir(&tmp).unwrap().count(), 0);
    let temp = TempMount::new(std::slice::from_ref(&good), &tmp).unwrap();
    fs::create_dir(temp.path().join("nested")).unwrap();
    mount::mount(&good, &temp.path().join("nested")).unwrap();
    temp.close().unwrap();
    assert_eq!(fs::read_dir(&tmp).unwrap().count(), 0);
}

#[test]
fn unmounting_goes_through_stacks_and_trees_and_waits_for_the_busy() {
    let place = Place::new();
    let target = place.dir("target");
    let m = of("tmpfs", "tmpfs", &["size=64k"]);
    for _ in 0..3 {
        mount::mount(&m, &target).unwrap();
    }
    mount::unmount(&target, UnmountFlags::empty()).unwrap();
    assert!(mount::is_mount_point(&target).unwrap());
    unmount(&target);
    assert!(!mount::is_mount_point(&target).unwrap());
    // Not a mount point, missing, empty: all fine.
    mount::unmount(&target, UnmountFlags::empty()).unwrap();
    mount::unmount_all(Path::new(""), UnmountFlags::empty()).unwrap();
    mount::unmount_all(&target.join("missing"), UnmountFlags::empty()).unwrap();
    mount::unmount_recursive(&target.join("missing"), UnmountFlags::empty()).unwrap();

    mount::mount(&m, &target).unwrap();
    fs::create_dir(target.join("with space")).unwrap();
    mount::mount(&m, &target.join("with space")).unwrap();
    let link = place.0.path().join("link");
    symlink(&target, &link).unwrap();
    mount::unmount_recursive(&link, UnmountFlags::empty()).unwrap();
    assert!(!mount::is_mount_point(&target).unwrap());

    mount::mount(&m, &target).unwrap();
    let busy = fs::File::create(target.join("busy")).unwrap();
    let (sender, closed) = std::sync::mpsc::channel();
    let closer = std::thread::spawn(move || {
        let start = std::time::Instant::now();
        while start.elapsed() < std::time::Duration::from_millis(120) {
            std::thread::park_timeout(std::time::Duration::from_millis(20));
        }
        // Said first: the unmount may be through before this thread runs on.
        sender.send(()).unwrap();
        drop(busy);
    });
    mount::unmount(&target, UnmountFlags::empty()).unwrap();
    closed.try_recv().expect("unmounted while a file was open");
    closer.join().unwrap();
}

#[test]
fn what_a_crash_left_is_cleaned_up() {
    let place = Place::new();
    let tmp = place.dir("tmp");
    let m = of("tmpfs", "tmpfs", &["size=64k"]);
    for name in ["containerd-mount1", "containerd-mount2/", "ovl-idmapped3"] {
        fs::create_dir(tmp.join(name)).unwrap();
    }
    mount::mount(&m, &tmp.join("containerd-mount1")).unwrap();
    mount::mount(&m, &tmp.join("containerd-mount1")).unwrap();
    fs::create_dir(tmp.join("containerd-mount1/inner")).unwrap();
    mount::mount(&m, &tmp.join("containerd-mount1/inner")).unwrap();
    fs::create_dir(tmp.join("not-ours")).unwrap();
    fs::create_dir(tmp.join("containerd-mount4")).unwrap();
    fs::write(tmp.join("containerd-mount4/file"), "never deleted").unwrap();
    let warnings = mount::clean_temp_mounts(&tmp).unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let mut left: Vec<_> = fs::read_dir(&tmp).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["containerd-mount4", "not-ours"]);
    assert!(mount::clean_temp_mounts(&tmp.join("missing")).unwrap().is_empty());
}
