//! What can go wrong in the store, and what it means to a caller.

use std::io;
use std::path::{Path, PathBuf};

use base::{ErrorKind, Kinded};

/// Result of the store's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of the store. Messages are Go containerd's where a client can see them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A rule was not kept, an object is missing, or one is in the way. The text ends with the words
    /// of `kind`, unless that is unknown.
    #[error("{message}{}", ending(*kind))]
    Refused {
        /// Class of the refusal.
        kind: ErrorKind,
        /// What was refused and why, without the words of `kind`.
        message: String,
    },
    /// A value that came with the request is malformed.
    #[error("{what}")]
    Invalid {
        /// The field.
        what: String,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file operation failed.
    #[error("{action} {}", path.display())]
    Io {
        /// What was being done ("open", "sync", ...).
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Another process has the database open.
    #[error("metadata database {} is in use by another process: is another daemon running on this root?", path.display())]
    InUse {
        /// The database file.
        path: PathBuf,
    },
    /// The database file cannot be read as one.
    #[error("metadata database {} is damaged", path.display())]
    Damaged {
        /// The database file.
        path: PathBuf,
        /// What the database said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The database refused an operation (disk full, I/O error).
    #[error("metadata database {}", path.display())]
    Database {
        /// The database file.
        path: PathBuf,
        /// What the database said; shared by everything in one group commit.
        #[source]
        source: std::sync::Arc<redb::Error>,
    },
    /// A record in the database does not decode.
    #[error("record {key:?} in table {table}: {reason}")]
    Record {
        /// Table name.
        table: &'static str,
        /// The key, lossily as text.
        key: String,
        /// What is wrong with the bytes.
        reason: &'static str,
    },
    /// The database was closed while the call waited.
    #[error("metadata database is closed")]
    Closed,
    /// A change panicked; it was undone.
    #[error("metadata change failed unexpectedly: {0}")]
    Panicked(String),
}

fn ending(kind: ErrorKind) -> String {
    if kind == ErrorKind::Unknown { String::new() } else { format!(": {kind}") }
}

impl Error {
    pub(crate) fn refused(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error::Refused { kind, message: message.into() }
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::refused(ErrorKind::NotFound, message)
    }

    pub(crate) fn already_exists(message: impl Into<String>) -> Self {
        Self::refused(ErrorKind::AlreadyExists, message)
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::refused(ErrorKind::InvalidArgument, message)
    }

    pub(crate) fn precondition(message: impl Into<String>) -> Self {
        Self::refused(ErrorKind::FailedPrecondition, message)
    }

    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::refused(ErrorKind::Unavailable, message)
    }

    pub(crate) fn field(
        what: impl Into<String>,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Error::Invalid { what: what.into(), source: Box::new(source) }
    }

    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Error::Io { action, path: path.to_owned(), source }
    }

    /// Whether the object does not exist.
    pub fn is_not_found(&self) -> bool {
        self.kind() == ErrorKind::NotFound
    }

    /// Whether the object was there already.
    pub fn is_already_exists(&self) -> bool {
        self.kind() == ErrorKind::AlreadyExists
    }
}

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::Refused { kind, .. } => *kind,
            Error::Invalid { .. } => ErrorKind::InvalidArgument,
            Error::Io { source, .. } => io_kind(source),
            Error::Database { source, .. } => match &**source {
                redb::Error::Io(e) => io_kind(e),
                _ => ErrorKind::Unavailable,
            },
            Error::InUse { .. } => ErrorKind::FailedPrecondition,
            Error::Damaged { .. } | Error::Record { .. } => ErrorKind::DataLoss,
            Error::Closed => ErrorKind::Unavailable,
            Error::Panicked(_) => ErrorKind::Internal,
        }
    }
}

/// A full disk is worth telling apart: the caller can free space and try again.
fn io_kind(e: &io::Error) -> ErrorKind {
    match e.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::ResourceExhausted,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::PermissionDenied,
        _ => ErrorKind::Unknown,
    }
}
