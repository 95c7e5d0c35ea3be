//! A daemon's end of the events: the ttrpc service that shims forward to.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use async_trait::async_trait;
use protobuf::Message;
use protos::shim::Empty;
use protos::shim::any::{FullName, is, unpack};
use protos::shim::events::*;
use protos::shim::events_service::{Events, ForwardRequest, create_events};
use protos::shim::types::Envelope;
use tokio::sync::Notify;
use ttrpc::r#async::TtrpcContext;
use ttrpc::asynchronous::Server;

use super::patience::eventually;

/// What a daemon's event service has got, in the order in which it came.
#[derive(Clone, Default)]
pub struct Seen {
    envelopes: Arc<Mutex<Vec<Envelope>>>,
    more: Arc<Notify>,
}

/// A running event service; ends when dropped.
pub struct EventServer(Server);

impl EventServer {
    /// Ends it and waits for that.
    ///
    /// # Errors
    /// As ttrpc has them.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.0.shutdown().await.context("stop the event service")
    }
}

/// Serves events at `socket`, a path that must be free; they go into `seen`.
///
/// # Errors
/// The socket cannot be bound.
pub async fn record(socket: &Path, seen: &Seen) -> anyhow::Result<EventServer> {
    let address = format!("unix://{}", socket.display());
    let mut server = Server::new()
        .bind(&address)
        .with_context(|| format!("bind {address}"))?
        .register_service(create_events(Arc::new(seen.clone())));
    server.start().await.context("start the event service")?;
    Ok(EventServer(server))
}

#[async_trait]
impl Events for Seen {
    async fn forward(&self, _: &TtrpcContext, request: ForwardRequest) -> ttrpc::Result<Empty> {
        if let Some(envelope) = request.envelope.into_option() {
            self.envelopes().push(envelope);
            self.more.notify_waiters();
        }
        Ok(Empty::new())
    }
}

impl Seen {
    fn envelopes(&self) -> MutexGuard<'_, Vec<Envelope>> {
        self.envelopes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room: what was seen so far counts no more.
    pub fn forget(&self) {
        self.envelopes().clear();
    }

    /// Everything from number `first` on.
    pub fn since(&self, first: usize) -> Vec<Envelope> {
        self.envelopes().iter().skip(first).cloned().collect()
    }

    /// Ends when there are more than `known`.
    pub async fn more_than(&self, known: usize) {
        loop {
            let more = self.more.notified();
            tokio::pin!(more);
            more.as_mut().enable();
            if self.envelopes().len() > known {
                return;
            }
            more.await;
        }
    }

    /// The topics.
    pub fn topics(&self) -> Vec<String> {
        self.envelopes().iter().map(|e| e.topic.clone()).collect()
    }

    /// Every event that is an `M`.
    pub fn all<M: Message + FullName>(&self) -> Vec<M> {
        self.envelopes().iter().filter(|e| is::<M>(&e.event)).filter_map(|e| unpack(&e.event).ok()).collect()
    }

    /// Waits for the exit of the process with this id (the container's for its init).
    pub async fn exit_of(&self, id: &str) -> TaskExit {
        eventually(&format!("exit of {id}"), || self.all::<TaskExit>().into_iter().find(|e| e.id == id)).await
    }
}

/// One line for an event: its topic and what matters of it.
pub fn summary(envelope: &Envelope) -> String {
    let topic = &envelope.topic;
    words(envelope).map_or_else(|| format!("{topic} {}", envelope.event.type_url), |w| format!("{topic} {w}"))
}

fn words(envelope: &Envelope) -> Option<String> {
    let any = &envelope.event;
    macro_rules! told {
        ($($event:ident: |$e:ident| $text:expr),* $(,)?) => { $(
            if is::<$event>(any) {
                let $e: $event = unpack(any).ok()?;
                return Some($text);
            }
        )* };
    }
    told! {
        TaskCreate: |e| format!("container={} pid={} bundle={}", e.container_id, e.pid, e.bundle),
        TaskStart: |e| format!("container={} pid={}", e.container_id, e.pid),
        TaskExecAdded: |e| format!("container={} exec={}", e.container_id, e.exec_id),
        TaskExecStarted: |e| format!("container={} exec={} pid={}", e.container_id, e.exec_id, e.pid),
        TaskExit: |e| format!("container={} id={} pid={} status={}", e.container_id, e.id, e.pid, e.exit_status),
        TaskDelete: |e| format!("container={} pid={} status={}", e.container_id, e.pid, e.exit_status),
        TaskOOM: |e| format!("container={}", e.container_id),
        TaskPaused: |e| format!("container={}", e.container_id),
        TaskResumed: |e| format!("container={}", e.container_id),
        TaskCheckpointed: |e| format!("container={} checkpoint={}", e.container_id, e.checkpoint),
    }
    None
}
