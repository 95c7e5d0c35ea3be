//! `containerd.services.leases.v1.Leases`

use std::sync::Arc;

use protos::api::leases::leases_server::Leases;
use protos::api::leases::*;
use tonic::{Request, Response, Status};

use crate::convert::{filters, lease_out, resource_in, resource_out};
use crate::parts::Parts;
use crate::request::scope;
use crate::status::{invalid, status, to_the_end};

pub(crate) struct Service(pub(crate) Arc<Parts>);

type Result<T> = std::result::Result<Response<T>, Status>;

#[tonic::async_trait]
impl Leases for Service {
    async fn create(&self, request: Request<CreateRequest>) -> Result<CreateResponse> {
        let scope = scope(&request)?;
        let CreateRequest { id, labels } = request.into_inner();
        let id = match id.is_empty() {
            true => None,
            false => Some(base::LeaseId::new(id).map_err(|e| invalid(base::chain(&e)))?),
        };
        let parts = Arc::clone(&self.0);
        to_the_end(async move {
            let made = parts.metadata.leases().create(&scope.namespace, id, labels).await.map_err(status)?;
            Ok(Response::new(CreateResponse { lease: Some(lease_out(made)) }))
        })
        .await
    }

    async fn delete(&self, request: Request<DeleteRequest>) -> Result<()> {
        let scope = scope(&request)?;
        let DeleteRequest { id, sync } = request.into_inner();
        let parts = Arc::clone(&self.0);
        to_the_end(async move {
            parts.metadata.leases().delete(&scope.namespace, &id).await.map_err(status)?;
            if sync {
                parts.collect().await?;
            }
            Ok(Response::new(()))
        })
        .await
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<ListResponse> {
        let scope = scope(&request)?;
        let filters = filters(&request.get_ref().filters)?;
        let found = self.0.metadata.leases().list(&scope.namespace, &filters).map_err(status)?;
        Ok(Response::new(ListResponse { leases: found.into_iter().map(lease_out).collect() }))
    }

    async fn add_resource(&self, request: Request<AddResourceRequest>) -> Result<()> {
        let scope = scope(&request)?;
        let AddResourceRequest { id, resource } = request.into_inner();
        let resource = resource_in(resource)?;
        let parts = Arc::clone(&self.0);
        to_the_end(async move {
            parts.metadata.leases().add_resource(&scope.namespace, &id, resource).await.map_err(status)?;
            Ok(Response::new(()))
        })
        .await
    }

    async fn delete_resource(&self, request: Request<DeleteResourceRequest>) -> Result<()> {
        let scope = scope(&request)?;
        let DeleteResourceRequest { id, resource } = request.into_inner();
        let resource = resource_in(resource)?;
        let parts = Arc::clone(&self.0);
        to_the_end(async move {
            parts.metadata.leases().delete_resource(&scope.namespace, &id, resource).await.map_err(status)?;
            Ok(Response::new(()))
        })
        .await
    }

    async fn list_resources(&self, request: Request<ListResourcesRequest>) -> Result<ListResourcesResponse> {
        let scope = scope(&request)?;
        let found = self
            .0
            .metadata
            .leases()
            .list_resources(&scope.namespace, &request.get_ref().id)
            .map_err(status)?;
        Ok(Response::new(ListResourcesResponse { resources: found.into_iter().map(resource_out).collect() }))
    }
}
