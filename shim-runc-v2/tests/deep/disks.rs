//! Disks that hang, disks that are full, and mounts that fail.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use protos::shim::events::TaskExit;
use protos::shim::types::Mount;
use ttrpc::{Code, context};

use crate::driver::*;
use crate::parts::*;

/// A file system of its own, which can be frozen: whoever writes to it or syncs it then waits in the kernel.
struct Disk {
    dir: PathBuf,
    frozen: bool,
}

impl Disk {
    fn new(place: &Place) -> Disk {
        let (image, dir) = (place.dir.path().join("disk.img"), place.dir.path().join("disk"));
        std::fs::File::create(&image).unwrap().set_len(32 << 20).unwrap();
        std::fs::create_dir(&dir).unwrap();
        run("mkfs.ext4", &["-q", "-F", &text(&image)]);
        run("mount", &["-o", "loop", &text(&image), &text(&dir)]);
        Disk { dir, frozen: false }
    }

    fn freeze(&mut self) {
        run("fsfreeze", &["--freeze", &text(&self.dir)]);
        self.frozen = true;
    }

    fn thaw(&mut self) {
        run("fsfreeze", &["--unfreeze", &text(&self.dir)]);
        self.frozen = false;
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.frozen {
            self.thaw();
        }
        let _ = Command::new("umount").arg("--recursive").arg("--lazy").arg(&self.dir).status();
    }
}

/// A bundle without a rootfs of its own, in a directory that is small or slow.
fn thin(parent: &Path, like: &Bundle, args: &[&str]) -> Bundle {
    let id = format!("{}-thin", like.unique());
    let bundle = Bundle { dir: parent.join(&id), id };
    std::fs::create_dir(&bundle.dir).unwrap();
    let mut spec = like.spec(args);
    spec["root"]["path"] = text(&like.dir.join("rootfs")).into();
    spec["linux"]["cgroupsPath"] = format!("/{NAMESPACE}/{}", bundle.unique()).into();
    bundle.write_spec(&spec);
    bundle
}

/// A create whose runtime keeps its state with the place's.
fn request_for(like: &Bundle, bundle: &Bundle) -> protos::shim::task_v3::CreateTaskRequest {
    let mut request = bundle.create_request();
    request.options = Some(like.options("")).into();
    request
}

/// Ask 11: State comes from memory while a disk does not take the record of an exit; and the exit is not told before it does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_hangs_holds_up_one_exit_and_nothing_else() {
    let place = Place::new().await;
    let mut disk = Disk::new(&place);
    let quick = place.bundle("quick", &["sleep", "1000"]);
    let slow = thin(&disk.dir, &quick, &["sleep", "1000"]);
    let shim = place.start(&quick);
    let task = shim.client().await;
    begin(&task, &quick).await;
    task.create(&request_for(&quick, &slow)).await.unwrap();
    let pid = task.start(&slow.id, "").await.unwrap().pid;

    disk.freeze();
    let killed = Instant::now();
    task.kill(&slow.id, "", 9).await.unwrap();
    eventually("init is collected", || sys::process::proc_stat(pid).is_err().then_some(())).await;
    let mut times = Vec::new();
    for _ in 0..100 {
        for id in [&quick.id, &slow.id] {
            let begun = Instant::now();
            task.state(id, "").await.unwrap();
            times.push(begun.elapsed());
        }
    }
    times.sort();
    println!(
        "State while the disk hangs: median {:?}, worst {:?}",
        times[times.len() / 2],
        times.last().unwrap()
    );
    task.exec("quick", "e", &["sh", "-c", "exit 4"], |_| {}).await.unwrap();
    task.start("quick", "e").await.unwrap();
    assert_eq!(task.wait("quick", "e").await.unwrap().exit_status, 4);
    task.delete("quick", "e").await.unwrap();
    let told = place.seen.all::<TaskExit>().iter().any(|e| e.id == slow.id);
    // After 15 s it would be told without a record.
    assert!(!told || killed.elapsed() > Duration::from_secs(10), "told before it was recorded");
    disk.thaw();
    assert_eq!(place.seen.exit_of(&slow.id).await.exit_status, 137);
    if killed.elapsed() < Duration::from_secs(10) {
        let record = std::fs::read_to_string(slow.dir.join("exits/init.json")).unwrap();
        assert!(record.contains("\"code\":137"), "{record}");
    }
    task.delete(&slow.id, "").await.unwrap();
    end(&task, "quick").await;
    leave(&shim, task, "quick").await;
}

/// Ask 11: a mount that hangs is bounded by the caller's deadline, holds up nobody else, and is undone when it comes after all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mount_that_hangs_holds_up_one_create_and_nothing_else() {
    let place = Place::new().await;
    let mut disk = Disk::new(&place);
    let good = place.bundle("good", &["sh", "-c", "exit 6"]);
    let shim = place.start(&good);
    let task = shim.client().await;
    let stuck = place.bundle("stuck", &["true"]);
    let lower = place.dir.path().join("lower");
    std::fs::rename(stuck.dir.join("rootfs"), &lower).unwrap();
    let (upper, work) = (disk.dir.join("upper"), disk.dir.join("work"));
    std::fs::create_dir(&upper).unwrap();
    std::fs::create_dir(&work).unwrap();
    let mut mount = Mount::new();
    (mount.type_, mount.source) = ("overlay".into(), "overlay".into());
    mount.options = vec![
        format!("lowerdir={}", lower.display()),
        format!("upperdir={}", upper.display()),
        format!("workdir={}", work.display()),
    ];
    let mut request = stuck.create_request();
    request.rootfs.push(mount);

    disk.freeze();
    let hanging = tokio::spawn({
        let (task, request) = (task.clone(), request.clone());
        async move { task.0.create(context::with_timeout(1_000_000_000), &request).await }
    });
    assert_eq!(task.run(&good.create_request()).await, 6, "another container lives and dies meanwhile");
    assert!(hanging.await.unwrap().is_err());
    // Its name is taken for as long as its mount may still come.
    assert_eq!(refusal(task.create(&request).await).0, Code::ALREADY_EXISTS);
    assert_eq!(refusal(task.state("stuck", "").await).0, Code::NOT_FOUND);
    disk.thaw();
    let begun = Instant::now();
    while let Err(e) = task.create(&request).await {
        assert_eq!(refusal::<()>(Err(e)).0, Code::ALREADY_EXISTS);
        assert!(begun.elapsed() < PATIENCE, "the name never became free");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(mounts_below(&stuck.dir).len(), 1, "the late one was undone, the new one is there");
    task.start("stuck", "").await.unwrap();
    assert_eq!(task.wait("stuck", "").await.unwrap().exit_status, 0);
    task.delete("stuck", "").await.unwrap();
    nothing_is_left(&place, &stuck).await;
    leave(&shim, task, "good").await;
}

/// A few kilobytes that are full: the end is recorded all the same, what cannot be done says why, and nothing is left.
#[tokio::test]
async fn a_full_disk_loses_no_exit() {
    let place = Place::new().await;
    let small = place.dir.path().join("small");
    std::fs::create_dir(&small).unwrap();
    run("mount", &["-t", "tmpfs", "-o", "size=64k", "tmpfs", &text(&small)]);
    struct Unmount(PathBuf);
    impl Drop for Unmount {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
        }
    }
    let _unmount = Unmount(small.clone());
    let roomy = place.bundle("roomy", &["sleep", "1000"]);
    let full = thin(&small, &roomy, &["sleep", "1000"]);
    let shim = place.start(&roomy);
    let task = shim.client().await;
    task.create(&request_for(&roomy, &full)).await.unwrap();
    task.start(&full.id, "").await.unwrap();

    let late = Bundle { id: "late".into(), dir: small.join("late") };
    std::fs::create_dir(&late.dir).unwrap();
    late.write_spec(&roomy.spec(&["true"]));
    let filler = std::fs::write(small.join("filler"), vec![0; 1 << 20]);
    assert_eq!(filler.unwrap_err().raw_os_error(), Some(28), "it is full");
    // An exec cannot be described there.
    task.exec(&full.id, "e", &["true"], |_| {}).await.unwrap();
    let (code, message) = refusal(task.start(&full.id, "e").await);
    assert_eq!(code, Code::UNKNOWN);
    assert!(message.contains("no space left on device"), "{message}");
    task.delete(&full.id, "e").await.unwrap();
    // A container cannot be made there.
    let (_, message) = refusal(task.create(&request_for(&roomy, &late)).await);
    assert!(message.contains("no space left on device"), "{message}");
    assert!(!runtime_state(&place, "late").exists());
    assert_eq!(refusal(task.state("late", "").await).0, Code::NOT_FOUND);

    task.kill(&full.id, "", 9).await.unwrap();
    assert_eq!(task.wait(&full.id, "").await.unwrap().exit_status, 137);
    assert_eq!(place.seen.exit_of(&full.id).await.exit_status, 137);
    let record = std::fs::read_to_string(full.dir.join("exits/init.json")).unwrap();
    assert!(record.contains("\"code\":137") && record.contains("\"signal\":9"), "{record}");
    task.delete(&full.id, "").await.unwrap();
    nothing_is_left(&place, &full).await;
    leave(&shim, task, "roomy").await;
}

/// Mounts that cannot be: the reason in words, the first of two taken away again, the name free.
#[tokio::test]
async fn a_rootfs_that_cannot_be_mounted() {
    let place = Place::new().await;
    let bundle = place.bundle("mounts", &["sh", "-c", "exit 2"]);
    let shim = place.start(&bundle);
    let task = shim.client().await;
    let source = place.dir.path().join("source");
    std::fs::rename(bundle.dir.join("rootfs"), &source).unwrap();
    let bind = |source: &str| {
        let mut mount = Mount::new();
        (mount.type_, mount.source) = ("bind".into(), source.to_owned());
        mount.options = vec!["rbind".into(), "rw".into()];
        mount
    };
    let mut odd = Mount::new();
    (odd.type_, odd.source) = ("nosuchfs".into(), "none".into());
    let good = bind(&text(&source));
    for (mounts, words) in [
        (vec![odd.clone()], "No such device"),
        (vec![bind("/no/such/dir")], "No such file or directory"),
        (vec![good.clone(), odd], "No such device"),
    ] {
        let mut request = bundle.create_request();
        request.rootfs = mounts;
        let (code, message) = refusal(task.create(&request).await);
        assert_eq!(code, Code::UNKNOWN);
        assert!(message.starts_with("failed to mount rootfs component: "), "{message}");
        assert!(message.to_lowercase().contains(&words.to_lowercase()), "{message}");
        nothing_is_left(&place, &bundle).await;
    }
    let mut request = bundle.create_request();
    request.rootfs.push(good);
    assert_eq!(task.run(&request).await, 2, "after all that it still works");
    nothing_is_left(&place, &bundle).await;
    leave(&shim, task, "mounts").await;
}
