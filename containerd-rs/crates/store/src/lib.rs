//! Durable truth: metadata on redb, the content store, leases, garbage collection.
//!
//! What must survive a crash goes through here, data before metadata: a blob is synced and renamed
//! into place before the record that names it is committed. Reads are inline and never wait; every
//! change runs on one writer thread, grouped with its neighbours into one fsync.
//!
//! It knows nothing of wire types, mounts or processes.
//!
//! It starts: one writer thread per database ([`kv::Kv`]), blocking-pool jobs for file work, and the
//! task of [`Scheduler`] once that is started.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod codec;
pub mod content;
mod error;
pub mod gc;
mod inflight;
mod key;
pub mod kv;
mod metadata;

pub use content::{
    Blob, ContentInfo, ContentStore, ContentWriter, IngestStatus, LocalContent, WriterOptions,
};
pub use error::{Error, Result};
pub use gc::{Collection, Collector, Gc, GcReport, OnReport, Scheduler, SchedulerOptions, SnapshotBackend};
pub use metadata::*;
