//! `containerd.services.mounts.v1.Mounts`

use std::pin::Pin;
use std::sync::Arc;

use ::mounts::{ActivateOptions, Activation, Manager};
use futures_util::Stream;
use protos::api::mounts::mounts_server::Mounts;
use protos::api::mounts::*;
use protos::api::types;
use tonic::{Request, Response, Status};

use crate::convert::{mount_out, mounts_in, mounts_out, timestamp};
use crate::parts::Parts;
use crate::request::scope;
use crate::status::{refuse, status, to_the_end};

pub(crate) struct Service(pub(crate) Arc<Parts>);

type Result<T> = std::result::Result<Response<T>, Status>;

impl Service {
    fn manager(&self) -> std::result::Result<Manager, Status> {
        let missing = || refuse(base::ErrorKind::Unavailable, "the mount manager is not loaded");
        self.0.mounts.clone().ok_or_else(missing)
    }
}

fn info_out(activation: Activation) -> types::ActivationInfo {
    let active = activation.active.into_iter().map(|active| types::ActiveMount {
        mount: Some(mount_out(active.mount)),
        mounted_at: Some(timestamp(active.mounted_at.system())),
        mount_point: active.mount_point,
        data: Default::default(),
    });
    types::ActivationInfo {
        name: activation.name,
        active: active.collect(),
        system: mounts_out(activation.system),
        labels: activation.labels,
    }
}

#[tonic::async_trait]
impl Mounts for Service {
    async fn activate(&self, request: Request<ActivateRequest>) -> Result<ActivateResponse> {
        let scope = scope(&request)?;
        let manager = self.manager()?;
        let r = request.into_inner();
        to_the_end(async move {
            let options =
                ActivateOptions { labels: r.labels, temporary: r.temporary, ..ActivateOptions::default() };
            let mounts = mounts_in(r.mounts);
            let made = manager.activate(&scope, &r.name, &mounts, options).await.map_err(status)?;
            Ok(Response::new(ActivateResponse { info: Some(info_out(made)) }))
        })
        .await
    }

    async fn deactivate(&self, request: Request<DeactivateRequest>) -> Result<()> {
        let scope = scope(&request)?;
        let manager = self.manager()?;
        let name = request.into_inner().name;
        to_the_end(async move {
            manager.deactivate(&scope.namespace, &name).await.map_err(status)?;
            Ok(Response::new(()))
        })
        .await
    }

    async fn info(&self, request: Request<InfoRequest>) -> Result<InfoResponse> {
        let scope = scope(&request)?;
        let info = self.manager()?.info(&scope.namespace, &request.get_ref().name).map_err(status)?;
        Ok(Response::new(InfoResponse { info: Some(info_out(info)) }))
    }

    /// As in the original, nothing of an activation can be changed.
    async fn update(&self, _: Request<UpdateRequest>) -> Result<UpdateResponse> {
        Err(refuse(base::ErrorKind::Unimplemented, "an activation cannot be changed"))
    }

    type ListStream = Pin<Box<dyn Stream<Item = std::result::Result<ListMessage, Status>> + Send>>;

    /// As in the original, filters are not looked at.
    async fn list(&self, request: Request<ListRequest>) -> Result<Self::ListStream> {
        let scope = scope(&request)?;
        let all = self.manager()?.list(&scope.namespace).map_err(status)?;
        let messages = all.into_iter().map(|a| Ok(ListMessage { info: Some(info_out(a)) }));
        Ok(Response::new(Box::pin(futures_util::stream::iter(messages.collect::<Vec<_>>()))))
    }
}
