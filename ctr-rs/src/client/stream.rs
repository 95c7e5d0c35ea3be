//! Streams beside a call: the daemon pairs them with the request by an id that we choose.

use prost::{Message, Name};
use protos::api::Any;
use protos::api::streaming::StreamInit;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::{Client, lease};
use crate::error::{Answered, Error, Result};

/// Messages that may wait to be sent.
const QUEUE: usize = 8;

/// Both directions of a stream that the daemon has accepted.
#[derive(Debug)]
pub struct Stream {
    /// What the request names it by.
    pub id: String,
    /// To the daemon; dropping it says that nothing more comes.
    pub to: Sender,
    /// From the daemon.
    pub from: Receiver,
}

/// The sending half.
#[derive(Debug, Clone)]
pub struct Sender(mpsc::Sender<Any>);

/// The receiving half.
#[derive(Debug)]
pub struct Receiver(Streaming<Any>);

impl Sender {
    /// Sends one message; waits while the connection is full. False: the daemon has ended the stream.
    pub async fn send<M: Message + Name>(&self, message: &M) -> bool {
        self.0.send(Any::pack(message)).await.is_ok()
    }
}

impl Receiver {
    /// The next message. `None`: the daemon has ended the stream.
    pub async fn next(&mut self) -> Result<Option<Any>> {
        self.0.message().await.map_err(|s| Error::rpc("cannot read a stream of the daemon", &s))
    }
}

/// Opens a stream and waits until the daemon has registered it, so that a request may name it.
pub async fn open(client: &Client, purpose: &str) -> Result<Stream> {
    let id = lease::unique(&format!("{purpose}-"));
    let (to, queue) = mpsc::channel(QUEUE);
    let first = Any::pack(&StreamInit { id: id.clone() });
    to.send(first).await.map_err(|_| Error::invalid("a stream ended before it began"))?;
    let what = format!("cannot open a stream for {purpose}");
    let from = client.streaming().stream(ReceiverStream::new(queue)).await.or_say(&what)?;
    let mut from = Receiver(from);
    // the answer to the first message is empty
    if from.next().await?.is_none() {
        return Err(Error::invalid(format!("{what}: the daemon ended it")));
    }
    Ok(Stream { id, to: Sender(to), from })
}
