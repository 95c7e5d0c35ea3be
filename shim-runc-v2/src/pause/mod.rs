//! The process that holds a pod's namespaces, and the one that makes it. Both are this program, run once more.
//!
//! ```text
//! shim --spawn--> setup (makes and joins namespaces, and an empty root) --spawn--> pause (pid 1 where pids are shared)
//!   ^---- "PID" or an error, then it ends -------'                                  |  the shim's child from then on
//!   '--------------------------- lifeline: a pipe of which the shim has the other end ---'
//! ```
//! `setup` reads its [`Plan`](crate::sandbox::plan::Plan) as one line of JSON from the lifeline. `pause` sees an empty
//! read-only root, has no rights, collects the dead, and ends with the lifeline or on SIGTERM.

pub(crate) mod hold;
pub(crate) mod setup;

/// The verb of the process that makes the namespaces.
pub(crate) const SETUP: &str = "pause-setup";
/// The verb of the process that holds them.
pub(crate) const PAUSE: &str = "pause";
/// What that one says, once, when it is ready.
pub(crate) const READY: &str = "ready";
/// Longest plan.
pub(crate) const MAX_PLAN: usize = 1 << 20;
