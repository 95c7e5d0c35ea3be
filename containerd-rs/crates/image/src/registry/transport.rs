//! Connections: one pool per host, TLS where the URL says so.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri, header};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::error::RegistryError;
use super::hosts::{HostConfig, port_of};
use super::proxy::{Connector, Proxies};
use super::tls;

/// A request body.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// The connections to one host and to whatever it redirects to.
#[derive(Clone)]
pub(crate) struct Transport {
    client: Client<HttpsConnector<Connector>, Body>,
    proxies: Proxies,
}

impl Transport {
    /// `connect`: the longest TCP connect, unless the host sets its own.
    pub(crate) fn new(
        host: &HostConfig,
        connect: Duration,
        proxies: Proxies,
    ) -> Result<Transport, RegistryError> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(host.dial_timeout.unwrap_or(connect)));
        tcp.set_keepalive(Some(Duration::from_secs(30)));
        tcp.set_nodelay(true);
        // One connection per stream: a registry's HTTP/2 would share one among all layers.
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls::client_config(host)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(Connector::new(tcp, proxies.clone()));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(4)
            .build(connector);
        Ok(Transport { client, proxies })
    }

    pub(crate) async fn send(
        &self,
        mut request: Request<Body>,
    ) -> Result<Response<Incoming>, hyper_util::client::legacy::Error> {
        if let Some(value) = self.proxies.authorization(request.uri()) {
            request.headers_mut().insert(header::PROXY_AUTHORIZATION, value);
        }
        self.client.request(request).await
    }
}

/// An error and everything below it, also what an `io::Error` wraps and its `source` skips.
fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |e| {
        let e = *e;
        let wrapped = e.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        wrapped.map(|e| e as &(dyn StdError + 'static)).or_else(|| e.source())
    })
}

/// What was to be sent could not be read: nothing that the host could do better next time.
#[derive(Debug)]
pub(crate) struct Unreadable {
    kind: io::ErrorKind,
    problem: String,
}

impl Unreadable {
    pub(crate) fn wrap(error: io::Error) -> io::Error {
        io::Error::new(error.kind(), Unreadable { kind: error.kind(), problem: base::chain(&error) })
    }
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.problem)
    }
}

impl StdError for Unreadable {}

/// Why the body of a failed request could not be read, if that is what made it fail.
pub(crate) fn unreadable(error: &(dyn StdError + 'static)) -> Option<io::Error> {
    let found = causes(error).find_map(|e| e.downcast_ref::<Unreadable>())?;
    Some(io::Error::new(found.kind, found.problem.clone()))
}

/// Whether TLS failed for a reason that another try does not change: certificates, versions.
pub(crate) fn is_tls_refusal(error: &(dyn StdError + 'static)) -> bool {
    causes(error).any(|e| e.is::<rustls::Error>())
}

/// Whether a failed https request means that the host speaks plain text there, or that nobody
/// listens on the TLS port that was only assumed.
pub(crate) fn is_plain_text(error: &hyper_util::client::legacy::Error, uri: &Uri) -> bool {
    let portless = uri.authority().is_some_and(|a| port_of(a.as_str()).is_none());
    causes(error).any(|e| {
        let kind = e.downcast_ref::<io::Error>().map(io::Error::kind);
        match kind {
            Some(io::ErrorKind::UnexpectedEof) => error.is_connect(),
            Some(io::ErrorKind::ConnectionRefused | io::ErrorKind::TimedOut) => portless,
            _ => matches!(e.downcast_ref(), Some(rustls::Error::InvalidMessage(_))),
        }
    })
}
