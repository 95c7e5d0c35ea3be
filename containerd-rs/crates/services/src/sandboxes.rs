//! `containerd.services.sandbox.v1.Store`: sandbox records. Running sandboxes is the controller's business.

use std::sync::Arc;
use std::time::SystemTime;

use protos::api::sandbox::store_server::Store;
use protos::api::sandbox::*;
use protos::api::types::{self, Sandbox};
use tonic::{Request, Response, Status};

use crate::convert::{any_in, any_out, filters, timestamp};
use crate::parts::Parts;
use crate::request::scope;
use crate::status::{invalid, status, to_the_end};

pub(crate) struct Service(pub(crate) Arc<Parts>);

type Result<T> = std::result::Result<Response<T>, Status>;

pub(crate) fn sandbox_in(s: Option<Sandbox>) -> std::result::Result<store::Sandbox, Status> {
    let s = s.ok_or_else(|| invalid("sandbox must be set"))?;
    let now = SystemTime::UNIX_EPOCH;
    let runtime = s.runtime.map(|r| store::RuntimeInfo { name: r.name, options: r.options.map(any_in) });
    Ok(store::Sandbox {
        id: s.sandbox_id,
        runtime: runtime.unwrap_or_default(),
        spec: s.spec.map(any_in),
        labels: s.labels,
        created_at: now,
        updated_at: now,
        extensions: s.extensions.into_iter().map(|(k, v)| (k, any_in(v))).collect(),
        sandboxer: s.sandboxer,
    })
}

fn sandbox_out(s: store::Sandbox) -> Sandbox {
    Sandbox {
        sandbox_id: s.id,
        runtime: Some(types::sandbox::Runtime {
            name: s.runtime.name,
            options: s.runtime.options.map(any_out),
        }),
        spec: s.spec.map(any_out),
        labels: s.labels,
        created_at: Some(timestamp(s.created_at)),
        updated_at: Some(timestamp(s.updated_at)),
        extensions: s.extensions.into_iter().map(|(k, v)| (k, any_out(v))).collect(),
        sandboxer: s.sandboxer,
    }
}

#[tonic::async_trait]
impl Store for Service {
    async fn create(&self, request: Request<StoreCreateRequest>) -> Result<StoreCreateResponse> {
        let scope = scope(&request)?;
        let sandbox = sandbox_in(request.into_inner().sandbox)?;
        let parts = Arc::clone(&self.0);
        to_the_end(async move {
            let made = parts.metadata.sandboxes().create(&scope.namespace, sandbox).await.map_err(status)?;
            Ok(Response::new(StoreCreateResponse { sandbox: Some(sandbox_out(made)) }))
        })
        .await
    }

    async fn update(&self, request: Request<StoreUpdateRequest>) -> Result<StoreUpdateResponse> {
        let scope = scope(&request)?;
        let StoreUpdateRequest { sandbox, fields } = request.into_inner();
        let sandbox = sandbox_in(sandbox)?;
        let parts = Arc::clone(&self.0);
        to_the_end(async move {
            let updated = parts
                .metadata
                .sandboxes()
                .update(&scope.namespace, sandbox, &fields)
                .await
                .map_err(status)?;
            Ok(Response::new(StoreUpdateResponse { sandbox: Some(sandbox_out(updated)) }))
        })
        .await
    }

    async fn delete(&self, request: Request<StoreDeleteRequest>) -> Result<StoreDeleteResponse> {
        let scope = scope(&request)?;
        let id = request.into_inner().sandbox_id;
        let parts = Arc::clone(&self.0);
        to_the_end(async move {
            parts.metadata.sandboxes().delete(&scope.namespace, &id).await.map_err(status)?;
            Ok(Response::new(StoreDeleteResponse {}))
        })
        .await
    }

    async fn list(&self, request: Request<StoreListRequest>) -> Result<StoreListResponse> {
        let scope = scope(&request)?;
        let filters = filters(&request.get_ref().filters)?;
        let found = self.0.metadata.sandboxes().list(&scope.namespace, &filters).map_err(status)?;
        Ok(Response::new(StoreListResponse { list: found.into_iter().map(sandbox_out).collect() }))
    }

    async fn get(&self, request: Request<StoreGetRequest>) -> Result<StoreGetResponse> {
        let scope = scope(&request)?;
        let found = self
            .0
            .metadata
            .sandboxes()
            .get(&scope.namespace, &request.get_ref().sandbox_id)
            .map_err(status)?;
        Ok(Response::new(StoreGetResponse { sandbox: Some(sandbox_out(found)) }))
    }
}
