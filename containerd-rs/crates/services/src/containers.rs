//! `containerd.services.containers.v1.Containers`: container records. Tasks and snapshots are not touched here.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use protos::api::containers::containers_server::Containers;
use protos::api::containers::*;
use protos::api::events_types as ev;
use tonic::{Request, Response, Status};

use crate::convert::{container_in, container_out, filters, mask};
use crate::parts::Parts;
use crate::request::scope;
use crate::status::{invalid, status, to_the_end};

pub(crate) struct Service(pub(crate) Arc<Parts>);

type Result<T> = std::result::Result<Response<T>, Status>;

#[tonic::async_trait]
impl Containers for Service {
    async fn get(&self, request: Request<GetContainerRequest>) -> Result<GetContainerResponse> {
        let scope = scope(&request)?;
        let found =
            self.0.metadata.containers().get(&scope.namespace, &request.get_ref().id).map_err(status)?;
        Ok(Response::new(GetContainerResponse { container: Some(container_out(found)) }))
    }

    async fn list(&self, request: Request<ListContainersRequest>) -> Result<ListContainersResponse> {
        let containers = self.listed(&request)?.into_iter().map(container_out).collect();
        Ok(Response::new(ListContainersResponse { containers }))
    }

    type ListStreamStream =
        Pin<Box<dyn Stream<Item = std::result::Result<ListContainerMessage, Status>> + Send>>;

    async fn list_stream(&self, request: Request<ListContainersRequest>) -> Result<Self::ListStreamStream> {
        let all = self.listed(&request)?.into_iter();
        let messages = all.map(|c| Ok(ListContainerMessage { container: Some(container_out(c)) }));
        Ok(Response::new(Box::pin(futures_util::stream::iter(messages))))
    }

    async fn create(&self, request: Request<CreateContainerRequest>) -> Result<CreateContainerResponse> {
        let scope = scope(&request)?;
        let container = request.into_inner().container.ok_or_else(|| invalid("container must be set"))?;
        let parts = Arc::clone(&self.0);
        to_the_end(async move {
            let made = parts
                .metadata
                .containers()
                .create(&scope.namespace, container_in(container))
                .await
                .map_err(status)?;
            let event = ev::ContainerCreate {
                id: made.id.clone(),
                image: made.image.clone(),
                runtime: Some(ev::container_create::Runtime {
                    name: made.runtime.name.clone(),
                    options: made.runtime.options.clone().map(crate::convert::any_out),
                }),
            };
            parts.publish(&scope.namespace, "/containers/create", &event);
            Ok(Response::new(CreateContainerResponse { container: Some(container_out(made)) }))
        })
        .await
    }

    async fn update(&self, request: Request<UpdateContainerRequest>) -> Result<UpdateContainerResponse> {
        let scope = scope(&request)?;
        let UpdateContainerRequest { container, update_mask } = request.into_inner();
        let container = container.ok_or_else(|| invalid("container must be set"))?;
        if container.id.is_empty() {
            return Err(invalid("Container.ID required"));
        }
        let parts = Arc::clone(&self.0);
        to_the_end(async move {
            let mask = mask(update_mask);
            let containers = parts.metadata.containers();
            let updated =
                containers.update(&scope.namespace, container_in(container), &mask).await.map_err(status)?;
            let event = ev::ContainerUpdate {
                id: updated.id.clone(),
                image: updated.image.clone(),
                labels: updated.labels.clone(),
                snapshot_key: updated.snapshot_key.clone(),
            };
            parts.publish(&scope.namespace, "/containers/update", &event);
            Ok(Response::new(UpdateContainerResponse { container: Some(container_out(updated)) }))
        })
        .await
    }

    async fn delete(&self, request: Request<DeleteContainerRequest>) -> Result<()> {
        let scope = scope(&request)?;
        let id = request.into_inner().id;
        let parts = Arc::clone(&self.0);
        to_the_end(async move {
            parts.metadata.containers().delete(&scope.namespace, &id).await.map_err(status)?;
            parts.publish(&scope.namespace, "/containers/delete", &ev::ContainerDelete { id });
            Ok(Response::new(()))
        })
        .await
    }
}

impl Service {
    fn listed(
        &self,
        request: &Request<ListContainersRequest>,
    ) -> std::result::Result<Vec<store::Container>, Status> {
        let scope = scope(request)?;
        let filters = filters(&request.get_ref().filters)?;
        self.0.metadata.containers().list(&scope.namespace, &filters).map_err(status)
    }
}
