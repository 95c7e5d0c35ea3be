//! What can go wrong between us and a registry.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base::{ErrorKind, Kinded};
use http::{Method, StatusCode};

/// Why one host could not serve a request.
///
/// URLs in it are without query values and user information.
#[derive(Clone, Debug)]
pub enum Failure {
    /// No answer: name lookup, connect, TLS or the connection itself failed.
    Transport {
        /// Method of the request.
        method: Method,
        /// Where it went.
        url: String,
        /// The network's answer.
        source: Arc<dyn StdError + Send + Sync>,
    },
    /// The host went silent.
    Stalled {
        /// Method of the request.
        method: Method,
        /// Where it went.
        url: String,
        /// What was waited for.
        waited_for: &'static str,
        /// How long.
        after: Duration,
    },
    /// 404.
    NotFound,
    /// The host wants credentials that we do not have, or refuses those we have.
    Denied {
        /// What is missing or was refused.
        reason: String,
    },
    /// Another status than the expected ones.
    Status {
        /// Method of the request.
        method: Method,
        /// Where it went.
        url: String,
        /// The status.
        status: StatusCode,
        /// What the registry says about it, cleaned and cut.
        message: Option<String>,
    },
    /// An answer that breaks the protocol or contradicts the descriptor.
    BadAnswer {
        /// Where it came from.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The manifest is larger than any manifest may be.
    TooLarge {
        /// Its announced or seen size in bytes.
        size: u64,
        /// The largest accepted size in bytes.
        limit: u64,
    },
}

impl Failure {
    /// How far the request got; the failure that got furthest is the one to report.
    fn rank(&self) -> u8 {
        match self {
            Failure::Transport { .. } | Failure::Stalled { .. } => 1,
            Failure::NotFound => 2,
            Failure::Denied { .. } => 3,
            Failure::Status { .. } => 4,
            Failure::BadAnswer { .. } | Failure::TooLarge { .. } => 5,
        }
    }

    /// Whether the same request may succeed a moment later.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Failure::Transport { source, .. } => {
                !super::transport::is_tls_refusal(source.as_ref())
                    && super::transport::unreadable(source.as_ref()).is_none()
            }
            Failure::Stalled { .. } => true,
            Failure::Status { status, .. } => {
                status.is_server_error() || matches!(status.as_u16(), 408 | 429)
            }
            _ => false,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Transport { method, url, source } => {
                write!(f, "failed to do request: {method} {url}: {}", base::chain(source.as_ref()))
            }
            Failure::Stalled { method, url, waited_for, after } => {
                write!(f, "failed to do request: {method} {url}: no {waited_for} within {after:?}")
            }
            Failure::NotFound => f.write_str("not found"),
            Failure::Denied { reason } => write!(
                f,
                "access denied, repository does not exist or may require authorization: authorization failed: {reason}"
            ),
            Failure::Status { method, url, status, message } => {
                write!(f, "unexpected status from {method} request to {url}: {status}")?;
                message.as_ref().map_or(Ok(()), |m| write!(f, ": {m}"))
            }
            Failure::BadAnswer { url, problem } => write!(f, "bad answer from {url}: {problem}"),
            Failure::TooLarge { size, limit } => {
                write!(f, "rejecting {size} byte manifest, the limit is {limit} bytes")
            }
        }
    }
}

impl StdError for Failure {}

/// One host that was tried.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// `name` or `name:port`.
    pub host: String,
    /// Its answer.
    pub failure: Failure,
}

/// Why a registry operation failed.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The reference cannot be used.
    #[error("invalid reference {reference:?}: {problem}")]
    Reference {
        /// As given.
        reference: String,
        /// What is wrong.
        problem: String,
    },
    /// The configuration of the registry's hosts cannot be read.
    #[error("configure hosts of {registry}")]
    Config {
        /// The registry.
        registry: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The configured certificates or keys of a host cannot be used.
    #[error("configure TLS for {host}: {problem}")]
    Tls {
        /// The host.
        host: String,
        /// What is wrong.
        problem: String,
    },
    /// No configured host may do this.
    #[error("no {verb} hosts for {registry}")]
    NoHosts {
        /// `resolve`, `pull` or `push`.
        verb: &'static str,
        /// The registry.
        registry: String,
    },
    /// Each host was tried.
    #[error("{}", describe(subject, attempts))]
    Hosts {
        /// What was asked for: a reference or a descriptor.
        subject: String,
        /// Every host tried, in order, with its answer.
        attempts: Vec<Attempt>,
    },
    /// A descriptor that no registry can serve.
    #[error("{0}")]
    Descriptor(String),
    /// Local bytes for an upload could not be read.
    #[error("read content to upload")]
    Source(#[source] std::io::Error),
}

impl RegistryError {
    pub(crate) fn one(subject: impl Into<String>, host: &str, failure: Failure) -> RegistryError {
        let attempts = vec![Attempt { host: host.to_owned(), failure }];
        RegistryError::Hosts { subject: subject.into(), attempts }
    }

    /// Whether a later retry may succeed without any change of ours.
    pub fn is_transient(&self) -> bool {
        match self {
            RegistryError::Hosts { attempts, .. } => attempts.iter().any(|a| a.failure.is_transient()),
            _ => false,
        }
    }
}

/// The attempt that got furthest; among equals the first.
fn main_attempt(attempts: &[Attempt]) -> Option<&Attempt> {
    attempts.iter().rev().max_by_key(|a| a.failure.rank())
}

fn describe(subject: &str, attempts: &[Attempt]) -> String {
    let mut text = match main_attempt(attempts) {
        Some(main) => format!("{subject}: {}", main.failure),
        None => format!("{subject}: not found"),
    };
    if attempts.len() > 1 {
        let each: Vec<String> = attempts.iter().map(|a| format!("{}: {}", a.host, a.failure)).collect();
        text.push_str(&format!(" (hosts tried: {})", each.join("; ")));
    }
    text
}

impl Kinded for RegistryError {
    /// The original answers every registry status but 404 with an untyped error, so do we.
    fn kind(&self) -> ErrorKind {
        match self {
            RegistryError::Reference { .. } | RegistryError::Descriptor(_) => ErrorKind::InvalidArgument,
            RegistryError::NoHosts { .. } => ErrorKind::NotFound,
            RegistryError::Config { .. } | RegistryError::Tls { .. } | RegistryError::Source(_) => {
                ErrorKind::Unknown
            }
            RegistryError::Hosts { attempts, .. } => match main_attempt(attempts).map(|a| &a.failure) {
                None | Some(Failure::NotFound | Failure::TooLarge { .. }) => ErrorKind::NotFound,
                Some(_) => ErrorKind::Unknown,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn attempt(host: &str, failure: Failure) -> Attempt {
        Attempt { host: host.to_owned(), failure }
    }

    #[test]
    fn each_host_is_listed_and_the_furthest_leads() {
        let status = Failure::Status {
            method: Method::HEAD,
            url: "https://m/v2/".to_owned(),
            status: StatusCode::SERVICE_UNAVAILABLE,
            message: Some("down for repair".to_owned()),
        };
        let e = RegistryError::Hosts {
            subject: "r.io/a:1".to_owned(),
            attempts: vec![attempt("m", status), attempt("r.io", Failure::NotFound)],
        };
        let text = e.to_string();
        assert!(
            text.starts_with("r.io/a:1: unexpected status from HEAD request to https://m/v2/: 503"),
            "{text}"
        );
        assert!(text.contains("m: unexpected status") && text.contains("r.io: not found"), "{text}");
        assert!(text.contains("down for repair"));
        assert_eq!(e.kind(), ErrorKind::Unknown);
    }

    #[test]
    fn not_found_is_short_with_one_host() {
        let e =
            RegistryError::one("docker.io/library/nope:latest", "registry-1.docker.io", Failure::NotFound);
        assert_eq!(e.to_string(), "docker.io/library/nope:latest: not found");
        assert_eq!(e.kind(), ErrorKind::NotFound);
    }
}
