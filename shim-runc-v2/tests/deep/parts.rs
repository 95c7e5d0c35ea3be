//! What the stories are told with.

use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::driver::*;

/// A program made of a shell script.
pub fn script(place: &Place, name: &str, body: &str) -> String {
    use std::io::Write;
    let path = place.dir.path().join(name);
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o755).open(&path).unwrap();
    file.write_all(format!("#!/bin/sh\n{body}\n").as_bytes()).unwrap();
    path.to_string_lossy().into_owned()
}

/// Runs a command of the machine.
pub fn run(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

pub fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A line of /proc/PID/status.
pub fn status_of(pid: u32, key: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find(|l| l.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Where the descriptors of a process lead.
pub fn descriptors(pid: u32) -> Vec<String> {
    let dir = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let mut all: Vec<String> =
        dir.flatten().filter_map(|e| std::fs::read_link(e.path()).ok()).map(|p| text(&p)).collect();
    all.sort();
    all
}

/// The cgroup directories of a bundle's container that exist.
pub fn cgroups(bundle: &Bundle) -> Vec<PathBuf> {
    let controllers = std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten();
    let dirs = controllers.map(|c| c.path().join(NAMESPACE).join(bundle.unique()));
    dirs.chain([PathBuf::from(format!("/sys/fs/cgroup/{NAMESPACE}/{}", bundle.unique()))])
        .filter(|d| d.exists())
        .collect()
}

/// The state of a container that the runtime keeps.
pub fn runtime_state(place: &Place, id: &str) -> PathBuf {
    place.dir.path().join("runc").join(NAMESPACE).join(id)
}

/// Living processes whose cgroup carries the bundle's name.
pub fn in_cgroup(bundle: &Bundle) -> Vec<u32> {
    let name = bundle.unique();
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    pids.filter_map(|e| e.file_name().to_string_lossy().parse::<u32>().ok())
        .filter(|pid| {
            std::fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|t| t.contains(&name))
                && is_alive(*pid)
        })
        .collect()
}

/// Mount points below a directory.
pub fn mounts_below(dir: &Path) -> Vec<String> {
    let mine = text(&dir.canonicalize().unwrap());
    let all = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points = all.lines().filter_map(|l| l.split_whitespace().nth(4));
    points.filter(|p| p.starts_with(&mine)).map(str::to_owned).collect()
}

/// Nothing of a container is left: process, cgroup, mount, state of the runtime.
pub async fn nothing_is_left(place: &Place, bundle: &Bundle) {
    eventually("no process is left", || in_cgroup(bundle).is_empty().then_some(())).await;
    assert_eq!(cgroups(bundle), Vec::<PathBuf>::new());
    let rootfs = bundle.dir.join("rootfs");
    if rootfs.exists() {
        assert_eq!(mounts_below(&rootfs), Vec::<String>::new());
    }
    assert!(!runtime_state(place, &bundle.id).exists(), "runtime state of {} is left", bundle.id);
}

/// Create and start.
pub async fn begin(task: &Task, bundle: &Bundle) -> u32 {
    task.create(&bundle.create_request()).await.unwrap();
    task.start(&bundle.id, "").await.unwrap().pid
}

/// Kill, wait, delete.
pub async fn end(task: &Task, id: &str) {
    task.kill(id, "", 9).await.unwrap();
    assert_eq!(task.wait(id, "").await.unwrap().exit_status, 137);
    task.delete(id, "").await.unwrap();
}

/// Shutdown, and the shim is gone.
pub async fn leave(shim: &Shim<'_>, task: Task, id: &str) {
    task.shutdown(id).await.unwrap();
    drop(task);
    shim.gone().await;
}
