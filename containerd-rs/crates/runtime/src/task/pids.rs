use base::Namespace;
use protos::shim::task_v3::{PidsRequest, PidsResponse};

use crate::error::Error;
use crate::model::ProcessInfo;
use crate::runtime::Runtime;
use crate::wire;

impl Runtime {
    /// Every process of the container, as its runtime lists them. Cancel-safe.
    pub async fn pids(&self, namespace: &Namespace, id: &str) -> Result<Vec<ProcessInfo>, Error> {
        let (_, shim) = self.live(namespace, id).await?;
        let request = PidsRequest { id: id.to_owned(), ..PidsRequest::default() };
        let limit = self.shared.options.timeouts.call;
        let response: PidsResponse = shim.client.call("Pids", &request, limit).await?;
        let info = |p: protos::shim::types::ProcessInfo| ProcessInfo {
            pid: p.pid,
            info: p.info.into_option().map(wire::from_any),
        };
        Ok(response.processes.into_iter().map(info).collect())
    }
}
