//! The Task service of a shim, v3 or v2: the messages are the same, only the service's name differs.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use base::{ErrorKind, Kinded};
use protobuf::Message;

use super::conn::{CallError, Conn};

const V2: &str = "containerd.task.v2.Task";
const V3: &str = "containerd.task.v3.Task";

/// Calls the Task service of one shim.
#[derive(Clone)]
pub(crate) struct TaskClient {
    conn: Conn,
    version: Arc<AtomicI32>,
}

impl TaskClient {
    /// A client for a shim that said it speaks `version` of the shim API (2 or 3).
    pub(crate) fn new(conn: Conn, version: i32) -> Self {
        Self { conn, version: Arc::new(AtomicI32::new(version)) }
    }

    pub(crate) fn conn(&self) -> &Conn {
        &self.conn
    }

    /// The version that is spoken now.
    pub(crate) fn version(&self) -> i32 {
        self.version.load(Ordering::Relaxed)
    }

    /// Calls `method`. A shim that reports version 3 but does not know the v3 service (a 1.7 shim whose program was
    /// replaced) is spoken to in v2 from then on.
    pub(crate) async fn call<Q: Message, A: Message>(
        &self,
        method: &'static str,
        request: &Q,
        limit: Duration,
    ) -> Result<A, CallError> {
        let version = self.version();
        let service = if version >= 3 { V3 } else { V2 };
        let answer = self.conn.call(service, method, request, limit).await;
        match answer {
            Err(e) if version >= 3 && unknown_service(&e) => {
                let again = self.conn.call(V2, method, request, limit).await;
                if !again.as_ref().is_err_and(unknown_service) {
                    tracing::info!(method, "shim does not know task v3, speaking v2 to it");
                    self.version.store(2, Ordering::Relaxed);
                }
                again
            }
            other => other,
        }
    }
}

/// Go's ttrpc answers Unimplemented for a service that it does not serve, Rust's InvalidArgument or NotFound; only
/// the text then tells it from a refusal by the service itself.
fn unknown_service(error: &CallError) -> bool {
    let CallError::Status { message, .. } = error else {
        return false;
    };
    match error.kind() {
        ErrorKind::Unimplemented => true,
        ErrorKind::InvalidArgument | ErrorKind::NotFound => message.contains(V3) || message.contains(V2),
        _ => false,
    }
}
