//! OCI layer archives: applying one to a directory and writing one from a difference.
//!
//! The bytes of a layer are an attacker's. Nothing here follows a path of an archive with the plain
//! calls: a parent directory is opened with `openat2` below the root's descriptor
//! (`RESOLVE_IN_ROOT`), the last component is touched by one-component `*at` calls that do not
//! follow links. Work is linear in the archive: no marker makes a tree be walked twice.
//!
//! Rules followed: OCI image-spec `layer.md`, POSIX pax, GNU tar (long names, sparse files), and
//! where they leave room, what Go containerd's `pkg/archive` does.

mod apart;
mod apply;
mod attributes;
mod below;
mod entry;
mod error;
mod make;
mod name;
mod node;
mod pax;
mod reader;
mod remove;
mod sparse;
mod steps;
mod tree;
mod whiteout;

pub(crate) use apart::MAX_UNDECIDED;
pub use apart::{Settled, Undecided, settle};
pub use apply::{Applied, Limits, Rules, Target, apply};
pub use error::LayerError;
pub(crate) use make::{Trees, write_difference};
pub(crate) use remove::remove_all as remove_tree;
pub use whiteout::Hiding;

/// Prefix of a file name that says "the rest of this name is removed from the layers below".
pub(crate) const WHITEOUT_PREFIX: &[u8] = b".wh.";
/// Name of the marker that hides all that lower layers have in its directory.
pub(crate) const OPAQUE_MARKER: &[u8] = b".wh..wh..opq";
/// Prefix of pax records that hold an extended attribute.
pub(crate) const XATTR_RECORD: &[u8] = b"SCHILY.xattr.";
/// The overlay attribute that makes a directory hide what is below.
pub(crate) const OVERLAY_OPAQUE: &str = "trusted.overlay.opaque";

#[cfg(test)]
mod linear_tests;
#[cfg(test)]
mod tests;
