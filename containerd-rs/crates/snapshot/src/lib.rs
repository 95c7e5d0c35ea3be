//! Root file systems: snapshotters, the namespaced view over them, and layers applied and made.
//!
//! ```text
//! Snapshots (namespaces, leases, snapshot.ref)          Walking (apply, compare)
//!     |                                                     |  spawns
//! Overlay | Native   (dyn Snapshotter)                  worker::main (jailed process): layer::apply
//! ```
//!
//! Must not: mount what it gives to others, speak wire types, or read an archive in the daemon's own
//! process. Spawns: one worker process per layer, one writer thread per snapshotter (in `store::kv`),
//! blocking-pool jobs for directory work, a task for each call that changes something, so that a
//! caller who goes away leaves nothing half-done, and one that settles committed snapshots on disk.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod apart;
mod backend;
pub mod blockfile;
pub mod btrfs;
pub mod devmapper;
mod differ;
pub mod erofs;
mod error;
mod info;
pub mod layer;
mod namespaced;
pub mod native;
pub mod overlay;
mod snapshotter;
mod volume;
pub mod walking;
pub mod worker;
pub mod zfs;

pub use apart::Apart;
pub use differ::{ApplyOptions, Arriving, CompareOptions, Differ, Progress};
pub use error::{Error, Result};
pub use info::{CommitOptions, Info, Kind, ONLY_REMAP_IDS, REBASE, REMAP_IDS, Usage};
pub use namespaced::Snapshots;
pub use snapshotter::Snapshotter;
pub use volume::Volumes;
