use base::Namespace;
use protos::shim::task_v3::{StartRequest, StartResponse};

use crate::error::Error;
use crate::runtime::Runtime;

impl Runtime {
    /// Starts the task's first process, or an exec that was added; gives its pid. Runs on when the future is dropped.
    pub async fn start(&self, namespace: &Namespace, id: &str, exec_id: &str) -> Result<u32, Error> {
        let (entry, shim) = self.live(namespace, id).await?;
        let request =
            StartRequest { id: id.to_owned(), exec_id: exec_id.to_owned(), ..StartRequest::default() };
        let limit = self.shared.options.timeouts.create;
        let init = exec_id.is_empty();
        self.tracked("start", async move {
            let response: StartResponse = shim.client.call("Start", &request, limit).await?;
            if init && response.pid != 0 {
                // A restored task has its pid only now.
                entry.set_pid(response.pid);
            }
            Ok(response.pid)
        })
        .await
    }
}
