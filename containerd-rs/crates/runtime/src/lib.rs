//! Bundles, shims and tasks: the only speaker of the shim protocol.
//!
//! The daemon holds a record (`entry`) and a connection per task; the processes belong to the shims, which outlive
//! the daemon. Truth about a process is asked from its shim; events are hints, and each end is told exactly once.
//!
//! What this crate must not do: parse images, touch snapshots, know gRPC, become the parent of a container.
//!
//! Tasks it spawns: per connection a driver (`rpc::conn`) and a watcher (`shim::death`), per shim a log copier
//! (`shimlog`), per changing call one tracked task, at start-up one per bundle (`recover`), and the restart monitor.
//!
//! | where | what |
//! | --- | --- |
//! | `binary/` | finding and running shim programs |
//! | `rpc/` | ttrpc and the Task service |
//! | `bundle/` | the directories |
//! | `shim/` | connections, and what follows a shim's death |
//! | `task/` | one verb per file |
//! | `sandbox/` | the sandbox controller of shims that are sandboxes |
//! | `recover/` | taking over what an earlier daemon left |
//! | `restart/` | the restart monitor |
#![forbid(unsafe_code)]

mod binary;
mod bundle;
mod entry;
mod error;
mod gate;
mod model;
mod options;
mod records;
mod recover;
pub mod restart;
mod rpc;
mod runtime;
pub mod sandbox;
mod shim;
mod shimlog;
mod table;
mod task;
mod wire;

pub use binary::{AnswerError, InvokeError, ResolveError, RuntimeInfo};
pub use error::{Error, SharedError};
pub use model::{CreateTask, Endpoint, ExecRequest, Exit, ProcessInfo, ProcessState, Status};
pub use options::{LogSink, RuntimeOptions, Timeouts};
pub use records::Records;
pub use recover::Recovered;
pub use rpc::{CallError, DialError};
pub use runtime::Runtime;

/// Ways in for the fuzz targets.
#[doc(hidden)]
pub mod fuzzing {
    /// Reads what a shim's `start` printed.
    pub fn bootstrap_answer(bytes: &[u8]) {
        let _refused = crate::binary::Answer::parse(bytes);
    }
}
