//! `containerd.services.sandbox.v1.Controller`: sandboxes that run. Each request names the kind of its sandbox
//! (`sandboxer`); their records are `sandboxes.rs`' business.

use std::sync::Arc;
use std::time::Duration;

use base::ErrorKind;
use protos::api::events_types::{SandboxCreate, SandboxStart};
use protos::api::sandbox::controller_server::Controller;
use protos::api::sandbox::*;
use protos::api::types::{Metric, Sandbox};
use runtime::sandbox::{CreateSandbox, Sandboxer};
use tonic::{Request, Response, Status};

use crate::convert::{any_in, any_out, mounts_in, platform_out, timestamp};
use crate::parts::Parts;
use crate::request::scope;
use crate::sandboxes::sandbox_in;
use crate::status::{refuse, status, to_the_end};

pub(crate) struct Service(pub(crate) Arc<Parts>);

type Result<T> = std::result::Result<Response<T>, Status>;

impl Service {
    /// The controller that a request names.
    fn named(&self, name: &str) -> std::result::Result<Arc<dyn Sandboxer>, Status> {
        // The words of the original, which stand in this order.
        if name.is_empty() {
            let words = "invalid argument: sandbox controller name can not be empty";
            return Err(Status::invalid_argument(words));
        }
        let found = self.0.sandboxers.get(name).cloned();
        found.ok_or_else(|| {
            Status::not_found(format!("not found: failed to get sandbox controller by {name}"))
        })
    }
}

#[tonic::async_trait]
impl Controller for Service {
    async fn create(&self, request: Request<ControllerCreateRequest>) -> Result<ControllerCreateResponse> {
        let scope = scope(&request)?;
        let request = request.into_inner();
        let sandboxer = self.named(&request.sandboxer)?;
        let unrecorded = || Sandbox { sandbox_id: request.sandbox_id.clone(), ..Sandbox::default() };
        let record = sandbox_in(Some(request.sandbox.unwrap_or_else(unrecorded)))?;
        let wanted = CreateSandbox {
            id: record.id,
            runtime_name: record.runtime.name,
            runtime_options: record.runtime.options,
            spec: record.spec,
            rootfs: mounts_in(request.rootfs),
            options: request.options.map(any_in),
            netns_path: request.netns_path,
            annotations: request.annotations,
        };
        let (parts, sandbox_id) = (Arc::clone(&self.0), request.sandbox_id);
        to_the_end(async move {
            sandboxer.create(&scope.namespace, wanted).await.map_err(status)?;
            let event = SandboxCreate { sandbox_id: sandbox_id.clone() };
            parts.publish(&scope.namespace, "/sandboxes/create", &event);
            Ok(Response::new(ControllerCreateResponse { sandbox_id }))
        })
        .await
    }

    async fn start(&self, request: Request<ControllerStartRequest>) -> Result<ControllerStartResponse> {
        let scope = scope(&request)?;
        let request = request.into_inner();
        let sandboxer = self.named(&request.sandboxer)?;
        let (parts, sandbox_id) = (Arc::clone(&self.0), request.sandbox_id);
        to_the_end(async move {
            let started = sandboxer.start(&scope.namespace, &sandbox_id).await.map_err(|e| {
                status(base::Error::wrap(format!("failed to start sandbox {sandbox_id:?}"), e))
            })?;
            let event = SandboxStart { sandbox_id: sandbox_id.clone() };
            parts.publish(&scope.namespace, "/sandboxes/start", &event);
            Ok(Response::new(ControllerStartResponse {
                sandbox_id,
                pid: started.pid,
                created_at: started.created_at.map(timestamp),
                labels: started.labels,
                address: started.address,
                version: started.version,
                spec: started.spec.map(any_out),
            }))
        })
        .await
    }

    async fn platform(
        &self,
        request: Request<ControllerPlatformRequest>,
    ) -> Result<ControllerPlatformResponse> {
        let scope = scope(&request)?;
        let request = request.get_ref();
        let sandboxer = self.named(&request.sandboxer)?;
        let platform = sandboxer.platform(&scope.namespace, &request.sandbox_id).await.map_err(status)?;
        Ok(Response::new(ControllerPlatformResponse { platform: Some(platform_out(&platform)) }))
    }

    async fn stop(&self, request: Request<ControllerStopRequest>) -> Result<ControllerStopResponse> {
        let scope = scope(&request)?;
        let request = request.into_inner();
        let sandboxer = self.named(&request.sandboxer)?;
        to_the_end(async move {
            let timeout = Some(Duration::from_secs(request.timeout_secs.into()));
            sandboxer.stop(&scope.namespace, &request.sandbox_id, timeout).await.map_err(status)?;
            Ok(Response::new(ControllerStopResponse {}))
        })
        .await
    }

    async fn wait(&self, request: Request<ControllerWaitRequest>) -> Result<ControllerWaitResponse> {
        let scope = scope(&request)?;
        let request = request.get_ref();
        let sandboxer = self.named(&request.sandboxer)?;
        let exit = sandboxer.wait(&scope.namespace, &request.sandbox_id).await.map_err(status)?;
        Ok(Response::new(ControllerWaitResponse {
            exit_status: exit.status,
            exited_at: Some(timestamp(exit.exited_at)),
        }))
    }

    async fn status(&self, request: Request<ControllerStatusRequest>) -> Result<ControllerStatusResponse> {
        let scope = scope(&request)?;
        let request = request.get_ref();
        let sandboxer = self.named(&request.sandboxer)?;
        let found =
            sandboxer.status(&scope.namespace, &request.sandbox_id, request.verbose).await.map_err(status)?;
        Ok(Response::new(ControllerStatusResponse {
            sandbox_id: request.sandbox_id.clone(),
            pid: found.pid,
            state: found.state,
            info: found.info,
            created_at: found.created_at.map(timestamp),
            exited_at: found.exited_at.map(timestamp),
            // There is always one, empty if need be, as from the original.
            extra: Some(found.extra.map(any_out).unwrap_or_default()),
            address: found.address,
            version: found.version,
        }))
    }

    async fn shutdown(
        &self,
        request: Request<ControllerShutdownRequest>,
    ) -> Result<ControllerShutdownResponse> {
        let scope = scope(&request)?;
        let request = request.into_inner();
        let sandboxer = self.named(&request.sandboxer)?;
        to_the_end(async move {
            sandboxer.shutdown(&scope.namespace, &request.sandbox_id).await.map_err(status)?;
            Ok(Response::new(ControllerShutdownResponse {}))
        })
        .await
    }

    async fn metrics(&self, request: Request<ControllerMetricsRequest>) -> Result<ControllerMetricsResponse> {
        let scope = scope(&request)?;
        let request = request.get_ref();
        let sandboxer = self.named(&request.sandboxer)?;
        let found = sandboxer.metrics(&scope.namespace, &request.sandbox_id).await.map_err(status)?;
        let metrics =
            Metric { timestamp: found.timestamp.map(timestamp), id: found.id, data: found.data.map(any_out) };
        Ok(Response::new(ControllerMetricsResponse { metrics: Some(metrics) }))
    }

    async fn update(&self, request: Request<ControllerUpdateRequest>) -> Result<ControllerUpdateResponse> {
        let scope = scope(&request)?;
        let request = request.into_inner();
        let sandboxer = self.named(&request.sandboxer)?;
        if request.sandbox.is_none() {
            return Err(refuse(ErrorKind::Unknown, "sandbox can not be nil"));
        }
        let record = sandbox_in(request.sandbox)?;
        to_the_end(async move {
            let (id, fields) = (&request.sandbox_id, &request.fields);
            sandboxer.update(&scope.namespace, id, &record, fields).await.map_err(status)?;
            Ok(Response::new(ControllerUpdateResponse {}))
        })
        .await
    }
}
