use base::{Any, Namespace};
use protos::shim::task_v3::{StatsRequest, StatsResponse};

use crate::error::Error;
use crate::runtime::Runtime;
use crate::wire;

impl Runtime {
    /// The container's cgroup figures, as the shim packs them (`io.containerd.cgroups.v1.Metrics` or v2). Cancel-safe.
    pub async fn stats(&self, namespace: &Namespace, id: &str) -> Result<Any, Error> {
        let (_, shim) = self.live(namespace, id).await?;
        let request = StatsRequest { id: id.to_owned(), ..StatsRequest::default() };
        let limit = self.shared.options.timeouts.stats;
        let response: StatsResponse = shim.client.call("Stats", &request, limit).await?;
        Ok(wire::from_any(response.stats.unwrap_or_default()))
    }
}
