//! Control groups of both generations: where a process is, what its group used, freezing, killing, and out-of-memory events.
//!
//! The OCI runtime makes and limits the groups of containers; this module reads them and helps when it must be done without the runtime.
//! Statistics carry every field of containerd's `io.containerd.cgroups.v1.Metrics` and `v2.Metrics` messages that
//! is read from cgroup files; network counters do not come from here.

mod ancestors;
mod control;
mod find;
mod oom;
mod text;
mod toggle;
pub mod v1;
pub mod v2;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::Result;

pub use ancestors::OomCause;
pub use oom::{OomEvents, OomWatch};

/// Where cgroup file systems are mounted.
pub const MOUNT_POINT: &str = "/sys/fs/cgroup";

/// How the machine mounts its cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Version 1 only.
    Legacy,
    /// Version 1 with an additional version 2 tree that has no limits in it.
    Hybrid,
    /// Version 2 only.
    Unified,
}

impl Mode {
    /// What is mounted at [`MOUNT_POINT`].
    pub fn detect() -> Mode {
        let is_v2 =
            |path: &Path| rustix::fs::statfs(path).is_ok_and(|s| s.f_type as u64 == CGROUP2_SUPER_MAGIC);
        let top = Path::new(MOUNT_POINT);
        if is_v2(top) {
            Mode::Unified
        } else if is_v2(&top.join("unified")) {
            Mode::Hybrid
        } else {
            Mode::Legacy
        }
    }
}

/// `CGROUP2_SUPER_MAGIC` of statfs(2).
const CGROUP2_SUPER_MAGIC: u64 = 0x6367_7270;

/// One control group. It need not exist (any more).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cgroup {
    /// A directory per controller ("memory", "cpu", "name=systemd", ...), and on a hybrid machine "unified", without limits.
    V1(BTreeMap<String, PathBuf>),
    /// One directory.
    V2(PathBuf),
}

/// Statistics of one control group.
#[derive(Clone, Debug, PartialEq)]
pub enum Stats {
    /// From a version 1 group.
    V1(v1::Metrics),
    /// From a version 2 group.
    V2(v2::Metrics),
}

impl Cgroup {
    /// The group that a process is in. Not found when there is no such process.
    pub fn of_pid(pid: u32) -> Result<Cgroup> {
        find::of_pid(pid)
    }

    /// The group with a path like "/kubepods/pod1", of which ".." is refused. It is not made.
    pub fn at(group: &str) -> Result<Cgroup> {
        find::at(group)
    }

    /// The directory for what a controller keeps; for version 2 the one directory.
    pub fn dir(&self, controller: &str) -> Option<&Path> {
        match self {
            Cgroup::V1(dirs) => dirs.get(controller).map(PathBuf::as_path),
            Cgroup::V2(dir) => Some(dir),
        }
    }

    /// All directories of the group.
    pub fn dirs(&self) -> Vec<&Path> {
        match self {
            Cgroup::V1(dirs) => dirs.values().map(PathBuf::as_path).collect(),
            Cgroup::V2(dir) => vec![dir],
        }
    }

    /// Whether any directory of the group exists.
    pub fn exists(&self) -> bool {
        self.dirs().iter().any(|d| d.exists())
    }

    /// Reads the statistics. What the kernel does not offer is zero or absent; a group that is gone gives empty statistics.
    pub fn stats(&self) -> Result<Stats> {
        match self {
            Cgroup::V1(dirs) => v1::read(dirs).map(Stats::V1),
            Cgroup::V2(dir) => v2::read(dir).map(Stats::V2),
        }
    }

    /// Starts to watch for processes killed for want of memory.
    pub fn watch_oom(&self) -> Result<OomWatch> {
        OomWatch::new(self)
    }
}
