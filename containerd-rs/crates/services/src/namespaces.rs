//! `containerd.services.namespaces.v1.Namespaces`

use std::sync::Arc;

use protos::api::events_types as ev;
use protos::api::namespaces::namespaces_server::Namespaces;
use protos::api::namespaces::{Namespace, *};
use tonic::{Request, Response, Status};

use crate::convert::{mask, namespace};
use crate::parts::Parts;
use crate::status::{invalid, not_found, status, to_the_end};

pub(crate) struct Service(pub(crate) Arc<Parts>);

type Result<T> = std::result::Result<Response<T>, Status>;

fn out(n: store::NamespaceInfo) -> Namespace {
    Namespace { name: n.name.to_string(), labels: n.labels }
}

#[tonic::async_trait]
impl Namespaces for Service {
    async fn get(&self, request: Request<GetNamespaceRequest>) -> Result<GetNamespaceResponse> {
        let found = self.0.metadata.namespaces().get(&namespace(&request.get_ref().name)?).map_err(status)?;
        Ok(Response::new(GetNamespaceResponse { namespace: Some(out(found)) }))
    }

    async fn list(&self, _: Request<ListNamespacesRequest>) -> Result<ListNamespacesResponse> {
        let namespaces = self.0.metadata.namespaces().list().map_err(status)?.into_iter().map(out).collect();
        Ok(Response::new(ListNamespacesResponse { namespaces }))
    }

    async fn create(&self, request: Request<CreateNamespaceRequest>) -> Result<CreateNamespaceResponse> {
        let wanted = request.into_inner().namespace.ok_or_else(|| invalid("namespace must be set"))?;
        let name = namespace(&wanted.name)?;
        let parts = Arc::clone(&self.0);
        to_the_end(async move {
            let made = parts.metadata.namespaces().create(&name, wanted.labels).await.map_err(status)?;
            let event = ev::NamespaceCreate { name: name.to_string(), labels: made.labels.clone() };
            parts.publish(&name, "/namespaces/create", &event);
            Ok(Response::new(CreateNamespaceResponse { namespace: Some(out(made)) }))
        })
        .await
    }

    async fn update(&self, request: Request<UpdateNamespaceRequest>) -> Result<UpdateNamespaceResponse> {
        let UpdateNamespaceRequest { namespace: wanted, update_mask } = request.into_inner();
        let wanted = wanted.ok_or_else(|| invalid("namespace must be set"))?;
        let name = namespace(&wanted.name)?;
        let parts = Arc::clone(&self.0);
        to_the_end(async move {
            let mask = mask(update_mask);
            let updated =
                parts.metadata.namespaces().update(&name, wanted.labels, &mask).await.map_err(status)?;
            let event = ev::NamespaceUpdate { name: name.to_string(), labels: updated.labels.clone() };
            parts.publish(&name, "/namespaces/update", &event);
            Ok(Response::new(UpdateNamespaceResponse { namespace: Some(out(updated)) }))
        })
        .await
    }

    async fn delete(&self, request: Request<DeleteNamespaceRequest>) -> Result<()> {
        let name = &request.get_ref().name;
        // A name that cannot be is one that is not there.
        let name = base::Namespace::new(name).map_err(|_| not_found(format!("namespace {name:?}")))?;
        let parts = Arc::clone(&self.0);
        to_the_end(async move {
            parts.metadata.namespaces().delete(&name).await.map_err(status)?;
            parts.publish(&name, "/namespaces/delete", &ev::NamespaceDelete { name: name.to_string() });
            Ok(Response::new(()))
        })
        .await
    }
}
