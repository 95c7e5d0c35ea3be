//! Makes and checks connections to shims.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use protos::shim::task_v3::{ConnectRequest, ConnectResponse};

use super::{Shim, ShimProcess};
use crate::binary::Answer;
use crate::bundle::Bundle;
use crate::error::Error;
use crate::options::RuntimeOptions;
use crate::rpc::{CallError, Conn, FOR_EVER, TaskClient, dial};
use crate::shimlog::ShimLog;

impl Shim {
    /// Connects to where the shim said it listens. Nothing is sent yet.
    pub(crate) async fn connect(
        bundle: &Bundle,
        program: Option<PathBuf>,
        answer: Answer,
        log: Arc<ShimLog>,
        limit: Duration,
    ) -> Result<Arc<Self>, Error> {
        let joined = bundle.sandbox().is_some();
        let stream = dial(&answer.address, limit).await.map_err(Error::Dial)?;
        let namespace = bundle.namespace.as_str();
        let conn = match answer.is_grpc() {
            true => Conn::grpc(stream, namespace).await.map_err(|e| Error::Greet(e.to_string()))?,
            false => Conn::new(stream, namespace),
        };
        let client = TaskClient::new(conn, answer.version);
        Ok(Arc::new(Self { program, joined, answer, client, process: OnceLock::new(), log }))
    }

    /// Returns when the shim says anything at all, however long that takes.
    pub(crate) async fn question(&self, id: &str) -> Result<(), CallError> {
        let request = ConnectRequest { id: id.to_owned(), ..ConnectRequest::default() };
        let said: Result<ConnectResponse, _> = self.client.call("Connect", &request, FOR_EVER).await;
        match said {
            Err(CallError::Closed) => Err(CallError::Closed),
            _ => Ok(()),
        }
    }

    /// Asks the shim who it is; gives the task's pid. Learns the shim's own pid on the way.
    pub(crate) async fn introduce(&self, id: &str, options: &RuntimeOptions) -> Result<u32, CallError> {
        let request = ConnectRequest { id: id.to_owned(), ..ConnectRequest::default() };
        let response: ConnectResponse = self.client.call("Connect", &request, options.timeouts.load).await?;
        if !self.joined
            && self.process.get().is_none()
            && let Some(process) = ShimProcess::open(response.shim_pid, &options.state)
        {
            // Set by another caller in between: the same process.
            let _ = self.process.set(process);
        }
        Ok(response.task_pid)
    }
}
