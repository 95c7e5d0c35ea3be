//! The restart monitor: keeps containers in the state that their labels ask for.
//!
//! | label `containerd.io/restart.` | meaning |
//! | --- | --- |
//! | `status` | `running` or `stopped`; containers without it are not looked at |
//! | `policy` | `always` (default), `no`, `on-failure[:N]`, `unless-stopped` |
//! | `count` | restarts so far, written here |
//! | `explicitly-stopped` | honoured by `unless-stopped` |
//! | `loguri` | where the restarted task's output goes |

mod change;
mod decide;
mod monitor;
mod policy;

pub use monitor::{Monitor, RootFs};
pub use policy::{Policy, PolicyError};

/// The state that a container should be in.
pub const STATUS_LABEL: &str = "containerd.io/restart.status";
/// When to restart.
pub const POLICY_LABEL: &str = "containerd.io/restart.policy";
/// Restarts so far.
pub const COUNT_LABEL: &str = "containerd.io/restart.count";
/// A user stopped it.
pub const EXPLICITLY_STOPPED_LABEL: &str = "containerd.io/restart.explicitly-stopped";
/// Output of restarted tasks.
pub const LOG_URI_LABEL: &str = "containerd.io/restart.loguri";
/// Not supported since 2.0; only warned about.
const LOG_PATH_LABEL: &str = "containerd.io/restart.logpath";
