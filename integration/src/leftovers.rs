//! What a daemon under test leaves behind on the machine: mounts, shims, cgroups, runtime state.
//!
//! Only what carries the daemon's own directory or namespace counts, so that tests may run beside other work.

use std::path::Path;
use std::time::{Duration, Instant};

/// What is left of the daemon that had its root and state below `dir` and ran containers in `namespace`; empty when
/// nothing is.
pub fn left(dir: &Path, namespace: &str) -> Vec<String> {
    let mut left: Vec<String> = mounts_below(dir).into_iter().map(|m| format!("mount {m}")).collect();
    let dir = dir.to_string_lossy().into_owned();
    for (pid, args) in crate::daemon::processes() {
        let shim = args.first().is_some_and(|a| a.contains("containerd-shim"));
        if shim && args.iter().any(|a| a.starts_with(&dir)) {
            left.push(format!("shim {pid}"));
        }
        if args.first().is_some_and(|a| a == "pause") && args.iter().any(|a| a == namespace) {
            left.push(format!("process {pid} of a pod"));
        }
    }
    for controller in std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        let groups = controller.path().join(namespace);
        left.extend(entries(&groups).into_iter().map(|g| format!("cgroup {}/{g}", groups.display())));
    }
    let state = Path::new("/run/containerd/runc").join(namespace);
    left.extend(entries(&state).into_iter().map(|c| format!("runc state of {c}")));
    left
}

/// Panic unless nothing is left within a minute (removal of a cgroup or of a mount may trail the answer). Then remove the
/// namespace's own empty directories, which every runtime leaves.
pub fn assert_clean(dir: &Path, namespace: &str) {
    let start = Instant::now();
    loop {
        let left = left(dir, namespace);
        if left.is_empty() {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "left behind: {left:#?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    sweep(namespace);
}

/// Remove the empty directories that carry the namespace's name.
pub fn sweep(namespace: &str) {
    for controller in std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        let _ = std::fs::remove_dir(controller.path().join(namespace));
    }
    let _ = std::fs::remove_dir(Path::new("/run/containerd/runc").join(namespace));
}

/// Names of the directories in `dir`.
pub fn entries(dir: &Path) -> Vec<String> {
    let found = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let dirs = found.filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
    dirs.map(|e| e.file_name().to_string_lossy().into_owned()).collect()
}

/// Mount points at or below `dir`, in mount order.
pub fn mounts_below(dir: &Path) -> Vec<String> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = text.lines().filter_map(|l| l.split(' ').nth(4));
    points.filter(|p| Path::new(p).starts_with(dir)).map(str::to_owned).collect()
}
