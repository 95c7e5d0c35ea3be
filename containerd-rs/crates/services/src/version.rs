//! `containerd.services.version.v1.Version`

use std::sync::Arc;

use protos::api::version::VersionResponse;
use protos::api::version::version_server::Version;
use tonic::{Request, Response, Status};

use crate::parts::Parts;

pub(crate) struct Service(pub(crate) Arc<Parts>);

#[tonic::async_trait]
impl Version for Service {
    async fn version(&self, _: Request<()>) -> Result<Response<VersionResponse>, Status> {
        let Parts { version, revision, .. } = &*self.0;
        Ok(Response::new(VersionResponse { version: version.clone(), revision: revision.clone() }))
    }
}
