//! Makes a layer archive out of the difference of two trees.
//!
//! The trees are containers' and may change while they are read: everything goes through descriptors
//! and nothing is followed.

mod block;
mod same;
mod walk;
mod writer;

use std::io::{self, Write};
use std::os::fd::OwnedFd;

pub(crate) use walk::Trees;

/// Writes what `trees.upper` has over `trees.lower` to `out`, times cut to `latest` (seconds since
/// 1970). Blocks.
pub(crate) fn write_difference(trees: Trees, out: impl Write, latest: Option<i64>) -> io::Result<()> {
    let upper: OwnedFd = trees.upper.try_clone()?;
    let mut writer = writer::LayerWriter::new(out, upper, latest);
    walk::walk(trees, &mut |change| writer.add(&change))?;
    writer.finish()
}

#[cfg(test)]
mod tests;
