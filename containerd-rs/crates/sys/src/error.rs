//! What can go wrong when asking the kernel, with the errno kept.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Result of the functions of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of a kernel call. The errno stays reachable through [`Error::errno`] and `source()`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A call on a path failed.
    #[error("{op} {}", path.display())]
    Path {
        /// What was tried, as a verb: "open", "create directory".
        op: &'static str,
        /// What it was tried on.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A call that is not about a path failed.
    #[error("{what}")]
    Call {
        /// What was tried.
        what: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A mount failed.
    #[error("mount {fstype:?} from {from:?} on {target:?} (flags {flags:#x}, data {data:?})")]
    Mount {
        /// File system type, empty for binds and remounts.
        fstype: String,
        /// Mount source.
        from: String,
        /// Where it should have gone.
        target: PathBuf,
        /// `MS_*` bits.
        flags: u32,
        /// Option string, shortened when it is long.
        data: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The caller's argument cannot be used.
    #[error("{0}")]
    Invalid(String),
    /// Something is there already (a live socket, for one).
    #[error("{0}")]
    Exists(String),
    /// A file has content that this crate does not understand.
    #[error("malformed {}: {what}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A bounded wait ended without what was waited for.
    #[error("timed out after {millis} ms waiting for {what}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long, in milliseconds.
        millis: u64,
    },
    /// A helper program failed.
    #[error("{program} failed with {status}: {output}")]
    Program {
        /// The program.
        program: String,
        /// Its exit status in words.
        status: String,
        /// The first part of what it printed.
        output: String,
    },
}

impl Error {
    /// The errno of the kernel call, when there was one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Error::Path { source, .. } | Error::Call { source, .. } | Error::Mount { source, .. } => {
                source.raw_os_error()
            }
            _ => None,
        }
    }

    /// Whether the kernel answered with this errno.
    pub fn is_errno(&self, errno: rustix::io::Errno) -> bool {
        self.errno() == Some(errno.raw_os_error())
    }

    /// Whether the thing asked for does not exist (ENOENT).
    pub fn is_not_found(&self) -> bool {
        self.is_errno(rustix::io::Errno::NOENT)
    }

    pub(crate) fn path(op: &'static str, path: impl AsRef<Path>, source: impl Into<io::Error>) -> Error {
        Error::Path { op, path: path.as_ref().to_owned(), source: source.into() }
    }

    pub(crate) fn call(what: impl fmt::Display, source: impl Into<io::Error>) -> Error {
        Error::Call { what: what.to_string(), source: source.into() }
    }
}

/// Attaches what was being done to a raw kernel error.
pub(crate) trait Context<T> {
    fn on(self, op: &'static str, path: impl AsRef<Path>) -> Result<T>;
    fn doing(self, what: impl fmt::Display) -> Result<T>;
}

impl<T, E: Into<io::Error>> Context<T> for std::result::Result<T, E> {
    fn on(self, op: &'static str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|e| Error::path(op, path, e))
    }

    fn doing(self, what: impl fmt::Display) -> Result<T> {
        self.map_err(|e| Error::call(what, e))
    }
}
