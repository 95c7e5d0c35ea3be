//! Tells the daemon what happened, in order, however long it is away.
//!
//! One task owns the connection. Events wait in a queue that is bounded in bytes, in which exits are the last to be dropped; each is sent until the
//! daemon has acknowledged it, so a daemon that comes back gets what it missed, and one that acknowledged
//! gets nothing twice. (An acknowledgement that is lost on the way is the one case of a repeat.)
//!
//! While the daemon is away the task tries again with growing pauses, and at once when a client connects
//! to the shim, which is what a daemon does first when it is back.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use protobuf::Message;
use protos::shim::any::{FullName, pack};
use protos::shim::events_service::{EventsClient, ForwardRequest};
use protos::shim::types::Envelope;
use tokio::sync::Notify;
use ttrpc::r#async::Client;
use ttrpc::asynchronous::transport::Socket;
use ttrpc::context;

use crate::logger::{debug, error, warning};
use crate::rpc::convert::timestamp;

/// Bytes of events that may wait. Beyond it the oldest news goes that is no exit.
const MAX_QUEUED: usize = 1 << 20;
/// Bytes of exits that may wait: more than ten thousand, half a day of a probe every three seconds.
const MAX_EXITS: usize = 4 << 20;
/// Time for the daemon to take one event.
const CALL: Duration = Duration::from_secs(5);
/// First and longest pause between tries.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(10));
/// The connection is closed when nothing was sent for so long.
const LINGER: Duration = Duration::from_secs(2);
/// Tries for an event that the daemon answers with an error (it is there, but will not have it).
const MAX_REFUSALS: u32 = 8;

/// See the module. Clones feed the same queue.
#[derive(Clone)]
pub(crate) struct Publisher(Arc<Shared>);

struct Shared {
    address: String,
    namespace: String,
    queue: Mutex<Queue>,
    /// There is something to send, or a reason to try again now.
    wake: Notify,
    /// The queue became empty.
    empty: Notify,
}

#[derive(Default)]
struct Queue {
    events: VecDeque<Envelope>,
    bytes: usize,
    lost: u64,
    /// How many there are of each rank.
    ranks: [usize; 3],
}

/// What matters least goes first when the queue is full: execs that came and ran, then everything but exits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Exec,
    News,
    Exit,
}

fn rank(event: &Envelope) -> Rank {
    match event.topic.as_str() {
        "/tasks/exec-added" | "/tasks/exec-started" => Rank::Exec,
        "/tasks/exit" => Rank::Exit,
        _ => Rank::News,
    }
}

fn weight(event: &Envelope) -> usize {
    event.event.value.len() + event.topic.len() + 128
}

impl Publisher {
    /// A publisher to the ttrpc socket `address` (a path, with or without `unix://`); empty: everything is dropped.
    /// Call [`Publisher::run`] to make it work.
    pub(crate) fn new(address: &str, namespace: &str) -> Self {
        Publisher(Arc::new(Shared {
            address: address.strip_prefix("unix://").unwrap_or(address).to_owned(),
            namespace: namespace.to_owned(),
            queue: Mutex::default(),
            wake: Notify::new(),
            empty: Notify::new(),
        }))
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues an event. Never waits.
    pub(crate) fn send<M: Message + FullName>(&self, topic: &str, message: &M) {
        if self.0.address.is_empty() {
            return;
        }
        let any = match pack(message) {
            Ok(any) => any,
            Err(e) => return error!("encode event {topic}: {e}"),
        };
        let mut event = Envelope::new();
        event.timestamp = Some(timestamp(SystemTime::now())).into();
        event.namespace = self.0.namespace.clone();
        event.topic = topic.to_owned();
        event.event = Some(any).into();
        self.queue().push(event);
        self.0.wake.notify_one();
    }

    /// How many events wait.
    pub(crate) fn queued(&self) -> usize {
        self.queue().events.len()
    }

    /// Someone connected to us: it may be the daemon that was away.
    pub(crate) fn daemon_may_be_back(&self) {
        if self.queued() > 0 {
            self.0.wake.notify_one();
        }
    }

    /// Ends when every event was taken, or after `limit`.
    pub(crate) async fn flush(&self, limit: Duration) {
        let all = async {
            loop {
                let empty = self.0.empty.notified();
                tokio::pin!(empty);
                empty.as_mut().enable();
                if self.queued() == 0 {
                    return;
                }
                empty.await;
            }
        };
        if tokio::time::timeout(limit, all).await.is_err() {
            warning!("leaving with {} events that the daemon has not taken", self.queued());
        }
    }

    /// Sends what is queued, for ever.
    pub(crate) async fn run(self) {
        let mut client = None;
        let mut pause = PAUSE.0;
        let mut refusals = 0;
        loop {
            let Some(event) = self.queue().events.front().cloned() else {
                self.0.empty.notify_waiters();
                self.idle(&mut client).await;
                continue;
            };
            match self.forward(&mut client, &event).await {
                Ok(()) => {
                    self.queue().pop();
                    (pause, refusals) = (PAUSE.0, 0);
                    continue;
                }
                Err(Refused::ForEver(why)) => {
                    error!("daemon refuses event {}: {why}", event.topic);
                    self.queue().pop();
                    continue;
                }
                Err(Refused::ForNow(why)) => {
                    refusals += 1;
                    if refusals >= MAX_REFUSALS {
                        error!("evicting event {} after {refusals} refusals: {why}", event.topic);
                        self.queue().pop();
                        refusals = 0;
                        continue;
                    }
                }
                Err(Refused::Away(why)) => debug!("daemon is away, {} events wait: {why}", self.queued()),
            }
            // A new event is no reason to try sooner, a client that connects is.
            let _ = tokio::time::timeout(pause, self.0.wake.notified()).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    /// Waits for an event; lets the connection go when none comes soon.
    async fn idle(&self, client: &mut Option<EventsClient>) {
        let woken = self.0.wake.notified();
        tokio::pin!(woken);
        if client.is_some() && tokio::time::timeout(LINGER, &mut woken).await.is_err() {
            *client = None;
        } else if client.is_none() {
            woken.await;
        }
    }

    async fn forward(&self, client: &mut Option<EventsClient>, event: &Envelope) -> Result<(), Refused> {
        let away = |e: &dyn std::fmt::Display| Refused::Away(e.to_string());
        if client.is_none() {
            let stream = tokio::time::timeout(CALL, tokio::net::UnixStream::connect(&self.0.address)).await;
            let stream = stream.map_err(|e| away(&e))?.map_err(|e| away(&e))?;
            *client = Some(EventsClient::new(Client::new(Socket::new(stream))));
        }
        let Some(service) = client.as_ref() else { return Err(Refused::Away(String::new())) };
        let mut request = ForwardRequest::new();
        request.envelope = Some(event.clone()).into();
        let nanos = i64::try_from(CALL.as_nanos()).unwrap_or(i64::MAX);
        match service.forward(context::with_timeout(nanos), &request).await {
            Ok(_) => Ok(()),
            Err(ttrpc::Error::RpcStatus(status)) => Err(match status.code() {
                ttrpc::Code::INVALID_ARGUMENT => Refused::ForEver(status.message),
                _ => Refused::ForNow(status.message),
            }),
            Err(e) => {
                *client = None;
                Err(away(&e))
            }
        }
    }
}

/// Why an event was not taken.
enum Refused {
    /// Nobody there.
    Away(String),
    /// An error that may pass.
    ForNow(String),
    /// An error that will not.
    ForEver(String),
}

impl Queue {
    fn push(&mut self, event: Envelope) {
        self.bytes += weight(&event);
        self.ranks[rank(&event) as usize] += 1;
        self.events.push_back(event);
        while self.bytes > MAX_QUEUED && (self.drop_oldest(Rank::Exec) || self.drop_oldest(Rank::News)) {}
        while self.bytes > MAX_EXITS && self.drop_oldest(Rank::Exit) {}
    }

    /// Drops the oldest event of a rank; false when there is none. The first one may be on its way: it stays.
    fn drop_oldest(&mut self, least: Rank) -> bool {
        if self.ranks[least as usize] == 0 {
            return false;
        }
        let found = self.events.iter().skip(1).position(|e| rank(e) == least);
        let Some(old) = found.and_then(|at| self.events.remove(at + 1)) else { return false };
        self.bytes -= weight(&old);
        self.ranks[least as usize] -= 1;
        self.lost += 1;
        // Not a line for each: the daemon that would read them is away.
        if self.lost.is_power_of_two() {
            error!("event queue is full, dropped {} ({} so far)", old.topic, self.lost);
        }
        true
    }

    fn pop(&mut self) {
        if let Some(event) = self.events.pop_front() {
            self.bytes -= weight(&event);
            self.ranks[rank(&event) as usize] -= 1;
        }
        if self.events.is_empty() {
            // Room that an outage has needed is not needed for ever.
            self.events = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use protos::shim::events::TaskExit;

    fn exit(n: u32) -> TaskExit {
        let mut event = TaskExit::new();
        event.pid = n;
        event.container_id = "c".repeat(64);
        event
    }

    #[test]
    fn the_queue_is_bounded_and_keeps_order() {
        let publisher = Publisher::new("/nonexistent", "n");
        for n in 0..30_000 {
            publisher.send("/tasks/exit", &exit(n));
        }
        let mut queue = publisher.queue();
        assert!(queue.bytes <= MAX_EXITS && queue.lost > 0);
        let pid = |e: &Envelope| protos::shim::any::unpack::<TaskExit>(&e.event).unwrap().pid;
        assert_eq!(pid(&queue.events[0]), 0, "the one that may be on its way stays");
        let pids: Vec<u32> = queue.events.iter().map(pid).collect();
        assert!(pids.is_sorted() && *pids.last().unwrap() == 29_999);
        while !queue.events.is_empty() {
            queue.pop();
        }
        assert_eq!((queue.bytes, queue.events.capacity()), (0, 0));
    }

    #[test]
    fn exits_are_the_last_to_go() {
        let publisher = Publisher::new("/nonexistent", "n");
        for n in 0..3000 {
            for topic in ["/tasks/exec-added", "/tasks/start", "/tasks/exec-started", "/tasks/exit"] {
                publisher.send(topic, &exit(n));
            }
        }
        let queue = publisher.queue();
        assert!(queue.bytes <= MAX_QUEUED && queue.lost > 0);
        let count = |topic: &str| queue.events.iter().filter(|e| e.topic == topic).count();
        assert_eq!((count("/tasks/exit"), count("/tasks/exec-started")), (3000, 0));
        assert!(count("/tasks/start") > 0, "no more than needed");
        assert_eq!(count("/tasks/exec-added"), 1, "the one that may be on its way");
    }

    #[test]
    fn without_a_daemon_nothing_is_kept() {
        let publisher = Publisher::new("", "n");
        publisher.send("/tasks/exit", &exit(1));
        assert_eq!(publisher.queued(), 0);
    }
}
