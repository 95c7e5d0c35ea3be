//! Drives any containerd shim (version 2 of the shim protocol) over ttrpc, without a daemon: the library of `shim-ctl`
//! and of the tests of shims.
//!
//! [`Program`] runs a shim's verbs in any daemon's dialect, [`Task`] speaks the Task service in version 2 or 3,
//! [`Seen`] is a daemon's end of the events, [`endpoint`] finds a shim that already runs; [`Place`] and [`Bundle`]
//! lay out what a test needs.
//!
//! Spawns what ttrpc spawns: one task for each connection and for the event server.

mod bundle;
mod dialect;
pub mod endpoint;
mod events;
mod patience;
mod place;
mod program;
mod task;

pub use bundle::{Bundle, NAMESPACE, process};
pub use dialect::{Answer, Dialect};
pub use events::{EventServer, Seen, record, summary};
pub use patience::{PATIENCE, collect, eventually, forever, is_alive, refusal, signal};
pub use place::{Place, Shim};
pub use program::{Program, Started};
pub use task::{Methods, Task, Version};
