//! What can go wrong with a snapshot or a layer. Messages are Go containerd's where a client sees them.

use std::io;
use std::path::{Path, PathBuf};

use base::{ErrorKind, Kinded};

/// Result of this crate's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of a snapshotter, a differ or an unpack.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A rule was not kept, an object is missing, or one is in the way.
    #[error("{message}")]
    Refused {
        /// Class of the refusal.
        kind: ErrorKind,
        /// What was refused and why.
        message: String,
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
    /// A label is too long.
    #[error("info.Labels")]
    Label(#[from] base::labels::LabelError),
    /// A file operation failed.
    #[error("{action} {}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The store of metadata or content failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The mount manager failed.
    #[error(transparent)]
    Mounts(#[from] mounts::Error),
    /// The kernel refused.
    #[error(transparent)]
    Sys(#[from] sys::Error),
    /// The task that did the work is gone.
    #[error("task ended abnormally")]
    Task(#[source] tokio::task::JoinError),
}

impl Error {
    /// A refusal.
    pub fn refused(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error::Refused { kind, message: message.into() }
    }

    pub(crate) fn not_found(key: &str) -> Self {
        Error::refused(ErrorKind::NotFound, format!("snapshot {key} does not exist"))
    }

    pub(crate) fn exists(key: &str) -> Self {
        Error::refused(ErrorKind::AlreadyExists, format!("snapshot {key}"))
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Error::refused(ErrorKind::InvalidArgument, message)
    }

    pub(crate) fn precondition(message: impl Into<String>) -> Self {
        Error::refused(ErrorKind::FailedPrecondition, message)
    }

    pub(crate) fn io(action: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Error::Io { action, path: path.to_owned(), source: source.into() }
    }

    /// Says what was being done when this error came up.
    #[must_use]
    pub fn during(self, action: impl Into<String>) -> Self {
        Error::While { action: action.into(), source: Box::new(self) }
    }
}

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::Refused { kind, .. } => *kind,
            Error::While { source, .. } => source.kind(),
            Error::Label(e) => e.kind(),
            Error::Store(e) => e.kind(),
            Error::Mounts(e) => e.kind(),
            Error::Sys(e) => e.kind(),
            Error::Io { source, .. } if source.raw_os_error() == Some(28) => ErrorKind::ResourceExhausted,
            Error::Io { .. } => ErrorKind::Unknown,
            Error::Task(_) => ErrorKind::Internal,
        }
    }
}

/// Runs blocking work off the runtime's threads.
pub(crate) async fn blocking<T, F>(work: F) -> Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T> + Send + 'static,
{
    tokio::task::spawn_blocking(work).await.map_err(Error::Task)?
}

/// Runs work that must be carried through even when the caller goes away.
pub(crate) async fn carried_through<T, F>(work: F) -> Result<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T>> + Send + 'static,
{
    tokio::spawn(work).await.map_err(Error::Task)?
}
