//! `containerd.services.streaming.v1.Streaming`: named streams of messages between a client and a part of the daemon that
//! will come to fetch its end.
//!
//! A client opens a stream under a name, then names it in another call (a transfer, say). The RPC lives until either
//! end closes. A stream that nobody fetches ends with its client.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use base::{ErrorKind, Namespace};
use futures_util::Stream;
use protos::api::Any;
use protos::api::streaming::StreamInit;
use protos::api::streaming::streaming_server::Streaming;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::parts::Parts;
use crate::request::scope;
use crate::status::{invalid, not_found, refuse};

/// Messages that may wait in one direction of one stream.
const QUEUE: usize = 16;
/// Streams that may be open in the whole daemon.
const LIMIT: usize = 4096;

type Key = (Namespace, String);

/// The daemon's end of a stream. Dropping it ends the client's RPC.
pub struct StreamEnd {
    /// Messages from the client; `None` when it closed its side.
    pub from_client: mpsc::Receiver<Any>,
    /// Messages to the client.
    pub to_client: mpsc::Sender<Any>,
}

impl StreamEnd {
    fn new(from_client: mpsc::Receiver<Any>, to_client: mpsc::Sender<Result<Any, Status>>) -> Self {
        let (send, mut receive) = mpsc::channel::<Any>(QUEUE);
        tokio::spawn(async move {
            while let Some(message) = receive.recv().await {
                if to_client.send(Ok(message)).await.is_err() {
                    return;
                }
            }
        });
        Self { from_client, to_client: send }
    }
}

/// Streams that are open and whose daemon end has not been fetched.
#[derive(Default)]
pub struct Streams {
    open: Mutex<HashMap<Key, Option<StreamEnd>>>,
}

impl Streams {
    fn register(&self, key: Key, end: StreamEnd) -> Result<(), Status> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.contains_key(&key) {
            return Err(refuse(ErrorKind::AlreadyExists, format!("stream {:?}", key.1)));
        }
        if open.len() >= LIMIT {
            return Err(refuse(ErrorKind::ResourceExhausted, format!("{LIMIT} streams are open")));
        }
        open.insert(key, Some(end));
        Ok(())
    }

    fn remove(&self, key: &Key) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// Take the daemon's end of the stream that a client opened as `id`.
    pub(crate) fn take(&self, namespace: &Namespace, id: &str) -> Result<StreamEnd, Status> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let end = open.get_mut(&(namespace.clone(), id.to_owned())).and_then(Option::take);
        end.ok_or_else(|| not_found(format!("stream {id:?}")))
    }
}

pub(crate) struct Service(pub(crate) Arc<Parts>);

#[tonic::async_trait]
impl Streaming for Service {
    type StreamStream = Pin<Box<dyn Stream<Item = Result<Any, Status>> + Send>>;

    async fn stream(
        &self,
        request: Request<tonic::Streaming<Any>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let namespace = scope(&request)?.namespace;
        let mut incoming = request.into_inner();
        let first =
            incoming.message().await?.ok_or_else(|| invalid("the first message must name the stream"))?;
        let init: StreamInit = first
            .unpack()
            .map_err(|e| invalid(format!("the first message must name the stream: {}", base::chain(&e))))?;
        if init.id.is_empty() {
            return Err(invalid("stream id must not be empty"));
        }
        let key = (namespace, init.id);
        let (to_daemon, from_client) = mpsc::channel(QUEUE);
        let (to_client, answers) = mpsc::channel(QUEUE);
        // The acknowledgement, before anyone can fetch the stream.
        let ack = Any { type_url: "google.protobuf.Empty".to_owned(), value: Default::default() };
        to_client.try_send(Ok(ack)).map_err(|_| Status::internal("stream queue"))?;
        self.0.streams.register(key.clone(), StreamEnd::new(from_client, to_client.clone()))?;
        let parts = Arc::clone(&self.0);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    message = incoming.message() => match message {
                        Ok(Some(message)) => if to_daemon.send(message).await.is_err() { break },
                        Ok(None) | Err(_) => break,
                    },
                    () = to_daemon.closed() => break,
                }
            }
            parts.streams.remove(&key);
            drop(to_client);
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }
}
