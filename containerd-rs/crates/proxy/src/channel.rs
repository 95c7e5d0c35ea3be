//! One lazy connection to an address, shared by the plugins that name it.

use std::time::Duration;

use base::{Error, ErrorKind, Scope};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

/// How long any call may take but those that move layers.
const CALL: Duration = Duration::from_secs(60);
/// How long applying or making a layer may take.
pub(crate) const LAYER: Duration = Duration::from_secs(3600);
/// Bytes of one message, both ways.
pub(crate) const MESSAGE: usize = 16 << 20;

/// A connection that is made when it is first used, and made again when it broke.
#[derive(Clone)]
pub struct Connection {
    channel: Channel,
    address: String,
}

impl Connection {
    /// `address` is the path of a unix socket, with or without `unix://`. Needs a tokio runtime; does no I/O.
    pub fn new(address: &str) -> Result<Self, Error> {
        let path = address.strip_prefix("unix://").unwrap_or(address);
        if !path.starts_with('/') {
            return Err(Error::invalid(format!(
                "proxy address {address:?} must be the absolute path of a unix socket"
            )));
        }
        let endpoint = Endpoint::try_from(format!("unix://{path}"))
            .map_err(|e| Error::invalid(format!("proxy address {address:?}")).with_source(e))?;
        let channel = endpoint.connect_timeout(Duration::from_secs(3)).connect_lazy();
        Ok(Self { channel, address: path.to_owned() })
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// The socket's path.
    pub fn address(&self) -> &str {
        &self.address
    }
}

/// `message` with its namespace and a deadline. Leases are this daemon's own affair: the other side does not know them.
pub(crate) fn request<T>(scope: &Scope, message: T) -> Request<T> {
    request_within(scope, message, CALL)
}

/// [`request`] with a deadline of one's own.
pub(crate) fn request_within<T>(scope: &Scope, message: T, bound: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(bound);
    if let Ok(namespace) = scope.namespace.as_str().parse() {
        request.metadata_mut().insert("containerd-namespace", namespace);
    }
    request
}

/// The kind of a status, and its message without the kind's words at the end.
pub(crate) fn failure(status: &Status) -> (ErrorKind, String) {
    let kind = ErrorKind::from_code(status.code() as i32);
    let message = status.message();
    let bare = message.strip_suffix(kind.text()).map_or(message, |m| m.trim_end_matches([':', ' ']));
    (kind, if bare.is_empty() { message.to_owned() } else { bare.to_owned() })
}
