//! One connection to a shim: a driver task that owns the socket, and handles that make calls through it. Most shims
//! speak ttrpc, which is done here; for the others see `grpc`.
//!
//! ```text
//! call() --mpsc(64)--> driver --socket--> shim
//!   ^--------oneshot-----'  pending: stream id -> oneshot
//! ```
//! The driver ends when the peer closes, breaks the protocol, or every handle is gone; pending calls then get
//! [`CallError::Closed`] and [`Conn::closed`] returns. Abandoned calls leave nothing behind but a late answer.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use base::{ErrorKind, Kinded};
use protobuf::Message;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;

use super::frame::{self, Frame};
use super::grpc;

/// Calls that may wait to be written; more callers wait in line.
const WAITING_CALLS: usize = 64;
/// Unwritten bytes above which no further call is taken in.
const UNWRITTEN: usize = 1 << 20;
/// Reads before others get their turn.
const READS_AT_ONCE: usize = 64;
/// Pending calls above which the abandoned ones are dropped from the table.
const PENDING_SWEEP: usize = 64;

/// The bound of calls that end only with the process, the shim or the caller. The shim is told no deadline then.
pub(crate) const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Why a call to a shim gave no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// The shim answered with a failure: its status code and its words, unchanged.
    #[error("{message}")]
    Status {
        /// gRPC status code.
        code: i32,
        /// The shim's message.
        message: String,
    },
    /// The connection ended before the answer; the shim is gone or going. In the words of ttrpc for gRPC as well:
    /// clients know them.
    #[error("ttrpc: closed")]
    Closed,
    /// No answer within the bound.
    #[error("shim did not answer {method} within {after:?}")]
    Timeout {
        /// The method that was called.
        method: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// The answer is not what the method answers with.
    #[error("shim answered {method} with something that is not its response: {reason}")]
    Malformed {
        /// The method that was called.
        method: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The request is larger than a shim takes.
    #[error("request of {size} bytes is larger than a shim accepts")]
    TooLarge {
        /// Bytes of the request.
        size: usize,
    },
}

impl Kinded for CallError {
    fn kind(&self) -> ErrorKind {
        match self {
            CallError::Status { code, .. } => ErrorKind::from_code(*code),
            CallError::Closed | CallError::Malformed { .. } => ErrorKind::Unknown,
            CallError::Timeout { .. } => ErrorKind::DeadlineExceeded,
            CallError::TooLarge { .. } => ErrorKind::ResourceExhausted,
        }
    }
}

type Reply = oneshot::Sender<Result<Vec<u8>, CallError>>;

struct Call {
    frame: Vec<u8>,
    reply: Reply,
}

#[derive(Clone)]
enum Protocol {
    Ttrpc(mpsc::Sender<Call>),
    Grpc(grpc::Requests),
}

/// A handle on a connection; clones share it.
#[derive(Clone)]
pub(crate) struct Conn {
    protocol: Protocol,
    ended: watch::Receiver<()>,
    driver: AbortHandle,
    namespace: Arc<str>,
}

impl Conn {
    /// Takes over a connected socket; calls carry `namespace` in their metadata. Must run inside tokio.
    pub(crate) fn new(stream: UnixStream, namespace: &str) -> Self {
        let (calls, incoming) = mpsc::channel(WAITING_CALLS);
        let (alive, ended) = watch::channel(());
        let driver = tokio::spawn(async move {
            let reason = Driver::new(stream, incoming).run().await;
            tracing::debug!(reason, "shim connection ended");
            drop(alive);
        });
        let driver = driver.abort_handle();
        Self { protocol: Protocol::Ttrpc(calls), ended, driver, namespace: Arc::from(namespace) }
    }

    /// The same for a shim that speaks gRPC. Returns at once when the socket takes what is written to it; whether
    /// gRPC is spoken at its other end shows with the first call.
    pub(crate) async fn grpc(stream: UnixStream, namespace: &str) -> Result<Self, hyper::Error> {
        let (requests, connection) = grpc::handshake(stream).await?;
        let (alive, ended) = watch::channel(());
        let driver = tokio::spawn(async move {
            let reason = connection.await.err().map(|e| base::chain(&e));
            tracing::debug!(reason, "shim connection ended");
            drop(alive);
        });
        let driver = driver.abort_handle();
        Ok(Self { protocol: Protocol::Grpc(requests), ended, driver, namespace: Arc::from(namespace) })
    }

    /// Returns once the connection has ended, whoever ended it. Cancel-safe.
    pub(crate) async fn closed(&self) {
        let mut ended = self.ended.clone();
        // The value never changes: an error says that the driver is gone.
        while ended.changed().await.is_ok() {}
    }

    /// Whether the Task service may be one of version 2: over gRPC there was never any but version 3.
    pub(crate) fn may_speak_v2(&self) -> bool {
        matches!(self.protocol, Protocol::Ttrpc(_))
    }

    /// Ends the connection now; pending calls get [`CallError::Closed`].
    pub(crate) fn close(&self) {
        self.driver.abort();
    }

    /// Makes one unary call. Dropping the future abandons the call; the shim may still carry it out.
    pub(crate) async fn call<Q: Message, A: Message>(
        &self,
        service: &str,
        method: &'static str,
        request: &Q,
        limit: Duration,
    ) -> Result<A, CallError> {
        let malformed = |e: protobuf::Error| CallError::Malformed { method, reason: e.to_string() };
        let late = |_| CallError::Timeout { method, after: limit };
        match &self.protocol {
            Protocol::Ttrpc(calls) => {
                let frame = self.encode(service, method, request, limit)?;
                let exchange = async {
                    let (reply, answer) = oneshot::channel();
                    calls.send(Call { frame, reply }).await.map_err(|_| CallError::Closed)?;
                    answer.await.map_err(|_| CallError::Closed)?
                };
                decode(method, &tokio::time::timeout(limit, exchange).await.map_err(late)??)
            }
            Protocol::Grpc(requests) => {
                let message = request.write_to_bytes().map_err(malformed)?;
                let exchange = requests.call(service, method, &self.namespace, &message, limit);
                let answer = tokio::time::timeout(limit, exchange).await.map_err(late)??;
                A::parse_from_bytes(&answer).map_err(malformed)
            }
        }
    }

    fn encode<Q: Message>(
        &self,
        service: &str,
        method: &'static str,
        request: &Q,
        limit: Duration,
    ) -> Result<Vec<u8>, CallError> {
        let malformed = |e: protobuf::Error| CallError::Malformed { method, reason: e.to_string() };
        let envelope = ttrpc::proto::Request {
            service: service.to_owned(),
            method: method.to_owned(),
            payload: request.write_to_bytes().map_err(malformed)?,
            timeout_nano: if limit < FOR_EVER { i64::try_from(limit.as_nanos()).unwrap_or(0) } else { 0 },
            metadata: vec![ttrpc::proto::KeyValue {
                key: "containerd-namespace-ttrpc".to_owned(),
                value: self.namespace.to_string(),
                ..Default::default()
            }],
            ..Default::default()
        };
        let payload = envelope.write_to_bytes().map_err(malformed)?;
        if payload.len() > frame::MAX_PAYLOAD {
            return Err(CallError::TooLarge { size: payload.len() });
        }
        Ok(frame::request(&payload))
    }
}

fn decode<A: Message>(method: &'static str, payload: &[u8]) -> Result<A, CallError> {
    let malformed = |e: protobuf::Error| CallError::Malformed { method, reason: e.to_string() };
    let response = ttrpc::proto::Response::parse_from_bytes(payload).map_err(malformed)?;
    if let Some(status) = response.status.as_ref() {
        let code = status.code.value();
        if code != 0 {
            return Err(CallError::Status { code, message: status.message.clone() });
        }
    }
    A::parse_from_bytes(&response.payload).map_err(malformed)
}

struct Driver {
    stream: UnixStream,
    incoming: mpsc::Receiver<Call>,
    pending: HashMap<u32, Reply>,
    next_stream: u32,
    unwritten: Vec<u8>,
    unread: Vec<u8>,
}

impl Driver {
    fn new(stream: UnixStream, incoming: mpsc::Receiver<Call>) -> Self {
        Self {
            stream,
            incoming,
            pending: HashMap::new(),
            next_stream: 1,
            unwritten: Vec::new(),
            unread: Vec::new(),
        }
    }

    /// Runs until the connection ends; the reason is for the log.
    async fn run(mut self) -> String {
        loop {
            let interest = if self.unwritten.is_empty() {
                Interest::READABLE
            } else {
                Interest::READABLE | Interest::WRITABLE
            };
            tokio::select! {
                call = self.incoming.recv(), if self.unwritten.len() < UNWRITTEN => match call {
                    Some(call) => self.take_in(call),
                    None => return "no one uses it any more".to_owned(),
                },
                ready = self.stream.ready(interest) => match ready {
                    Ok(ready) => {
                        if ready.is_readable() && let Err(e) = self.read() {
                            return e.to_string();
                        }
                    }
                    Err(e) => return e.to_string(),
                },
            }
            if let Err(e) = self.write() {
                return e.to_string();
            }
        }
    }

    fn take_in(&mut self, mut call: Call) {
        if self.pending.len() >= PENDING_SWEEP {
            self.pending.retain(|_, reply| !reply.is_closed());
        }
        frame::set_stream(&mut call.frame, self.next_stream);
        self.pending.insert(self.next_stream, call.reply);
        // Clients use odd stream ids.
        self.next_stream = self.next_stream.wrapping_add(2);
        if self.unwritten.is_empty() {
            self.unwritten = call.frame;
        } else {
            self.unwritten.append(&mut call.frame);
        }
    }

    fn write(&mut self) -> io::Result<()> {
        let mut done = 0;
        while done < self.unwritten.len() {
            match self.stream.try_write(&self.unwritten[done..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            }
        }
        if done == self.unwritten.len() {
            self.unwritten = Vec::new();
        } else {
            self.unwritten.drain(..done);
        }
        Ok(())
    }

    /// Reads what is there and hands out whole answers. At most one frame is ever buffered.
    fn read(&mut self) -> io::Result<()> {
        let mut buffer = [0u8; 8192];
        // A peer that never stops sending does not keep the thread to itself.
        for _ in 0..READS_AT_ONCE {
            match self.stream.try_read(&mut buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    self.unread.extend_from_slice(&buffer[..n]);
                    self.deliver().map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn deliver(&mut self) -> Result<(), frame::FrameError> {
        let mut used = 0;
        while let Some((frame, length)) = frame::parse(&self.unread[used..])? {
            used += length;
            if let Frame::Response { stream, payload } = frame
                && let Some(reply) = self.pending.remove(&stream)
            {
                // A caller that gave up needs no answer.
                let _ = reply.send(Ok(payload.to_vec()));
            }
        }
        if used == self.unread.len() {
            self.unread = Vec::new();
        } else {
            self.unread.drain(..used);
        }
        Ok(())
    }
}
