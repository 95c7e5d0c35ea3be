use base::Namespace;
use protobuf::well_known_types::empty::Empty;
use protos::shim::task_v3::ExecProcessRequest;

use crate::error::Error;
use crate::model::ExecRequest;
use crate::runtime::Runtime;
use crate::wire;

impl Runtime {
    /// Adds a process to a task; [`Runtime::start`] with its id starts it. Runs on when the future is dropped.
    pub async fn exec(&self, namespace: &Namespace, id: &str, exec: ExecRequest) -> Result<(), Error> {
        if exec.exec_id.is_empty() {
            return Err(Error::NoExecId);
        }
        let (_, shim) = self.live(namespace, id).await?;
        base::validate_identifier(&exec.exec_id)
            .map_err(|source| Error::ExecId { id: exec.exec_id.clone(), source })?;
        let request = ExecProcessRequest {
            id: id.to_owned(),
            exec_id: exec.exec_id,
            terminal: exec.terminal,
            stdin: exec.stdin,
            stdout: exec.stdout,
            stderr: exec.stderr,
            spec: exec.spec.as_ref().map(wire::any).into(),
            ..ExecProcessRequest::default()
        };
        let limit = self.shared.options.timeouts.call;
        self.tracked("exec", async move {
            let Empty { .. } = shim.client.call("Exec", &request, limit).await?;
            Ok(())
        })
        .await
    }
}
