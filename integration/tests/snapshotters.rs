//! Containers on every snapshotter that this machine has a file system for: pulled, unpacked, run, written to, kept over a daemon that is
//! killed, and taken away again, mounts and devices included.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

use integration::image::{Layer, busybox_layer};
use integration::leftovers::mounts_below;
use integration::{Daemon, Image, Kind, Registry, Scratch, eventually};

/// Busybox, with a file that the second layer hides and one that it replaces.
fn image() -> Image {
    let lower = busybox_layer().unwrap().file("etc/hidden", 0o644, b"seen\n").unwrap();
    let lower = lower.file("etc/replaced", 0o644, b"old\n").unwrap();
    let upper = Layer::default().dir("etc/", 0o755).unwrap().file("etc/.wh.hidden", 0o644, b"").unwrap();
    let upper = upper.file("etc/replaced", 0o644, b"new\n").unwrap();
    let config = serde_json::json!({ "Cmd": ["sh"], "Env": ["PATH=/bin"] });
    Image::build(vec![lower.tar().unwrap(), upper.tar().unwrap()], config).unwrap()
}

/// The files that loop devices below `dir` show.
fn looped(dir: &Path) -> Vec<PathBuf> {
    let devices = std::fs::read_dir("/sys/block").unwrap();
    let files = devices.filter_map(|d| sys::loopdev::backing_file(&d.ok()?.path()));
    files.filter(|f| f.starts_with(dir)).collect()
}

fn lives_on(snapshotter: &str, scratch: &Scratch, config: &str) {
    let registry = Registry::start(scratch.path()).unwrap();
    let image = registry.push(&image(), "test/two", "latest").unwrap();
    let mut daemon = Daemon::new(Kind::Ours, scratch.join("d")).config(config);
    daemon.start().unwrap();
    let ctr = |daemon: &Daemon, args: &[&str]| daemon.ctr_rs(args).unwrap().ok().unwrap();
    ctr(&daemon, &["images", "pull", "--snapshotter", snapshotter, &image]);
    let script =
        "cat /etc/replaced; test -e /etc/hidden || echo hidden; echo mine > /etc/replaced; cat /etc/replaced";
    let run = ["run", "--rm", "--snapshotter", snapshotter, &image, "one", "sh", "-c", script];
    assert_eq!(ctr(&daemon, &run), "new\nhidden\nmine\n");
    // What one container wrote no other one sees.
    let run = ["run", "--rm", "--snapshotter", snapshotter, &image, "two", "cat", "/etc/replaced"];
    assert_eq!(ctr(&daemon, &run), "new\n");

    let script = "echo here > /kept; while :; do sleep 1; done";
    ctr(&daemon, &["run", "-d", "--snapshotter", snapshotter, &image, "three", "sh", "-c", script]);
    daemon.kill9().unwrap();
    daemon.start().unwrap();
    // Garbage collection knows that the container needs its mounts.
    ctr(&daemon, &["leases", "create", "--id", "l"]);
    ctr(&daemon, &["leases", "delete", "--sync", "l"]);
    let exec = [
        "tasks",
        "exec",
        "--exec-id",
        "e",
        "three",
        "sh",
        "-c",
        "until test -e /kept; do usleep 10000; done; cat /kept",
    ];
    assert_eq!(ctr(&daemon, &exec), "here\n");
    // It ends with the status of the task.
    let deleted = daemon.ctr_rs(&["tasks", "delete", "--force", "three"]).unwrap();
    assert_eq!(deleted.code, 137, "{}", deleted.stderr);
    ctr(&daemon, &["containers", "delete", "three"]);
    eventually("the mounts of the containers to be gone", || {
        mounts_below(&scratch.join("d")).is_empty().then_some(())
    });
    ctr(&daemon, &["images", "rm", "--sync", &image]);
    eventually("the snapshots to be collected", || {
        let listed = ctr(&daemon, &["snapshots", "--snapshotter", snapshotter, "ls"]);
        (listed.lines().count() == 1).then_some(())
    });
    daemon.stop().unwrap();
    eventually("the shims to be gone", || daemon.shims().is_empty().then_some(()));
    daemon.assert_clean();
    eventually("the loop devices to be free", || looped(&scratch.join("d")).is_empty().then_some(()));
}

fn table(snapshotter: &str, keys: &str) -> String {
    format!("[plugins.'io.containerd.snapshotter.v1.{snapshotter}']\n{keys}\n")
}

fn make(program: &str, args: &[&str]) {
    let ran = Command::new(program).args(args).output().unwrap();
    assert!(ran.status.success(), "{program}: {}", String::from_utf8_lossy(&ran.stderr));
}

fn blank(path: &Path, size: u64) -> String {
    std::fs::File::create(path).unwrap().set_len(size).unwrap();
    path.display().to_string()
}

#[test]
fn erofs_below_directories() {
    let scratch = Scratch::new("erofs").unwrap();
    lives_on("erofs", &scratch, "");
}

#[test]
fn erofs_below_block_images() {
    let scratch = Scratch::new("erofsb").unwrap();
    lives_on("erofs", &scratch, &table("erofs", "default_size = '16MiB'"));
}

#[test]
fn blockfile() {
    let scratch = Scratch::new("block").unwrap();
    let empty = blank(&scratch.join("empty"), 64 << 20);
    make("mkfs.ext4", &["-q", &empty]);
    lives_on("blockfile", &scratch, &table("blockfile", &format!("scratch_file = '{empty}'")));
}

#[test]
fn btrfs() {
    let scratch = Scratch::new("btrfs").unwrap();
    let image = blank(&scratch.join("disk.img"), 512 << 20);
    make("mkfs.btrfs", &["-q", &image]);
    let disk = scratch.join("disk");
    std::fs::create_dir(&disk).unwrap();
    let mounted = Mounted(disk.clone());
    let mount = base::Mount::new("btrfs", image, vec!["loop".into()]);
    sys::mount::mount(&mount, &disk).unwrap();
    let root = disk.join("root");
    lives_on("btrfs", &scratch, &table("btrfs", &format!("root_path = '{}'", root.display())));
    drop(mounted);
    eventually("the disk to be free", || looped(scratch.path()).is_empty().then_some(()));
}

struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        sys::mount::unmount_recursive(&self.0, sys::mount::UnmountFlags::empty()).unwrap();
    }
}

/// Why a snapshotter is not here is told in the words of the original.
#[test]
fn reasons_to_be_skipped() {
    let scratch = Scratch::new("skip").unwrap();
    let mut daemon = Daemon::new(Kind::Ours, scratch.join("d"));
    daemon.start().unwrap();
    let reason = |id: &str| {
        let log = daemon.log();
        let line = log.lines().find(|l| l.contains("skip loading plugin") && l.contains(&format!("v1.{id}")));
        line.unwrap_or_else(|| panic!("{id} is not skipped")).to_owned()
    };
    for (id, words) in [
        ("blockfile", "no scratch file generator"),
        ("btrfs", "must be a btrfs filesystem to be used with the btrfs snapshotter"),
        ("devmapper", "devmapper not configured"),
        ("zfs", "must be a zfs filesystem to be used with the zfs snapshotter"),
    ] {
        let said = reason(id);
        assert!(said.contains(words), "{said}");
    }
    daemon.stop().unwrap();
    daemon.assert_clean();
}
