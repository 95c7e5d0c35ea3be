//! Sandboxes as the daemon speaks of them.

use std::collections::BTreeMap;
use std::time::SystemTime;

use base::{Any, Mount};

/// What a sandbox is made from.
#[derive(Clone, Debug, Default)]
pub struct CreateSandbox {
    /// Names it, and the group of its containers.
    pub id: String,
    /// The runtime (`io.containerd.runc.v2`, or an absolute path).
    pub runtime_name: String,
    /// Options for the shim's start.
    pub runtime_options: Option<Any>,
    /// Written to the bundle as `config.json`, byte for byte; `None`: there is none.
    pub spec: Option<Any>,
    /// What is mounted as its root file system.
    pub rootfs: Vec<Mount>,
    /// Options for the sandbox: CRI's `PodSandboxConfig`.
    pub options: Option<Any>,
    /// A network namespace made for it; empty: the host's, or what the spec says.
    pub netns_path: String,
    /// Passed on.
    pub annotations: BTreeMap<String, String>,
}

/// A sandbox that runs.
#[derive(Clone, Debug, PartialEq)]
pub struct SandboxInstance {
    /// The process in whose namespaces (`/proc/PID/ns/...`) its containers run; 0 when there is none on this machine.
    pub pid: u32,
    /// When it was made.
    pub created_at: Option<SystemTime>,
    /// Where its Task service listens (`ttrpc+unix:///path`).
    pub address: String,
    /// The version of that service.
    pub version: u32,
    /// Labels to be recorded.
    pub labels: BTreeMap<String, String>,
    /// A spec to be recorded.
    pub spec: Option<Any>,
}

/// How a sandbox ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SandboxExit {
    /// Exit code, or 128 + signal; 255 when nobody could tell.
    pub status: u32,
    /// When.
    pub exited_at: SystemTime,
}

/// How a sandbox is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SandboxStatus {
    /// See [`SandboxInstance::pid`]; 0 when it has ended.
    pub pid: u32,
    /// `SANDBOX_READY`, `SANDBOX_NOTREADY`; empty for a sandbox that is not there.
    pub state: String,
    /// More, when asked for.
    pub info: BTreeMap<String, String>,
    /// When it was made.
    pub created_at: Option<SystemTime>,
    /// When it ended.
    pub exited_at: Option<SystemTime>,
    /// What only its own kind understands.
    pub extra: Option<Any>,
    /// See [`SandboxInstance::address`].
    pub address: String,
    /// See [`SandboxInstance::version`].
    pub version: u32,
}

/// What a sandbox uses.
#[derive(Clone, Debug, PartialEq)]
pub struct SandboxMetrics {
    /// When that was read.
    pub timestamp: Option<SystemTime>,
    /// Whose it is.
    pub id: String,
    /// `io.containerd.cgroups.v1.Metrics`, `io.containerd.cgroups.v2.Metrics`, or the shim's own.
    pub data: Option<Any>,
}
