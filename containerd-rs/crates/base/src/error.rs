//! What kind of failure an error is, and the text of it that goes on the wire.

use std::error::Error as StdError;
use std::fmt;

/// The class of a failure, one for each status code that containerd's API can answer with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)] // the names are the codes' own
pub enum ErrorKind {
    Unknown,
    InvalidArgument,
    NotFound,
    AlreadyExists,
    FailedPrecondition,
    Unavailable,
    Unimplemented,
    Canceled,
    DeadlineExceeded,
    PermissionDenied,
    ResourceExhausted,
    OutOfRange,
    Aborted,
    Internal,
    DataLoss,
    Unauthenticated,
}

/// Kind, gRPC code number, and the words that Go containerd's errdefs uses for it.
const TABLE: [(ErrorKind, i32, &str); 16] = [
    (ErrorKind::Canceled, 1, "context canceled"),
    (ErrorKind::Unknown, 2, "unknown"),
    (ErrorKind::InvalidArgument, 3, "invalid argument"),
    (ErrorKind::DeadlineExceeded, 4, "context deadline exceeded"),
    (ErrorKind::NotFound, 5, "not found"),
    (ErrorKind::AlreadyExists, 6, "already exists"),
    (ErrorKind::PermissionDenied, 7, "permission denied"),
    (ErrorKind::ResourceExhausted, 8, "resource exhausted"),
    (ErrorKind::FailedPrecondition, 9, "failed precondition"),
    (ErrorKind::Aborted, 10, "aborted"),
    (ErrorKind::OutOfRange, 11, "out of range"),
    (ErrorKind::Unimplemented, 12, "not implemented"),
    (ErrorKind::Internal, 13, "internal"),
    (ErrorKind::Unavailable, 14, "unavailable"),
    (ErrorKind::DataLoss, 15, "data loss"),
    (ErrorKind::Unauthenticated, 16, "unauthorized"),
];

impl ErrorKind {
    /// The gRPC (and ttrpc) status code number.
    pub fn code(self) -> i32 {
        self.row().1
    }

    /// The kind of a gRPC code number; anything not a failure code is `Unknown`.
    pub fn from_code(code: i32) -> Self {
        TABLE.iter().find(|row| row.1 == code).map_or(ErrorKind::Unknown, |row| row.0)
    }

    /// The words for this kind, as Go's errdefs prints them ("not found").
    pub fn text(self) -> &'static str {
        self.row().2
    }

    fn row(self) -> (ErrorKind, i32, &'static str) {
        TABLE.into_iter().find(|row| row.0 == self).unwrap_or(TABLE[1])
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// An error that knows what it means to a caller.
pub trait Kinded: StdError {
    /// The class of this failure; the only thing that status codes and decisions are made from.
    fn kind(&self) -> ErrorKind;
}

/// The whole source chain as "a: b: c".
pub fn chain(e: &dyn StdError) -> String {
    let mut text = e.to_string();
    let mut next = e.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}

/// The chain followed by the words of its kind, as Go containerd's messages end
/// (`container "x" in namespace "default": not found`). Nothing is added when they are already at
/// the end, nor for `Unknown`.
pub fn wire_text(e: &(impl Kinded + ?Sized), as_std: &dyn StdError) -> String {
    with_kind(chain(as_std), e.kind())
}

/// Puts the words of `kind` at the end of a message that does not have them yet.
pub fn with_kind(mut text: String, kind: ErrorKind) -> String {
    if kind != ErrorKind::Unknown && !text.ends_with(kind.text()) {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(kind.text());
    }
    text
}

type Source = Box<dyn StdError + Send + Sync + 'static>;

/// A general error for small crates and edges: a kind, a message and what caused it.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Source>,
}

impl Error {
    /// An error of `kind` whose `Display` is `message`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error { kind, message: message.into(), source: None }
    }

    /// Records the cause; it is not repeated in `Display`.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Source>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Wraps an error that knows its kind under a message, keeping the kind.
    pub fn wrap(message: impl Into<String>, source: impl Kinded + Send + Sync + 'static) -> Self {
        Error { kind: source.kind(), message: message.into(), source: Some(Box::new(source)) }
    }
}

macro_rules! constructors {
    ($($name:ident => $kind:ident),* $(,)?) => {
        impl Error {
            $(
                #[doc = concat!("An error of kind `", stringify!($kind), "`.")]
                pub fn $name(message: impl Into<String>) -> Self {
                    Error::new(ErrorKind::$kind, message)
                }
            )*
        }
    };
}

constructors! {
    unknown => Unknown,
    invalid => InvalidArgument,
    not_found => NotFound,
    already_exists => AlreadyExists,
    failed_precondition => FailedPrecondition,
    unavailable => Unavailable,
    unimplemented => Unimplemented,
    canceled => Canceled,
    deadline_exceeded => DeadlineExceeded,
    permission_denied => PermissionDenied,
    resource_exhausted => ResourceExhausted,
    out_of_range => OutOfRange,
    aborted => Aborted,
    internal => Internal,
    data_loss => DataLoss,
    unauthenticated => Unauthenticated,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|s| s as &(dyn StdError + 'static))
    }
}

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        self.kind
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn codes_are_grpcs_and_turn_back() {
        for (kind, code, text) in TABLE {
            assert_eq!(kind.code(), code);
            assert_eq!(ErrorKind::from_code(code), kind);
            assert_eq!(kind.to_string(), text);
        }
        for odd in [0, -1, 17, i32::MAX] {
            assert_eq!(ErrorKind::from_code(odd), ErrorKind::Unknown);
        }
    }

    #[test]
    fn chain_names_each_cause_once() {
        let io = std::io::Error::other("disk gone");
        let e = Error::wrap("create bundle", Error::internal("write spec").with_source(io));
        assert_eq!(e.to_string(), "create bundle");
        assert_eq!(chain(&e), "create bundle: write spec: disk gone");
        assert_eq!(e.kind(), ErrorKind::Internal);
        assert_eq!(wire_text(&e, &e), "create bundle: write spec: disk gone: internal");
    }

    #[test]
    fn kind_is_named_once() {
        let e = Error::not_found("lease \"a\": not found");
        assert_eq!(wire_text(&e, &e), "lease \"a\": not found");
        assert_eq!(with_kind(String::new(), ErrorKind::NotFound), "not found");
        assert_eq!(with_kind("x".into(), ErrorKind::Unknown), "x");
    }
}
