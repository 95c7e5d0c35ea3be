//! The listeners: gRPC and ttrpc unix sockets, the debug endpoint, the metrics endpoint.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::routing::get;
use serde::Deserialize;
use tokio::net::{TcpListener, UnixListener};
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::build::Built;
use super::listen::{self, UnixSettings};
use crate::config::{Config, schema};

/// The running listeners.
pub(super) struct Serving {
    /// Cancelled to stop all of them.
    pub(super) stop: CancellationToken,
    /// Their tasks.
    pub(super) tasks: TaskTracker,
    /// Socket files to remove at the end.
    pub(super) sockets: Vec<PathBuf>,
    pub(super) ttrpc: Option<ttrpc::asynchronous::Server>,
}

#[derive(Debug, Deserialize)]
struct GrpcSettings {
    #[serde(flatten)]
    unix: UnixSettings,
    max_recv_message_size: usize,
    max_send_message_size: usize,
}

#[derive(Debug, Deserialize)]
struct Address {
    address: String,
}

/// Open every listener and serve on it. An address that cannot be had stops the start.
pub(super) fn serve(config: &Config, built: &Built) -> anyhow::Result<Serving> {
    let mut serving = Serving {
        stop: CancellationToken::new(),
        tasks: TaskTracker::new(),
        sockets: Vec::new(),
        ttrpc: None,
    };
    let on = |id: &str| built.parts.plugins.is_ok("io.containerd.server.v1", id);
    if on("ttrpc") {
        ttrpc(config, built, &mut serving).context("ttrpc")?;
    }
    if on("debug") {
        debug(config, &mut serving).context("debug")?;
    }
    if on("metrics") {
        metrics(config, built, &mut serving).context("metrics")?;
    }
    grpc(config, built, &mut serving).context("gRPC")?;
    Ok(serving)
}

fn grpc(config: &Config, built: &Built, serving: &mut Serving) -> anyhow::Result<()> {
    let settings: GrpcSettings = config.plugin(schema::GRPC)?;
    let (listener, path) = listen::unix(&settings.unix)?;
    let limits =
        services::Limits { receive: settings.max_recv_message_size, send: settings.max_send_message_size };
    let routes = services::routes(Arc::clone(&built.parts), limits);
    let stop = serving.stop.clone();
    serving.sockets.push(path.clone());
    let metrics = Arc::clone(&built.metrics);
    serving.tasks.spawn(async move {
        let incoming = UnixListenerStream::new(listener);
        let server = tonic::transport::Server::builder()
            .http2_keepalive_interval(Some(Duration::from_secs(120)))
            .layer(tower::layer::layer_fn(move |inner| {
                super::count::Counting::new(inner, Arc::clone(&metrics))
            }))
            .add_routes(routes);
        let served = server.serve_with_incoming_shutdown(incoming, stop.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::error!(error = base::chain(&error), "gRPC server ended");
        }
    });
    tracing::info!(address = %path.display(), "serving...");
    Ok(())
}

/// Only processes of the daemon's own user may forward events.
fn ttrpc(config: &Config, built: &Built, serving: &mut Serving) -> anyhow::Result<()> {
    let settings: UnixSettings = config.plugin(schema::TTRPC)?;
    if settings.address.is_empty() {
        return Ok(());
    }
    let (listener, path) = listen::unix(&settings)?;
    let services: HashMap<String, ttrpc::asynchronous::Service> = services::ttrpc(&built.parts);
    let mut server = ttrpc::asynchronous::Server::new()
        .add_listener(ttrpc::asynchronous::transport::Listener::new(same_user(listener)))
        .register_service(services);
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(server.start()))?;
    serving.ttrpc = Some(server);
    serving.sockets.push(path.clone());
    tracing::info!(address = %path.display(), "serving...");
    Ok(())
}

/// Connections of our own user; others are closed. A failing accept (no descriptors left) is retried after a pause.
fn same_user(
    listener: UnixListener,
) -> impl futures_util::Stream<Item = std::io::Result<tokio::net::UnixStream>> + Send {
    futures_util::stream::unfold(listener, |listener| async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => match sys::sock::peer_cred(&stream) {
                    Ok(peer) if peer.uid == rustix::process::geteuid().as_raw() => {
                        return Some((Ok(stream), listener));
                    }
                    Ok(peer) => tracing::warn!(
                        uid = peer.uid,
                        pid = peer.pid,
                        "ttrpc connection of another user refused"
                    ),
                    Err(error) => tracing::warn!(error = base::chain(&error), "ttrpc peer cannot be told"),
                },
                Err(error) => {
                    tracing::error!(error = base::chain(&error), "cannot accept a ttrpc connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    })
}

/// A unix socket when the address is an absolute path, TCP otherwise.
fn debug(config: &Config, serving: &mut Serving) -> anyhow::Result<()> {
    let settings: UnixSettings = config.plugin(schema::DEBUG)?;
    match settings.address.as_str() {
        "" => {}
        path if path.starts_with('/') => {
            let (listener, path) = listen::unix(&settings)?;
            tracing::info!(address = %path.display(), "serving debug...");
            serving.sockets.push(path);
            http(serving, super::debug::router(), Bound::Unix(listener));
        }
        address => {
            let listener = tcp(address)?;
            tracing::info!(address, "serving debug...");
            http(serving, super::debug::router(), Bound::Tcp(listener));
        }
    }
    Ok(())
}

fn metrics(config: &Config, built: &Built, serving: &mut Serving) -> anyhow::Result<()> {
    let Address { address } = config.plugin(schema::METRICS)?;
    if address.is_empty() {
        return Ok(());
    }
    let listener = tcp(&address)?;
    let registry = Arc::clone(&built.metrics);
    let scrape = move || {
        let registry = Arc::clone(&registry);
        async move {
            let kind = [("content-type", metrics::CONTENT_TYPE)];
            tokio::task::spawn_blocking(move || (kind, registry.encode()))
                .await
                .map_err(|_| "the collector failed")
        }
    };
    tracing::info!(address, "serving metrics...");
    http(serving, Router::new().route("/v1/metrics", get(scrape)), Bound::Tcp(listener));
    Ok(())
}

fn tcp(address: &str) -> anyhow::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address).with_context(|| format!("listen on {address}"))?;
    listener.set_nonblocking(true)?;
    Ok(TcpListener::from_std(listener)?)
}

enum Bound {
    Unix(UnixListener),
    Tcp(TcpListener),
}

fn http(serving: &Serving, router: Router, bound: Bound) {
    let stop = serving.stop.clone();
    serving.tasks.spawn(async move {
        let served = match bound {
            Bound::Unix(listener) => {
                axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
            }
            Bound::Tcp(listener) => {
                axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
            }
        };
        if let Err(error) = served {
            tracing::error!(error = base::chain(&error), "HTTP server ended");
        }
    });
}
