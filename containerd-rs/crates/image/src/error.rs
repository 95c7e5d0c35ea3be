//! What can go wrong in a transfer, and what it means to a caller.

use base::oci::ClassifyError;
use base::{Digest, ErrorKind, Kinded};

use crate::registry::RegistryError;

/// Result of this crate's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of a transfer. Messages are Go containerd's where a client can see them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A rule was not kept, something is missing or in the way.
    #[error("{message}")]
    Refused {
        /// Class of the refusal.
        kind: ErrorKind,
        /// What was refused and why.
        message: String,
    },
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The store of metadata or content.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Snapshots or layers.
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
    /// A manifest or index that can be read in two ways, or is none.
    #[error("children: invalid desc {digest}")]
    Document {
        /// Its digest.
        digest: Digest,
        /// Why.
        #[source]
        source: ClassifyError,
    },
    /// JSON that does not have the shape it should.
    #[error("decode {what}")]
    Json {
        /// What was decoded.
        what: String,
        /// Why it was not.
        #[source]
        source: serde_json::Error,
    },
    /// An archive that cannot be read or written.
    #[error("{action}")]
    Archive {
        /// What was being done.
        action: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// Something failed while doing what `action` says.
    #[error("{action}")]
    While {
        /// What was being done.
        action: String,
        /// What failed.
        #[source]
        source: Box<Error>,
    },
    /// No verifier of images lets it through.
    #[error(transparent)]
    Verify(#[from] crate::verify::VerifyError),
    /// A task of the transfer is gone.
    #[error("task ended abnormally")]
    Task(#[source] tokio::task::JoinError),
}

impl Error {
    pub(crate) fn refused(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error::Refused { kind, message: message.into() }
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Error {
        Error::refused(ErrorKind::NotFound, message)
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Error {
        Error::refused(ErrorKind::InvalidArgument, message)
    }

    pub(crate) fn precondition(message: impl Into<String>) -> Error {
        Error::refused(ErrorKind::FailedPrecondition, message)
    }

    pub(crate) fn json(what: impl Into<String>, source: serde_json::Error) -> Error {
        Error::Json { what: what.into(), source }
    }

    pub(crate) fn archive(action: impl Into<String>, source: std::io::Error) -> Error {
        Error::Archive { action: action.into(), source }
    }

    /// Says what was being done when this error came up.
    #[must_use]
    pub fn during(self, action: impl Into<String>) -> Error {
        Error::While { action: action.into(), source: Box::new(self) }
    }

    /// Whether the same call may succeed later without any change on our side.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Error::Registry(e) => e.is_transient(),
            Error::While { source, .. } => source.is_transient(),
            _ => false,
        }
    }
}

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::Refused { kind, .. } => *kind,
            Error::Registry(e) => e.kind(),
            Error::Store(e) => e.kind(),
            Error::Snapshot(e) => e.kind(),
            Error::Document { source, .. } => source.kind(),
            Error::Json { .. } => ErrorKind::InvalidArgument,
            Error::Archive { source, .. } => match source.kind() {
                std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof => {
                    ErrorKind::InvalidArgument
                }
                std::io::ErrorKind::StorageFull => ErrorKind::ResourceExhausted,
                _ => ErrorKind::Unknown,
            },
            Error::While { source, .. } => source.kind(),
            Error::Verify(e) => e.kind(),
            Error::Task(_) => ErrorKind::Internal,
        }
    }
}
