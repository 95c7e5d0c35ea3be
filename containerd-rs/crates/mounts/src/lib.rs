//! The mount manager: mounts that the kernel cannot be given as they are.
//!
//! A snapshotter may answer mounts whose types say what has to happen first: `mkfs/ext4` (make the file system once),
//! `format/overlay` (fill in where earlier mounts are), `format/mkdir/bind`, or types that a handler knows (`loop`, `erofs`). An
//! activation carries that out below a directory of the manager's own, and answers the mounts that are left to the caller.
//!
//! ```text
//!  plan (pure) -> directory t/<id> -> transform, mount, next -> record
//!                      |                                          |
//!                      +-- a crash here leaves a directory that   +-- deactivate: record away, unmount backwards, directory away
//!                          no record names: undone at the next start and by each garbage collection
//! ```
//!
//! Must not: speak wire types, or mount anything outside its directory. Spawns: one writer thread (in `store::kv`), blocking-pool
//! jobs for mounts and programs, a task for each call that changes something, so that a caller who goes leaves nothing half-done.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod activation;
mod collect;
mod error;
mod handler;
mod manager;
mod perform;
mod plan;
mod records;
mod size;
mod template;
mod transform;

pub use activation::{ActivateOptions, Activation, Active};
pub use error::{Error, Result};
pub use manager::{Manager, ManagerOptions, Temporary};
pub use size::parse_size;
