use base::Namespace;
use protos::shim::task_v3::{DeleteRequest, DeleteResponse};

use crate::error::Error;
use crate::model::Exit;
use crate::runtime::Runtime;
use crate::wire;

impl Runtime {
    /// Deletes a stopped exec and tells how it ended. Runs on when the future is dropped.
    pub async fn delete_process(
        &self,
        namespace: &Namespace,
        id: &str,
        exec_id: &str,
    ) -> Result<Exit, Error> {
        let (entry, shim) = self.live(namespace, id).await?;
        let request =
            DeleteRequest { id: id.to_owned(), exec_id: exec_id.to_owned(), ..DeleteRequest::default() };
        let limit = self.shared.options.timeouts.call;
        self.tracked("delete process", async move {
            let response: DeleteResponse = shim.client.call("Delete", &request, limit).await?;
            entry.bundle.forget_exec_told(&request.exec_id);
            Ok(Exit {
                pid: response.pid,
                status: response.exit_status,
                exited_at: wire::time(response.exited_at.as_ref()),
            })
        })
        .await
    }
}
