//! Clients: who may come in, and how many there are.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use ttrpc::asynchronous::transport::Listener;

use crate::events::Publisher;
use crate::logger::warning;
use crate::serve::lifetime::{Connected, Lifetime};

/// Pause when no descriptor is left for a client.
const PAUSE: Duration = Duration::from_millis(100);

/// A listener for the ttrpc server that is fed by [`accept`].
pub(crate) fn channel() -> (mpsc::Sender<Client>, Listener) {
    let (sender, receiver) = mpsc::channel(8);
    (sender, Listener::new(Incoming(receiver)))
}

/// Accepts clients for ever. Only root and the user that the shim runs as may come in.
pub(crate) async fn accept(
    listener: UnixListener,
    clients: mpsc::Sender<Client>,
    lifetime: Lifetime,
    events: Publisher,
) {
    let own = rustix::process::geteuid().as_raw();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(e) => {
                warning!("accept: {e}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        match stream.peer_cred() {
            Ok(peer) if peer.uid() == own || peer.uid() == 0 => {}
            Ok(peer) => {
                warning!("refused a client with uid {}", peer.uid());
                continue;
            }
            Err(e) => {
                warning!("refused a client without credentials: {e}");
                continue;
            }
        }
        events.daemon_may_be_back();
        let client = Client { stream, _connected: lifetime.connected() };
        if clients.send(client).await.is_err() {
            return;
        }
    }
}

/// A client's connection; counted until the server drops it.
pub(crate) struct Client {
    stream: UnixStream,
    _connected: Connected,
}

impl AsyncRead for Client {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Client {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

struct Incoming(mpsc::Receiver<Client>);

impl futures_core::Stream for Incoming {
    type Item = io::Result<Client>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|client| client.map(Ok))
    }
}
