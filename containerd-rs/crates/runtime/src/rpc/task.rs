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
            Err(first) if version >= 3 && self.conn.may_speak_v2() && unknown_service(&first) => {
                let again = self.conn.call(V2, method, request, limit).await;
                if again.as_ref().is_err_and(unknown_service) {
                    // It is the method that it does not have, not the service.
                    return Err(first);
                }
                tracing::info!(method, "shim does not know task v3, speaking v2 to it");
                self.version.store(2, Ordering::Relaxed);
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use protobuf::well_known_types::empty::Empty;
    use protos::shim::task_v3::{ConnectRequest, ConnectResponse, PauseRequest};
    use protos::shim::{task_v2, task_v3};
    use std::collections::HashMap;
    use tokio::net::UnixStream;
    use ttrpc::r#async::{Server, Service, TtrpcContext};

    const LIMIT: Duration = Duration::from_secs(5);

    struct Fake;

    #[async_trait::async_trait]
    impl task_v2::Task for Fake {
        async fn connect(
            &self,
            _: &TtrpcContext,
            _: task_v2::ConnectRequest,
        ) -> ttrpc::Result<task_v2::ConnectResponse> {
            Ok(task_v2::ConnectResponse { task_pid: 2, ..Default::default() })
        }
    }

    #[async_trait::async_trait]
    impl task_v3::Task for Fake {
        async fn connect(&self, ctx: &TtrpcContext, _: ConnectRequest) -> ttrpc::Result<ConnectResponse> {
            assert_eq!(ctx.metadata.get("containerd-namespace-ttrpc").unwrap(), &["ns"]);
            Ok(ConnectResponse { task_pid: 3, ..Default::default() })
        }
        async fn pause(&self, _: &TtrpcContext, _: PauseRequest) -> ttrpc::Result<Empty> {
            let code = ttrpc::Code::UNIMPLEMENTED;
            Err(ttrpc::Error::RpcStatus(ttrpc::get_status(code, "no freezer here".to_owned())))
        }
    }

    async fn serve(service: HashMap<String, Service>) -> (TaskClient, Server, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let address = format!("unix://{}", path.display());
        let mut server = Server::new().bind(&address).unwrap().register_service(service);
        server.start().await.unwrap();
        let stream = UnixStream::connect(&path).await.unwrap();
        (TaskClient::new(Conn::new(stream, "ns"), 3), server, dir)
    }

    async fn connect(client: &TaskClient) -> u32 {
        let answer: ConnectResponse = client.call("Connect", &ConnectRequest::new(), LIMIT).await.unwrap();
        answer.task_pid
    }

    #[tokio::test]
    async fn a_shim_that_knows_only_v2_is_spoken_to_in_v2() {
        let (client, mut server, _dir) = serve(task_v2::create_task(Arc::new(Fake))).await;
        assert_eq!(connect(&client).await, 2);
        assert_eq!(client.version(), 2);
        assert_eq!(connect(&client).await, 2);
        server.shutdown().await.unwrap();
        client.conn().closed().await;
        let gone = client.call::<_, ConnectResponse>("Connect", &ConnectRequest::new(), LIMIT).await;
        assert!(matches!(gone, Err(CallError::Closed)));
    }

    #[tokio::test]
    async fn a_method_that_v3_does_not_have_is_no_reason_for_v2() {
        let (client, mut server, _dir) = serve(task_v3::create_task(Arc::new(Fake))).await;
        assert_eq!(connect(&client).await, 3);
        let refused = client.call::<_, Empty>("Pause", &PauseRequest::new(), LIMIT).await.unwrap_err();
        assert_eq!(
            (refused.kind(), refused.to_string().as_str()),
            (ErrorKind::Unimplemented, "no freezer here")
        );
        assert_eq!(client.version(), 3);
        let huge = PauseRequest { id: "x".repeat(5 << 20), ..PauseRequest::default() };
        let refused = client.call::<_, Empty>("Pause", &huge, LIMIT).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ResourceExhausted);
        assert_eq!(connect(&client).await, 3, "the connection is still good");
        server.shutdown().await.unwrap();
    }

    #[tokio::test]
    async fn abandoned_calls_leave_nothing_behind() {
        let (ours, _silent) = UnixStream::pair().unwrap();
        let client = TaskClient::new(Conn::new(ours, "ns"), 3);
        let mut unanswered = 0;
        let request = PauseRequest::new();
        for _ in 0..500 {
            let asked = client.call::<_, Empty>("Pause", &request, Duration::from_micros(200));
            unanswered += u32::from(matches!(asked.await, Err(CallError::Timeout { .. })));
        }
        assert_eq!(unanswered, 500);
        client.conn().close();
        client.conn().closed().await;
    }
}
