//! Tasks as the daemon speaks of them.

use std::path::PathBuf;
use std::time::SystemTime;

use base::{Any, Mount, SandboxId};

/// What a task is made from.
#[derive(Clone, Debug, Default)]
pub struct CreateTask {
    /// The container, which names the task.
    pub container_id: String,
    /// The container's runtime (`io.containerd.runc.v2`, or an absolute path).
    pub runtime_name: String,
    /// Overrides `runtime_name` when not empty (`CreateTaskRequest.runtime_path`).
    pub runtime_path: String,
    /// The OCI spec as recorded; written to the bundle byte for byte.
    pub spec: Option<Any>,
    /// What the shim mounts as the root file system.
    pub rootfs: Vec<Mount>,
    /// Path or URI of standard input; empty: none.
    pub stdin: String,
    /// Path or URI of standard output; empty: none.
    pub stdout: String,
    /// Path or URI of standard error; empty: none.
    pub stderr: String,
    /// Whether the process has a terminal.
    pub terminal: bool,
    /// A directory with a checkpoint to restore from.
    pub checkpoint_dir: Option<PathBuf>,
    /// Restore came with the request's `RestoreFromPath`: the task is started at once, as the original does.
    pub restore_from_path: bool,
    /// Options for the runtime: the request's, or the container's when the request has none.
    pub options: Option<Any>,
    /// The sandbox that the container belongs to.
    pub sandbox_id: Option<SandboxId>,
    /// Where the sandbox's own Task service listens (`ttrpc+unix:///path`); empty: in the sandbox's bundle.
    pub task_api_address: String,
    /// The version that this service speaks.
    pub task_api_version: u32,
}

/// An additional process in a task.
#[derive(Clone, Debug, Default)]
pub struct ExecRequest {
    /// Names the process within its task.
    pub exec_id: String,
    /// Path or URI of standard input; empty: none.
    pub stdin: String,
    /// Path or URI of standard output; empty: none.
    pub stdout: String,
    /// Path or URI of standard error; empty: none.
    pub stderr: String,
    /// Whether the process has a terminal.
    pub terminal: bool,
    /// The OCI process as sent.
    pub spec: Option<Any>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Its pid; 0 when not known.
    pub pid: u32,
    /// Exit code, or 128 + signal; 255 when nobody could tell.
    pub status: u32,
    /// When it was reaped; `None` when not known.
    pub exited_at: Option<SystemTime>,
}

/// What a process is doing (`containerd.v1.types.Status`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // the names are the states' own
pub enum Status {
    /// The shim does not answer, or answered with a status that is not known.
    #[default]
    Unknown,
    Created,
    Running,
    Stopped,
    Paused,
    Pausing,
}

/// One process of a task, now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessState {
    /// The task.
    pub container_id: String,
    /// The exec, or empty for the first process.
    pub exec_id: String,
    /// Its pid.
    pub pid: u32,
    /// What it is doing.
    pub status: Status,
    /// Its standard input.
    pub stdin: String,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// Whether it has a terminal.
    pub terminal: bool,
    /// How it ended, when stopped.
    pub exit_status: u32,
    /// When it ended, when stopped.
    pub exited_at: Option<SystemTime>,
    /// Why `status` is unknown.
    pub trouble: Option<String>,
}

/// A process inside a container, as the runtime lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessInfo {
    /// Its pid on the host.
    pub pid: u32,
    /// What the runtime knows beyond the pid.
    pub info: Option<Any>,
}

/// How to reach the shim of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `ttrpc+unix:///path`, `grpc+unix:///path`
    pub address: String,
    /// The version of the task API that is spoken there.
    pub version: i32,
    /// The shim's pid; 0 when not known.
    pub shim_pid: u32,
}
