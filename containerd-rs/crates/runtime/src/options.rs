//! What the runtime is started with.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Where the bytes of shim logs go; called with whole reads, must not block for long.
pub type LogSink = Arc<dyn Fn(&[u8]) + Send + Sync>;

/// Where things are, and what shims are told.
#[derive(Clone)]
pub struct RuntimeOptions {
    /// Work directories: `<daemon root>/io.containerd.runtime.v2.task`.
    pub root: PathBuf,
    /// Bundles: `<daemon state>/io.containerd.runtime.v2.task`.
    pub state: PathBuf,
    /// The daemon's gRPC socket path.
    pub address: String,
    /// The daemon's ttrpc socket path, where shims send events.
    pub ttrpc_address: String,
    /// The daemon's own program (`-publish-binary`); shims are also looked for beside it.
    pub daemon_binary: PathBuf,
    /// The containerd version that shims are told.
    pub version: String,
    /// `KEY=value` added to every shim's environment.
    pub shim_env: Vec<String>,
    /// Where shims put their sockets, when not `/run/containerd/s`. Absolute, at most 42 characters.
    pub socket_dir: Option<PathBuf>,
    /// The daemon logs at debug or trace level: shims do, too.
    pub debug: bool,
    /// Bounds of the calls that have one.
    pub timeouts: Timeouts,
    /// Makes those mounts of root file systems that shims cannot; `None`: shims get all of them as they are.
    pub mounts: Option<mounts::Manager>,
    /// Where shim logs go; `None`: the daemon's standard error.
    pub log_sink: Option<LogSink>,
}

/// How long each kind of wait may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// The shim's `start` command, and the connection after it.
    pub start: Duration,
    /// `io.containerd.timeout.shim.cleanup`: the shim's `delete` command and other clean-up.
    pub cleanup: Duration,
    /// `io.containerd.timeout.shim.load`: connecting to a shim after a restart.
    pub load: Duration,
    /// `io.containerd.timeout.shim.shutdown`: the Shutdown call.
    pub shutdown: Duration,
    /// `io.containerd.timeout.task.state`: one state query.
    pub state: Duration,
    /// `io.containerd.timeout.metrics.shimstats`: one metrics query.
    pub stats: Duration,
    /// Creating a container or restoring one; the original leaves this to the client.
    pub create: Duration,
    /// A SIGKILL through the shim, after which the daemon kills by itself; other signals have three times that.
    pub kill: Duration,
    /// Every other call that changes something; the original leaves this to the client.
    pub call: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            start: Duration::from_secs(60),
            cleanup: Duration::from_secs(5),
            load: Duration::from_secs(5),
            shutdown: Duration::from_secs(3),
            state: Duration::from_secs(2),
            stats: Duration::from_secs(2),
            create: Duration::from_secs(600),
            kill: Duration::from_secs(10),
            call: Duration::from_secs(120),
        }
    }
}
