//! Finds a shim's socket, and calls its Task service in version 3 or 2: their messages are the same.

use base::{Digest, ErrorKind};
use protobuf::Message;
use ttrpc::Code;
use ttrpc::asynchronous::Client;

use crate::cli::Global;
use crate::error::{Error, Result};

/// Where shims listen, unless the daemon was told otherwise.
const SOCKETS: &str = "/run/containerd/s";
/// Newest first.
const SERVICES: [&str; 2] = ["containerd.task.v3.Task", "containerd.task.v2.Task"];

/// A connection to a shim.
pub(super) struct Shim {
    client: Client,
    id: Option<String>,
}

/// Connects to the address that is given, or to the one that follows from the id.
pub(super) async fn connect(global: &Global, id: Option<String>, address: Option<&str>) -> Result<Shim> {
    let address = match (address, &id) {
        (Some(address), _) if address.contains("://") => address.to_owned(),
        (Some(path), _) => format!("unix://{path}"),
        (None, Some(id)) => address_of(global, id),
        (None, None) => return Err(Error::invalid("give the shim's --id or its --shim-address")),
    };
    let client = Client::connect(&address).await.map_err(|e| {
        let why = base::Error::new(ErrorKind::Unavailable, e.to_string());
        Error::refused(format!("cannot connect to shim {address}"), why)
    })?;
    Ok(Shim { client, id })
}

/// `unix://DIR/HASH`: SHA-256 of the daemon's socket, the namespace and the id.
fn address_of(global: &Global, id: &str) -> String {
    let socket = global.address.trim_start_matches("unix://").trim_end_matches('/');
    let name = format!("{socket}/{}/{id}", global.namespace);
    format!("unix://{SOCKETS}/{}", Digest::sha256(name.as_bytes()).hex())
}

impl Shim {
    /// The container that a verb is about: the one that it names, else the shim's own.
    pub(super) fn container(&self, named: Option<String>) -> Result<String> {
        named.or_else(|| self.id.clone()).ok_or_else(|| Error::invalid("a container id must be given"))
    }

    /// Calls a method; `what` is told when that fails.
    pub(super) async fn call<Q: Message, A: Message>(&self, what: &str, method: &str, q: &Q) -> Result<A> {
        let broken = |e: protobuf::Error| Error::invalid(format!("{what}: {e}"));
        let payload = q.write_to_bytes().map_err(broken)?;
        for service in SERVICES {
            let mut request = ttrpc::Request::new();
            (request.service, request.method) = (service.to_owned(), method.to_owned());
            request.payload.clone_from(&payload);
            match self.client.request(request).await {
                Ok(answer) => return A::parse_from_bytes(&answer.payload).map_err(broken),
                Err(e) if service == SERVICES[0] && is_unknown(&e) => {}
                Err(e) => return Err(refusal(what, &e)),
            }
        }
        Err(Error::invalid(format!("{what}: the shim has no Task service")))
    }
}

/// Whether the shim does not serve this version.
fn is_unknown(e: &ttrpc::Error) -> bool {
    let ttrpc::Error::RpcStatus(status) = e else { return false };
    status.code() == Code::UNIMPLEMENTED || status.message.ends_with("service does not exist")
}

fn refusal(what: &str, e: &ttrpc::Error) -> Error {
    let why = match e {
        ttrpc::Error::RpcStatus(status) => {
            base::Error::new(ErrorKind::from_code(status.code.value()), status.message.clone())
        }
        other => base::Error::new(ErrorKind::Unavailable, other.to_string()),
    };
    Error::refused(what.to_owned(), why)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::cli::Cli;
    use clap::Parser;

    #[test]
    fn the_address_of_a_shim() {
        // sha256 of "/run/containerd/containerd.sock/default/a", by sha256sum.
        let hash = "82795ca4b9b166c1139546afbf9dfd59d74776e0b49c8edfbb195f9d8b9e94a6";
        for daemon in ["/run/containerd/containerd.sock", "unix:///run/containerd/containerd.sock"] {
            let words = ["ctr-rs", "--address", daemon, "-n", "default", "shim", "--id", "a", "state"];
            let cli = Cli::try_parse_from(words).unwrap();
            assert_eq!(address_of(&cli.global, "a"), format!("unix:///run/containerd/s/{hash}"));
        }
    }
}
