//! The kernel, safely: files that survive a crash, processes, pidfds, FIFOs, sockets, consoles, mounts, trees that cannot be
//! escaped from, cgroup files and the jail of the unpack worker.
//!
//! This is the only crate of the workspace that contains `unsafe`, and each block says why it is sound. Everything here is
//! synchronous: nothing starts a task, and the few functions that wait (`mount::unmount`, `cgroup::freeze`, ...) say how long
//! at most. Asynchronous callers move them to a blocking thread. The static shim links this crate, so it stays small.

pub mod btrfs;
pub mod cgroup;
pub mod console;
pub mod error;
mod error_kind;
pub mod fifo;
pub mod fs;
pub mod idmap;
pub mod jail;
pub mod loopdev;
pub mod mount;
pub mod pidfd;
pub mod process;
pub mod program;
pub mod sock;
pub mod spawn;
pub mod tree;
pub mod verity;
pub mod xattr;

pub use error::{Error, Result};
