//! What `start` printed: the address of the shim, in one of three dialects, or garbage.

use base::{ErrorKind, Kinded};
use protobuf::Message;
use protos::shim::bootstrap::BootstrapResult;
use serde::{Deserialize, Serialize};

use super::invoke::printable;

/// The newest shim API that this daemon speaks.
pub(crate) const NEWEST_VERSION: i32 = 3;

/// How to reach a shim; what `bootstrap.json` holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// Version of the shim API: 2 or 3.
    #[serde(default)]
    pub(crate) version: i32,
    /// `unix:///path`, or an abstract socket's name.
    #[serde(default)]
    pub(crate) address: String,
    /// `ttrpc` or `grpc`.
    #[serde(default)]
    pub(crate) protocol: String,
}

/// Why the output of a shim's `start` cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// It printed nothing.
    #[error("shim answered nothing to start")]
    Empty,
    /// Neither protobuf, nor JSON, nor an address.
    #[error("shim answered garbage to start: {0:?}")]
    Garbage(String),
    /// A version that this daemon does not speak.
    #[error("unsupported shim version ({0}): not implemented")]
    Version(i32),
    /// The older Task service over gRPC, where there never was one.
    #[error("only version 3 is spoken over grpc, not {0}: not implemented")]
    GrpcVersion(i32),
    /// A protocol that this daemon does not speak.
    #[error("unexpected protocol: {0:?}")]
    Protocol(String),
}

impl Kinded for AnswerError {
    fn kind(&self) -> ErrorKind {
        match self {
            AnswerError::Version(_) | AnswerError::GrpcVersion(_) => ErrorKind::Unimplemented,
            _ => ErrorKind::Unknown,
        }
    }
}

impl Answer {
    /// Reads what a shim printed, or a `bootstrap.json`: protobuf, else JSON, else a plain address of a version 2 shim.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, AnswerError> {
        if bytes.trim_ascii().is_empty() {
            return Err(AnswerError::Empty);
        }
        let answer = match BootstrapResult::parse_from_bytes(bytes) {
            Ok(m) => Self { version: m.version, address: m.address, protocol: m.protocol },
            Err(_) => Self::parse_text(bytes)?,
        };
        answer.check(bytes)
    }

    fn parse_text(bytes: &[u8]) -> Result<Self, AnswerError> {
        let garbage = || AnswerError::Garbage(printable(bytes, 200));
        let text = std::str::from_utf8(bytes).map_err(|_| garbage())?.trim();
        if let Ok(answer) = serde_json::from_str::<Self>(text)
            && answer.version >= 2
        {
            return Ok(answer);
        }
        Ok(Self { version: 2, address: text.to_owned(), protocol: "ttrpc".to_owned() })
    }

    fn check(self, bytes: &[u8]) -> Result<Self, AnswerError> {
        if self.version > NEWEST_VERSION {
            return Err(AnswerError::Version(self.version));
        }
        if self.address.is_empty() || self.address.len() > 4096 || self.address.contains(char::is_control) {
            return Err(AnswerError::Garbage(printable(bytes, 200)));
        }
        self.usable()
    }

    /// Whether this daemon speaks the protocol.
    pub(crate) fn usable(self) -> Result<Self, AnswerError> {
        match self.protocol.to_ascii_lowercase().as_str() {
            "ttrpc" => Ok(self),
            "grpc" if self.version == NEWEST_VERSION => Ok(self),
            "grpc" => Err(AnswerError::GrpcVersion(self.version)),
            _ => Err(AnswerError::Protocol(self.protocol)),
        }
    }

    /// Whether it is spoken to in gRPC.
    pub(crate) fn is_grpc(&self) -> bool {
        self.protocol.eq_ignore_ascii_case("grpc")
    }

    /// The bytes of `bootstrap.json`.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn answer(version: i32, address: &str) -> Answer {
        Answer { version, address: address.to_owned(), protocol: "ttrpc".to_owned() }
    }

    fn protobuf(version: i32, address: &str, protocol: &str) -> Vec<u8> {
        BootstrapResult {
            version,
            address: address.to_owned(),
            protocol: protocol.to_owned(),
            ..BootstrapResult::default()
        }
        .write_to_bytes()
        .unwrap()
    }

    #[test]
    fn three_dialects_and_what_was_written_down() {
        let want = answer(3, "unix:///run/containerd/s/ab12");
        assert_eq!(Answer::parse(&protobuf(3, &want.address, "ttrpc")).unwrap(), want);
        assert_eq!(Answer::parse(&want.to_json()).unwrap(), want);
        let json = br#"{"version":2,"address":"unix:///run/s/x","protocol":"ttrpc"}"#;
        assert_eq!(Answer::parse(json).unwrap(), answer(2, "unix:///run/s/x"));
        assert_eq!(Answer::parse(b"unix:///run/s/x\n").unwrap(), answer(2, "unix:///run/s/x"));
        assert_eq!(Answer::parse(b"/containerd-shim/a.sock").unwrap(), answer(2, "/containerd-shim/a.sock"));
    }

    #[test]
    fn answers_that_cannot_be_used() {
        let json = |v: i32, p: &str| format!(r#"{{"version":{v},"address":"unix:///x","protocol":"{p}"}}"#);
        assert_eq!(Answer::parse(json(4, "ttrpc").as_bytes()), Err(AnswerError::Version(4)));
        assert_eq!(Answer::parse(&protobuf(9, "unix:///x", "ttrpc")), Err(AnswerError::Version(9)));
        assert!(Answer::parse(json(3, "GRPC").as_bytes()).unwrap().is_grpc());
        assert_eq!(Answer::parse(json(2, "grpc").as_bytes()), Err(AnswerError::GrpcVersion(2)));
        assert_eq!(Answer::parse(json(3, "http").as_bytes()), Err(AnswerError::Protocol("http".to_owned())));
        for empty in [&b""[..], b" \n\t "] {
            assert_eq!(Answer::parse(empty), Err(AnswerError::Empty));
        }
        for garbage in [
            &[0xff, 0xfe, 0x00, 0x01][..],
            b"panic: runtime error\ngoroutine 1 [running]",
            &[0x08, 0x03],
            "x".repeat(5000).as_bytes(),
            &[0x7f; 300],
        ] {
            assert!(
                matches!(Answer::parse(garbage), Err(AnswerError::Garbage(_))),
                "{:?}",
                Answer::parse(garbage)
            );
        }
    }
}
