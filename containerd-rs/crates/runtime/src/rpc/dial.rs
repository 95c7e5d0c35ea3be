//! Where a shim listens, and how to get there.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use base::{ErrorKind, Kinded};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// The longest address that is taken seriously.
const MAX_ADDRESS: usize = 4096;

/// A parsed shim address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// `unix:///path`
    Unix(PathBuf),
    /// No scheme: the abstract socket of that name (shims before 1.4).
    Abstract(String),
    /// `hvsock:///path:port`: a unix socket whose owner connects on to a port in a virtual machine.
    Hybrid { path: PathBuf, port: u32 },
}

/// Why there is no connection to a shim.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The address cannot be used.
    #[error("shim address {address:?}: {reason}")]
    Address {
        /// The address, shortened.
        address: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The socket refused, or is not there.
    #[error("dial {address}")]
    Connect {
        /// The address.
        address: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Nothing happened in time.
    #[error("dial {address}: no connection within {after:?}")]
    Timeout {
        /// The address.
        address: String,
        /// How long was waited.
        after: Duration,
    },
}

impl DialError {
    /// Nobody listens there: whatever once did is gone for good. (Reset: it went while we were in its queue.)
    pub(crate) fn is_dead(&self) -> bool {
        use io::ErrorKind::{ConnectionRefused, ConnectionReset, NotFound};
        match self {
            DialError::Connect { source, .. } => {
                matches!(source.kind(), ConnectionRefused | ConnectionReset | NotFound)
            }
            _ => false,
        }
    }
}

impl Kinded for DialError {
    fn kind(&self) -> ErrorKind {
        match self {
            DialError::Address { .. } => ErrorKind::Unknown,
            DialError::Connect { .. } => ErrorKind::Unavailable,
            DialError::Timeout { .. } => ErrorKind::DeadlineExceeded,
        }
    }
}

impl Address {
    /// Reads `unix://`, `hvsock://` and scheme-less addresses.
    pub(crate) fn parse(text: &str) -> Result<Self, DialError> {
        let refuse = |reason| {
            let address = text.chars().take(200).collect();
            Err(DialError::Address { address, reason })
        };
        if text.is_empty() {
            return refuse("is empty");
        }
        if text.len() > MAX_ADDRESS || text.chars().any(char::is_control) {
            return refuse("is not an address");
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(Address::Abstract(text.to_owned()));
        };
        match scheme {
            "unix" if rest.is_empty() => refuse("has no path"),
            "unix" => Ok(Address::Unix(rest.into())),
            "hvsock" => match rest.rsplit_once(':').map(|(path, port)| (path, port.parse())) {
                Some((path, Ok(port))) => Ok(Address::Hybrid { path: path.into(), port }),
                _ => refuse("has no port"),
            },
            _ => refuse("unsupported protocol"),
        }
    }
}

/// Connects within `limit`. A socket that nobody listens on is reported at once ([`DialError::is_dead`]).
pub(crate) async fn dial(address: &str, limit: Duration) -> Result<UnixStream, DialError> {
    let parsed = Address::parse(address)?;
    let connected = tokio::time::timeout(limit, connect(&parsed)).await;
    let address = address.to_owned();
    match connected {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(source)) => Err(DialError::Connect { address, source }),
        Err(_) => Err(DialError::Timeout { address, after: limit }),
    }
}

async fn connect(address: &Address) -> io::Result<UnixStream> {
    match address {
        Address::Unix(path) => UnixStream::connect(path).await,
        Address::Abstract(name) => UnixStream::connect(format!("\0{name}")).await,
        Address::Hybrid { path, port } => {
            let mut stream = UnixStream::connect(path).await?;
            stream.write_all(format!("CONNECT {port}\n").as_bytes()).await?;
            let mut answer = Vec::new();
            while answer.last() != Some(&b'\n') && answer.len() < 128 {
                answer.push(stream.read_u8().await?);
            }
            if answer.starts_with(b"OK") {
                Ok(stream)
            } else {
                Err(io::Error::new(io::ErrorKind::ConnectionRefused, "hybrid vsock handshake refused"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn addresses_that_shims_answer_with() {
        assert_eq!(Address::parse("unix:///run/s/ab").unwrap(), Address::Unix("/run/s/ab".into()));
        assert_eq!(
            Address::parse("/containerd-shim/a.sock").unwrap(),
            Address::Abstract("/containerd-shim/a.sock".into())
        );
        assert_eq!(
            Address::parse("hvsock:///vm/sock:1024").unwrap(),
            Address::Hybrid { path: "/vm/sock".into(), port: 1024 }
        );
        for bad in ["", "unix://", "hvsock:///vm", "http://x", "a\nb", &"x".repeat(5000)] {
            assert!(Address::parse(bad).is_err(), "{bad:.20}");
        }
    }

    #[tokio::test]
    async fn a_socket_that_nobody_listens_on_is_dead_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let address = format!("unix://{}", path.display());
        assert!(dial(&address, Duration::from_secs(5)).await.unwrap_err().is_dead());
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(dial(&address, Duration::from_secs(5)).await.unwrap_err().is_dead());
        let _listening = std::os::unix::net::UnixListener::bind(dir.path().join("t")).unwrap();
        let address = format!("unix://{}", dir.path().join("t").display());
        dial(&address, Duration::from_secs(5)).await.unwrap();
    }
}
