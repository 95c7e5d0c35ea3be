//! `status`, `metrics` and `platform`: what the sandbox says of itself.

use std::time::SystemTime;

use base::{ErrorKind, Kinded, Namespace, Platform};
use protos::shim::sandbox::{
    PlatformRequest, PlatformResponse, SandboxMetricsRequest, SandboxMetricsResponse, SandboxStatusRequest,
    SandboxStatusResponse,
};

use super::{Result, SandboxMetrics, SandboxStatus, ShimSandboxer, call, failed, start};
use crate::wire;

impl ShimSandboxer {
    pub(super) async fn sandbox_status(
        &self,
        namespace: &Namespace,
        id: &str,
        verbose: bool,
    ) -> Result<SandboxStatus> {
        let (_, shim) = match self.live(namespace, id).await {
            Ok(found) => found,
            Err(e) if e.kind() == ErrorKind::NotFound => {
                return Ok(SandboxStatus { exited_at: Some(SystemTime::now()), ..SandboxStatus::default() });
            }
            Err(e) => return Err(e),
        };
        let request =
            SandboxStatusRequest { sandbox_id: id.to_owned(), verbose, ..SandboxStatusRequest::default() };
        let limit = self.shared.options.timeouts.state;
        let status: SandboxStatusResponse = call(&shim, "SandboxStatus", &request, limit)
            .await
            .map_err(failed(format!("failed to query sandbox {id} status")))?;
        Ok(SandboxStatus {
            pid: status.pid,
            state: status.state,
            info: status.info.into_iter().collect(),
            created_at: wire::time(status.created_at.as_ref()),
            exited_at: wire::time(status.exited_at.as_ref()),
            extra: status.extra.into_option().map(wire::from_any),
            address: start::address(&shim),
            version: start::version(&shim),
        })
    }

    pub(super) async fn sandbox_metrics(&self, namespace: &Namespace, id: &str) -> Result<SandboxMetrics> {
        let (_, shim) = self.live(namespace, id).await?;
        let request = SandboxMetricsRequest { sandbox_id: id.to_owned(), ..SandboxMetricsRequest::default() };
        let limit = self.shared.options.timeouts.stats;
        let response: SandboxMetricsResponse = call(&shim, "SandboxMetrics", &request, limit)
            .await
            .map_err(failed(format!("failed to get metrics of sandbox {id}")))?;
        let metric = response.metrics.unwrap_or_default();
        Ok(SandboxMetrics {
            timestamp: wire::time(metric.timestamp.as_ref()),
            id: metric.id,
            data: metric.data.into_option().map(wire::from_any),
        })
    }

    pub(super) async fn sandbox_platform(&self, namespace: &Namespace, id: &str) -> Result<Platform> {
        let (_, shim) = self.live(namespace, id).await?;
        let request = PlatformRequest { sandbox_id: id.to_owned(), ..PlatformRequest::default() };
        let limit = self.shared.options.timeouts.state;
        let response: PlatformResponse = call(&shim, "Platform", &request, limit)
            .await
            .map_err(failed("failed to get sandbox platform".to_owned()))?;
        let platform = response.platform.unwrap_or_default();
        Ok(Platform {
            os: platform.os,
            architecture: platform.architecture,
            variant: platform.variant,
            ..Platform::default()
        })
    }
}
