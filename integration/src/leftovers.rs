//! What a test leaves behind on the machine: mounts, shims, cgroups, processes in containers.

use std::collections::BTreeSet;
use std::path::Path;

/// The machine's state as far as a container runtime changes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    mounts: BTreeSet<String>,
    shims: BTreeSet<u32>,
    cgroups: BTreeSet<String>,
}

impl Machine {
    /// Look at the machine.
    pub fn now() -> Self {
        let shims = crate::daemon::processes()
            .filter(|(_, args)| args.first().is_some_and(|a| a.contains("containerd-shim")))
            .map(|p| p.0)
            .collect();
        let mut cgroups = BTreeSet::new();
        for controller in ["memory", "pids", "devices", "unified", "systemd"] {
            walk(&Path::new("/sys/fs/cgroup").join(controller), 0, &mut cgroups);
        }
        Self { mounts: mounts_below(Path::new("/")).into_iter().collect(), shims, cgroups }
    }

    /// What is there now and was not at `self`, in words; empty when nothing was left.
    pub fn left_since(&self) -> Vec<String> {
        let now = Self::now();
        let mut left: Vec<String> =
            now.mounts.difference(&self.mounts).map(|m| format!("mount {m}")).collect();
        left.extend(now.shims.difference(&self.shims).map(|p| format!("shim {p}")));
        left.extend(now.cgroups.difference(&self.cgroups).map(|c| format!("cgroup {c}")));
        left
    }

    /// Panic unless nothing is left within 10 s (removal of a cgroup or of a mount may trail the answer).
    pub fn assert_clean(&self) {
        let mut left = Vec::new();
        let start = std::time::Instant::now();
        while start.elapsed() < std::time::Duration::from_secs(10) {
            left = self.left_since();
            if left.is_empty() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        panic!("left behind: {left:#?}");
    }
}

fn walk(dir: &Path, depth: usize, out: &mut BTreeSet<String>) {
    if depth > 6 {
        return;
    }
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            out.insert(entry.path().to_string_lossy().into_owned());
            walk(&entry.path(), depth + 1, out);
        }
    }
}

/// Mount points at or below `dir`, in mount order.
pub fn mounts_below(dir: &Path) -> Vec<String> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = text.lines().filter_map(|l| l.split(' ').nth(4));
    points.filter(|p| Path::new(p).starts_with(dir)).map(str::to_owned).collect()
}
