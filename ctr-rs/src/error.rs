//! What can go wrong, in one line that says what to do.

use std::fmt;
use std::io;

use base::{ErrorKind, Kinded};
use tonic::{Code, Response, Status};

/// Result of nearly everything here.
pub type Result<T> = std::result::Result<T, Error>;

/// Any failure of a command. `Display` is what was tried; the source says why it failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A call was answered with an error.
    #[error("{what}")]
    Rpc {
        /// What was tried.
        what: String,
        /// The answer.
        #[source]
        answer: Answer,
    },
    /// Nobody answers at the socket.
    #[error("cannot connect to {address}")]
    Connect {
        /// The socket's path.
        address: String,
        /// Kind of the system's error.
        kind: io::ErrorKind,
        /// Its text and what to do.
        #[source]
        advice: Advice,
    },
    /// A file, terminal or pipe failed.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: String,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// A document could not be read.
    #[error("{what}")]
    Json {
        /// Which document.
        what: String,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// Arguments that make no sense, or something that is not as it must be.
    #[error("{0}")]
    Invalid(String),
    /// The same with a cause that knows its kind.
    #[error("{what}")]
    Refused {
        /// What was tried.
        what: String,
        /// Why not.
        #[source]
        source: base::Error,
    },
    /// A signal came before the process ran.
    #[error("interrupted by signal {0}")]
    Interrupted(i32),
    /// Took longer than the bound.
    #[error("{what} took longer than {limit:?}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long.
        limit: std::time::Duration,
    },
}

/// The status that a server answered with.
#[derive(Debug)]
pub struct Answer {
    kind: ErrorKind,
    text: String,
    transport: bool,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.text.is_empty() { write!(f, "{}", self.kind) } else { f.write_str(&self.text) }
    }
}

impl std::error::Error for Answer {}

/// Text that follows a failed connection.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Advice(String);

/// What the connector reports; found again in a status's sources.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{address}: {text}")]
pub struct ConnectFailure {
    /// The socket's path.
    pub address: String,
    /// Kind of the system's error.
    pub kind: io::ErrorKind,
    /// The system's text.
    pub text: String,
}

impl Error {
    /// An error of arguments or state.
    pub fn invalid(text: impl Into<String>) -> Self {
        Error::Invalid(text.into())
    }

    /// For `map_err` on system calls and file operations.
    pub fn io<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> Error {
        move |source| Error::Io { what: what.into(), source: source.into() }
    }

    /// Wraps an error that knows its kind.
    pub fn refused(what: impl Into<String>, source: impl Kinded) -> Self {
        let source = base::Error::new(source.kind(), base::chain(&source));
        Error::Refused { what: what.into(), source }
    }

    /// Turns a status into an error; a connection that could not be made is recognised.
    pub fn rpc(what: impl Into<String>, status: &Status) -> Self {
        if let Some(failure) = connect_failure(status) {
            return Error::connect(failure);
        }
        let answer = Answer {
            kind: ErrorKind::from_code(status.code() as i32),
            text: answer_text(status),
            transport: is_transport(status),
        };
        Error::Rpc { what: what.into(), answer }
    }

    fn connect(failure: &ConnectFailure) -> Self {
        let hint = match failure.kind {
            io::ErrorKind::PermissionDenied => "run as root or as a member of the socket's group",
            _ => "is the daemon running there? (-a or CONTAINERD_ADDRESS choose another socket)",
        };
        let advice = Advice(format!("{}: {hint}", failure.text));
        Error::Connect { address: failure.address.clone(), kind: failure.kind, advice }
    }

    /// Whether this is the answer "not found".
    pub fn is_not_found(&self) -> bool {
        self.kind() == ErrorKind::NotFound
    }

    /// Whether this is the answer "already exists".
    pub fn is_already_exists(&self) -> bool {
        self.kind() == ErrorKind::AlreadyExists
    }

    /// Whether the daemon went away, so that trying again can help.
    pub fn is_connection(&self) -> bool {
        match self {
            Error::Connect { kind, .. } => *kind != io::ErrorKind::PermissionDenied,
            Error::Rpc { answer, .. } => answer.transport || answer.kind == ErrorKind::Unavailable,
            _ => false,
        }
    }

    /// Whether nobody reads our output any more.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Error::Io { source, .. } if source.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::Rpc { answer, .. } => answer.kind,
            Error::Connect { .. } => ErrorKind::Unavailable,
            Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => ErrorKind::NotFound,
            Error::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                ErrorKind::PermissionDenied
            }
            Error::Io { .. } => ErrorKind::Unknown,
            Error::Json { .. } | Error::Invalid(_) => ErrorKind::InvalidArgument,
            Error::Refused { source, .. } => source.kind(),
            Error::Interrupted(_) => ErrorKind::Canceled,
            Error::Timeout { .. } => ErrorKind::DeadlineExceeded,
        }
    }
}

/// Takes the message out of a response, or says what was tried.
pub trait Answered<T> {
    /// `what` reads like "cannot create container \"x\"".
    fn or_say(self, what: impl Into<String>) -> Result<T>;
}

impl<T> Answered<T> for std::result::Result<Response<T>, Status> {
    fn or_say(self, what: impl Into<String>) -> Result<T> {
        self.map(Response::into_inner).map_err(|status| Error::rpc(what, &status))
    }
}

fn connect_failure(status: &Status) -> Option<&ConnectFailure> {
    let mut next = std::error::Error::source(status);
    while let Some(e) = next {
        if let Some(failure) = e.downcast_ref::<ConnectFailure>() {
            return Some(failure);
        }
        if let Some(failure) = e.downcast_ref::<io::Error>().and_then(|e| e.get_ref())
            && let Some(failure) = failure.downcast_ref::<ConnectFailure>()
        {
            return Some(failure);
        }
        next = e.source();
    }
    None
}

/// A status that our own side made because the connection broke, not one that the server sent.
fn is_transport(status: &Status) -> bool {
    std::error::Error::source(status).is_some() && status.code() != Code::DeadlineExceeded
}

fn answer_text(status: &Status) -> String {
    if !is_transport(status) {
        return one_line(status.message());
    }
    match std::error::Error::source(status) {
        Some(source) => format!("the connection to the daemon broke: {}", one_line(&base::chain(source))),
        None => one_line(status.message()),
    }
}

/// Errors are one line, whatever a runtime printed.
fn one_line(text: &str) -> String {
    let parts: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn an_answer_keeps_kind_and_text() {
        let e = Error::rpc(
            "cannot get container \"x\"",
            &Status::not_found("container \"x\" in namespace \"default\": not found"),
        );
        assert!(e.is_not_found() && !e.is_connection());
        assert_eq!(
            base::chain(&e),
            "cannot get container \"x\": container \"x\" in namespace \"default\": not found"
        );
    }

    #[test]
    fn text_of_several_lines_becomes_one() {
        let e = Error::rpc("cannot start", &Status::unknown("runc failed:\n  line two\n\n"));
        assert_eq!(base::chain(&e), "cannot start: runc failed:; line two");
    }

    #[test]
    fn a_failed_connection_says_what_to_do() {
        let failure = ConnectFailure {
            address: "/run/x.sock".into(),
            kind: io::ErrorKind::ConnectionRefused,
            text: "connection refused".into(),
        };
        let status = Status::from_error(Box::new(io::Error::other(failure)));
        let e = Error::rpc("cannot list", &status);
        assert!(e.is_connection());
        let text = base::chain(&e);
        assert!(
            text.starts_with(
                "cannot connect to /run/x.sock: connection refused: is the daemon running there?"
            ),
            "{text}"
        );
    }

    #[test]
    fn a_server_that_is_unavailable_can_be_asked_again() {
        assert!(Error::rpc("x", &Status::unavailable("busy")).is_connection());
        assert!(!Error::rpc("x", &Status::internal("boom")).is_connection());
    }
}
