//! What can be wrong with a layer, or with writing it out.

use std::io;

use base::{ErrorKind, Kinded};

/// A layer that could not be applied.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// The archive breaks the format, or asks for something that is never allowed.
    #[error("invalid layer archive: {0}")]
    Malformed(String),
    /// The stream of the archive ended or failed.
    #[error("read layer")]
    Read(#[source] io::Error),
    /// A call on the target failed.
    #[error("{op} {path:?}")]
    Write {
        /// What was tried.
        op: &'static str,
        /// Path in the archive.
        path: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The layer is bigger than it may be.
    #[error("layer has more than {limit} {what}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How much is allowed.
        limit: u64,
    },
    /// The layer would fill the file system that it is written to.
    #[error(
        "layer needs more {what} than the file system of the snapshots has: {free} are free, {kept} are kept free"
    )]
    Space {
        /// What is running out.
        what: &'static str,
        /// How much is free.
        free: u64,
        /// How much has to stay free.
        kept: u64,
    },
}

impl LayerError {
    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        LayerError::Malformed(message.into())
    }

    /// Wraps a failed call on `path`.
    pub(crate) fn write(op: &'static str, path: &[u8]) -> impl FnOnce(rustix::io::Errno) -> Self {
        let path = String::from_utf8_lossy(path).into_owned();
        move |errno| LayerError::Write { op, path, source: errno.into() }
    }
}

impl Kinded for LayerError {
    fn kind(&self) -> ErrorKind {
        match self {
            LayerError::Malformed(_) => ErrorKind::InvalidArgument,
            LayerError::Limit { .. } | LayerError::Space { .. } => ErrorKind::ResourceExhausted,
            LayerError::Write { source, .. } if source.raw_os_error() == Some(28) => {
                ErrorKind::ResourceExhausted
            }
            LayerError::Read(_) | LayerError::Write { .. } => ErrorKind::Unknown,
        }
    }
}
