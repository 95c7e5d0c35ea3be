//! The mount manager on real mounts: what it makes, takes away, survives and keeps. Runs as root.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base::{ErrorKind, Kinded, Labels, LeaseId, Mount, Namespace, Scope};
use mounts::{ActivateOptions, Manager, ManagerOptions};
use store::gc::Collector;

struct Scene {
    directory: tempfile::TempDir,
    manager: Manager,
}

impl Scene {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let manager = open(directory.path()).await;
        Scene { directory, manager }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// A writable image with a directory in it, as the erofs snapshotter asks for it.
    fn block(&self) -> Vec<Mount> {
        let options = ["X-containerd.mkfs.fs=ext4", "X-containerd.mkfs.size=8M", "rw", "loop"];
        let mkdir = "X-containerd.mkdir.path={{ mount 0 }}/upper:0755";
        vec![
            Mount::new("mkfs/ext4", self.text("rwlayer.img"), options.map(str::to_owned).to_vec()),
            Mount::new(
                "format/mkdir/bind",
                "{{ mount 0 }}/upper",
                vec![mkdir.into(), "rw".into(), "rbind".into()],
            ),
        ]
    }

    /// Ends the manager, checks that it left nothing mounted.
    fn end(self) {
        let below = self.directory.path().to_owned();
        drop(self.manager);
        assert_eq!(sys::mount::mounts_below(&below).unwrap(), []);
        let start = Instant::now();
        while backing_files().iter().any(|f| f.starts_with(&below)) {
            assert!(start.elapsed() < Duration::from_secs(60), "a loop device is left");
            std::thread::yield_now();
        }
    }
}

fn backing_files() -> Vec<PathBuf> {
    let devices = std::fs::read_dir("/sys/block").unwrap();
    devices.filter_map(|d| sys::loopdev::backing_file(&d.ok()?.path())).collect()
}

async fn open(directory: &Path) -> Manager {
    let state = directory.join("state");
    let roots = vec![directory.to_owned()];
    Manager::open(ManagerOptions { state, roots, erofs: true }).await.unwrap()
}

fn scope() -> Scope {
    Scope::new(Namespace::new("ns").unwrap())
}

fn entries(path: &Path) -> usize {
    std::fs::read_dir(path).unwrap().count()
}

#[tokio::test]
async fn made_formatted_filled_in_and_taken_away() {
    let s = Scene::new().await;
    let mut options = ActivateOptions::default();
    options.labels.insert("l".into(), "v".into());
    let made = s.manager.activate(&scope(), "one", &s.block(), options).await.unwrap();
    assert_eq!((made.active.len(), made.system.len()), (1, 1));
    let point = PathBuf::from(&made.active[0].mount_point);
    assert!(point.starts_with(s.path("state/t/1")) && sys::mount::is_mount_point(&point).unwrap());
    assert_eq!(made.active[0].mount.fstype, "ext4");
    let upper = point.join("upper");
    let system = Mount::new("bind", upper.display().to_string(), vec!["rw".into(), "rbind".into()]);
    assert_eq!(made.system, [system]);
    assert_eq!(std::fs::metadata(&upper).unwrap().mode() & 0o7777, 0o755);
    assert_eq!(s.manager.info(&scope().namespace, "one").unwrap(), made);
    assert_eq!(s.manager.list(&scope().namespace).unwrap(), [made]);
    assert_eq!(s.manager.list(&Namespace::new("other").unwrap()).unwrap(), []);
    std::fs::write(upper.join("file"), "kept").unwrap();

    let again =
        s.manager.activate(&scope(), "one", &s.block(), ActivateOptions::default()).await.unwrap_err();
    assert_eq!((again.kind(), base::chain(&again).as_str()), (ErrorKind::AlreadyExists, "mount \"one\""));
    s.manager.deactivate(&scope().namespace, "one").await.unwrap();
    assert_eq!(entries(&s.path("state/t")), 0);
    for kind in [
        s.manager.deactivate(&scope().namespace, "one").await.unwrap_err().kind(),
        s.manager.info(&scope().namespace, "one").unwrap_err().kind(),
    ] {
        assert_eq!(kind, ErrorKind::NotFound);
    }
    // The file system is made once.
    let made = s.manager.activate(&scope(), "one", &s.block(), ActivateOptions::default()).await.unwrap();
    assert_eq!(std::fs::read(PathBuf::from(&made.system[0].source).join("file")).unwrap(), b"kept");
    s.manager.deactivate(&scope().namespace, "one").await.unwrap();
    s.end();
}

#[tokio::test]
async fn images_and_overlays_of_them() {
    let s = Scene::new().await;
    for name in ["a", "b", "upper", "work"] {
        std::fs::create_dir(s.path(name)).unwrap();
    }
    for name in ["a", "b"] {
        std::fs::write(s.path(name).join("who"), name).unwrap();
        std::fs::write(s.path(name).join(format!("only-{name}")), "").unwrap();
        let image = s.text(&format!("{name}.erofs"));
        sys::program::run("mkfs.erofs", &["--quiet", &image, &s.text(name)], Duration::from_secs(60))
            .unwrap();
    }
    let image =
        |name: &str| Mount::new("erofs", s.text(&format!("{name}.erofs")), vec!["ro".into(), "loop".into()]);
    let options = vec![
        format!("workdir={}", s.text("work")),
        format!("upperdir={}", s.text("upper")),
        "lowerdir={{ overlay 0 1 }}".into(),
    ];
    let all = [image("a"), image("b"), Mount::new("format/mkdir/overlay", "overlay", options)];
    let made = s.manager.activate(&scope(), "o", &all, ActivateOptions::default()).await.unwrap();
    let target = s.path("target");
    std::fs::create_dir(&target).unwrap();
    sys::mount::mount_all(&made.system, &target).unwrap();
    assert_eq!(std::fs::read(target.join("who")).unwrap(), b"a");
    assert!(target.join("only-b").exists());
    sys::mount::unmount_all(&target, sys::mount::UnmountFlags::empty()).unwrap();
    s.manager.deactivate(&scope().namespace, "o").await.unwrap();

    // For the daemon itself, without a name.
    let temporary = s.manager.temporary(&all).await.unwrap().unwrap();
    assert_eq!(temporary.mounts().len(), 1);
    temporary.close().await.unwrap();
    drop(s.manager.temporary(&[image("a")]).await.unwrap().unwrap());
    assert!(s.manager.temporary(&[Mount::new("bind", "/", vec![])]).await.unwrap().is_none());

    // Everything, for a look.
    let options = ActivateOptions { temporary: true, ..Default::default() };
    let made = s.manager.activate(&scope(), "t", &[image("b")], options).await.unwrap();
    assert_eq!(
        (made.system[0].fstype.as_str(), &made.system[0].source),
        ("bind", &made.active[0].mount_point)
    );
    assert_eq!(std::fs::read(PathBuf::from(&made.system[0].source).join("who")).unwrap(), b"b");
    s.manager.deactivate(&scope().namespace, "t").await.unwrap();
    s.end();
}

#[tokio::test]
async fn loop_devices_are_links_that_are_kept() {
    let s = Scene::new().await;
    std::fs::write(s.path("image"), vec![7; 1 << 20]).unwrap();
    let mount = Mount::new("loop", s.text("image"), Vec::new());
    let made = s.manager.activate(&scope(), "l", &[mount], ActivateOptions::default()).await.unwrap();
    let device = std::fs::read_link(&made.active[0].mount_point).unwrap();
    assert_eq!(sys::loopdev::backing_file(&device), Some(s.path("image")));
    assert!(made.system.is_empty());
    s.manager.deactivate(&scope().namespace, "l").await.unwrap();
    s.end();
}

#[tokio::test]
async fn what_cannot_be_done_leaves_nothing() {
    let s = Scene::new().await;
    let refused = async |mounts: &[Mount]| {
        let refused =
            s.manager.activate(&scope(), "x", mounts, ActivateOptions::default()).await.unwrap_err();
        refused.kind()
    };
    assert_eq!(refused(&[]).await, ErrorKind::Unimplemented);
    assert_eq!(refused(&[Mount::new("bind", "/", vec![])]).await, ErrorKind::Unimplemented);
    let block = s.block();
    let mut wrong = s.block();
    wrong[1].source = "{{ mount 7 }}".into();
    assert_eq!(refused(&wrong).await, ErrorKind::Unknown);
    let verity = vec!["ro".into(), "X-containerd.dmverity=/x".into()];
    let image = Mount::new("erofs", s.text("no-such-image"), verity);
    assert_eq!(refused(&[block[0].clone(), image]).await, ErrorKind::Unimplemented);
    let missing = Mount::new("erofs", s.text("no-such-image"), vec!["ro".into()]);
    assert_eq!(refused(&[block[0].clone(), missing]).await, ErrorKind::Unknown);
    let named = s.manager.activate(&scope(), "", &block, ActivateOptions::default()).await.unwrap_err();
    assert_eq!(named.kind(), ErrorKind::InvalidArgument);
    assert_eq!(entries(&s.path("state/t")), 0);
    assert_eq!(s.manager.list(&scope().namespace).unwrap(), []);
    s.end();
}

#[tokio::test]
async fn one_of_many_at_once_gets_the_name() {
    let s = Scene::new().await;
    let mut tasks = Vec::new();
    for _ in 0..8 {
        let (manager, block) = (s.manager.clone(), s.block());
        tasks.push(tokio::spawn(async move {
            manager.activate(&scope(), "one", &block, ActivateOptions::default()).await.map_err(|e| e.kind())
        }));
    }
    let mut made = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => made += 1,
            Err(kind) => assert_eq!(kind, ErrorKind::AlreadyExists),
        }
    }
    assert_eq!((made, entries(&s.path("state/t"))), (1, 1));
    s.manager.deactivate(&scope().namespace, "one").await.unwrap();
    s.end();
}

#[tokio::test]
async fn a_crash_is_cleaned_up_after() {
    let mut s = Scene::new().await;
    s.manager.activate(&scope(), "kept", &s.block(), ActivateOptions::default()).await.unwrap();
    let other = Mount::new("mkfs/ext4", s.text("other.img"), s.block()[0].options.clone());
    let gone = [other.clone(), s.block()[1].clone()];
    let gone = s.manager.activate(&scope(), "gone", &gone, ActivateOptions::default()).await.unwrap();
    // Killed between mounting and writing the record down, and without being able to clean.
    let half = s.path("state/t/9/0001");
    std::fs::create_dir_all(&half).unwrap();
    std::fs::write(s.path("state/t/9/0001-type"), "ext4").unwrap();
    sys::mount::mount(&Mount::new("tmpfs", "tmpfs", vec![]), &half).unwrap();
    sys::mount::unmount_all(Path::new(&gone.active[0].mount_point), sys::mount::UnmountFlags::empty())
        .unwrap();
    let directory = s.directory.path().to_owned();
    drop(s.manager);
    s.manager = open(&directory).await;
    let names: Vec<_> = s.manager.list(&scope().namespace).unwrap().into_iter().map(|a| a.name).collect();
    assert_eq!(names, ["kept"]);
    assert_eq!(entries(&s.path("state/t")), 1);
    // Numbers are not used again.
    let made =
        s.manager.activate(&scope(), "gone", &s.block()[..1], ActivateOptions::default()).await.unwrap();
    assert!(made.active.is_empty() && made.system[0].fstype == "ext4");
    assert!(s.path("state/t/10").exists());
    s.manager.deactivate(&scope().namespace, "gone").await.unwrap();
    s.manager.deactivate(&scope().namespace, "kept").await.unwrap();
    s.end();
}

#[tokio::test]
async fn leases_and_back_references_are_told_and_garbage_goes() {
    let s = Scene::new().await;
    let block = |name: &str| {
        let mut block = s.block();
        block[0].source = s.text(name);
        block
    };
    let leased = Scope { lease: Some(LeaseId::new("lease").unwrap()), ..scope() };
    s.manager.activate(&leased, "leased", &block("1.img"), ActivateOptions::default()).await.unwrap();
    let labels = Labels::from([("containerd.io/gc.bref.container".into(), "c".into())]);
    let options = ActivateOptions { labels, ..Default::default() };
    s.manager.activate(&scope(), "held", &block("2.img"), options).await.unwrap();
    s.manager.activate(&scope(), "free", &block("3.img"), ActivateOptions::default()).await.unwrap();
    s.manager.activate(&scope(), "anew", &block("4.img"), ActivateOptions::default()).await.unwrap();

    let mut run = s.manager.start().unwrap();
    let mut all = Vec::new();
    run.all(&mut |namespace, name| all.push(format!("{namespace}/{name}")));
    assert_eq!(all, ["ns/anew", "ns/free", "ns/held", "ns/leased"]);
    let mut held = Vec::new();
    run.leased("ns", "lease", &mut |name| held.push(name.to_owned()));
    run.leased("ns", "other", &mut |name| held.push(name.to_owned()));
    run.back_references("ns", &mut |by, what| held.push(format!("{} by {}", what.key, by.key)));
    run.active("ns", &mut |name| held.push(name.to_owned()));
    assert_eq!(held, ["leased", "held by c"]);
    run.remove("ns", "free");
    run.remove("ns", "anew");
    s.manager.deactivate(&scope().namespace, "anew").await.unwrap();
    s.manager.activate(&scope(), "anew", &block("4.img"), ActivateOptions::default()).await.unwrap();
    run.finish().await.unwrap();
    let names: Vec<_> = s.manager.list(&scope().namespace).unwrap().into_iter().map(|a| a.name).collect();
    assert_eq!(names, ["anew", "held", "leased"]);
    assert_eq!(entries(&s.path("state/t")), 3);
    for name in names {
        s.manager.deactivate(&scope().namespace, &name).await.unwrap();
    }
    s.end();
}
