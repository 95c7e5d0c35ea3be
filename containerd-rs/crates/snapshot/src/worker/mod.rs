//! The unpack worker: a process that applies one layer and is gone.
//!
//! ```text
//! daemon                                   worker (same binary, `unpack-worker`)
//!   spawn: job as argument  ------------>  open the directories, then go to jail
//!   stdin: bytes of the layer ---------->  read, decompress, hash  |  parse, write below the root
//!   stdout: lines  <---------------------  {"progress":n} ... {"done":{..}} or {"failed":{..}}
//!   stderr: for people, bounded
//! ```
//!
//! The bytes of a layer are only ever looked at in the worker. A worker that is killed, or that kills
//! itself with a bad layer, fails one apply; a daemon that goes takes its workers with it, because
//! they watch the reading end of their stdout.

mod client;
mod decode;
mod feed;
mod jail;
mod job;
mod pipeline;
mod serve;
mod space;

pub use client::WorkerOptions;
pub(crate) use client::{Outcome, Source, Workers, bytes_of, feed, last_words};
pub(crate) use decode::plain;
#[doc(hidden)]
pub use jail::Inside;
pub(crate) use job::{Job, Packing};
#[doc(hidden)]
pub use serve::enter_jail;
pub use serve::main;

/// The hidden subcommand that runs [`main`].
pub const SUBCOMMAND: &str = "unpack-worker";
