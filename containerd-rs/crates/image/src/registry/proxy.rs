//! Proxies between us and registries: `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, in
//! upper or lower case, as Go's `net/http` reads them.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Uri};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use super::hosts::is_localhost;

type BoxError = Box<dyn StdError + Send + Sync>;

/// Which proxy to use for which host. `Debug` shows no password.
#[derive(Clone)]
pub struct Proxies(Arc<Matcher>);

impl Proxies {
    /// What the environment of the process says.
    pub fn from_env() -> Proxies {
        Proxies(Arc::new(Matcher::from_env()))
    }

    /// These, whatever the environment says: URLs of the proxies for http and https (empty: none),
    /// and the list of hosts that are reached without.
    pub fn new(http: &str, https: &str, except: &str) -> Proxies {
        Proxies(Arc::new(Matcher::builder().http(http).https(https).no(except).build()))
    }

    /// The proxy on the way to `to`; none ever to this machine.
    fn on_the_way(&self, to: &Uri) -> Option<Intercept> {
        let local = to.authority().is_none_or(|a| is_localhost(a.as_str()));
        if local { None } else { self.0.intercept(to) }
    }

    /// What a plain-text request to `to` must carry for its proxy.
    pub(super) fn authorization(&self, to: &Uri) -> Option<HeaderValue> {
        match to.scheme_str() {
            Some("http") => self.on_the_way(to)?.basic_auth().cloned(),
            _ => None,
        }
    }
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proxies")
    }
}

/// Connects directly or through a proxy.
#[derive(Clone)]
pub(super) struct Connector {
    direct: HttpConnector,
    proxies: Proxies,
}

impl Connector {
    pub(super) fn new(direct: HttpConnector, proxies: Proxies) -> Connector {
        Connector { direct, proxies }
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Stream, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.direct.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let mut direct = self.direct.clone();
        let Some(proxy) = self.proxies.on_the_way(&to) else {
            return async move { Ok(Stream { io: direct.call(to).await?, through_proxy: false }) }.boxed();
        };
        let at = proxy.uri().clone();
        match (at.scheme_str(), to.scheme_str()) {
            (Some("http"), Some("https")) => {
                let tunnel = Tunnel::new(at, direct);
                let mut tunnel = match proxy.basic_auth() {
                    Some(value) => tunnel.with_auth(value.clone()),
                    None => tunnel,
                };
                async move { Ok(Stream { io: tunnel.call(to).await?, through_proxy: false }) }.boxed()
            }
            (Some("http"), _) => {
                async move { Ok(Stream { io: direct.call(at).await?, through_proxy: true }) }.boxed()
            }
            (scheme, _) => {
                let text =
                    format!("proxy scheme {:?} is not supported, only http is", scheme.unwrap_or_default());
                async move { Err(io::Error::new(io::ErrorKind::Unsupported, text).into()) }.boxed()
            }
        }
    }
}

/// A TCP connection to a host or to its proxy.
pub(super) struct Stream {
    io: TokioIo<TcpStream>,
    /// Requests must name the host as well.
    through_proxy: bool,
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        self.io.connected().proxy(self.through_proxy)
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bytes)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn who_goes_through_what() {
        let proxies = Proxies::new("http://p:1", "http://u:secret@q:2", "skip.io,10.0.0.0/8");
        for (url, want) in [
            ("http://r.io/x", Some("http://p:1/")),
            ("https://r.io/x", Some("http://q:2/")),
            ("https://skip.io/x", None),
            ("https://10.1.2.3/x", None),
            ("http://localhost:5000/x", None),
            ("http://127.0.0.1:5000/x", None),
        ] {
            let got = proxies.on_the_way(&url.parse().unwrap()).map(|p| p.uri().to_string());
            assert_eq!(got.as_deref(), want, "{url}");
        }
        assert!(!format!("{proxies:?}").contains("secret"));
    }
}
