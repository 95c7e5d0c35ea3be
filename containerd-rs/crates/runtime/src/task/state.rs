use base::Namespace;
use protos::shim::task_v3::{StateRequest, StateResponse};

use crate::error::Error;
use crate::model::ProcessState;
use crate::rpc::CallError;
use crate::runtime::Runtime;
use crate::shim::Shim;
use crate::wire;

impl Runtime {
    /// What the first process, or an exec, is doing now, within the state bound. Cancel-safe.
    ///
    /// # Errors
    /// `NotFound`, also when the shim went away under the question; `DeadlineExceeded` when it does not answer.
    pub async fn state(&self, namespace: &Namespace, id: &str, exec_id: &str) -> Result<ProcessState, Error> {
        let (_, shim) = self.live(namespace, id).await?;
        self.ask_state(&shim, id, exec_id).await
    }

    pub(crate) async fn ask_state(
        &self,
        shim: &Shim,
        id: &str,
        exec_id: &str,
    ) -> Result<ProcessState, Error> {
        let request =
            StateRequest { id: id.to_owned(), exec_id: exec_id.to_owned(), ..StateRequest::default() };
        let limit = self.shared.options.timeouts.state;
        let response: StateResponse = match shim.client.call("State", &request, limit).await {
            Ok(response) => response,
            Err(CallError::Closed) => return Err(Error::TaskNotFound { id: id.to_owned() }),
            Err(e) => return Err(e.into()),
        };
        Ok(ProcessState {
            container_id: id.to_owned(),
            exec_id: exec_id.to_owned(),
            pid: response.pid,
            status: wire::status(response.status),
            stdin: response.stdin,
            stdout: response.stdout,
            stderr: response.stderr,
            terminal: response.terminal,
            exit_status: response.exit_status,
            exited_at: wire::time(response.exited_at.as_ref()),
            trouble: None,
        })
    }
}
