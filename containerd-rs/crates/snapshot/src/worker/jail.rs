//! What the worker gives up before it looks at the first byte.

use std::path::Path;

use sys::jail::{JailOptions, enter as enter_jail};

use crate::layer::LayerError;

/// Goes to jail below `root`, with at most `memory` bytes. The directories that will be used must be
/// open already; the process must still have one thread.
pub(super) fn enter(root: &Path, memory: u64) -> Result<(), LayerError> {
    let options = JailOptions { root: Some(root), memory_limit: Some(memory), ..JailOptions::default() };
    enter_jail(&options)
        .map_err(|e| LayerError::Read(std::io::Error::other(format!("jail: {}", base::chain(&e)))))
}
