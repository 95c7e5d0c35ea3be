//! `containerd.services.diff.v1.Diff`: each differ is tried in order; one that does not know a media type passes it on.

use std::sync::Arc;

use base::{ErrorKind, Kinded};
use protos::api::diff::diff_server::Diff;
use protos::api::diff::*;
use snapshot::{ApplyOptions, CompareOptions};
use tonic::{Request, Response, Status};

use crate::convert::{any_in, descriptor_in, descriptor_out, mounts_in, time};
use crate::parts::Parts;
use crate::request::scope;
use crate::status::{invalid, refuse, status, to_the_end};

pub(crate) struct Service(pub(crate) Arc<Parts>);

#[tonic::async_trait]
impl Diff for Service {
    async fn apply(&self, request: Request<ApplyRequest>) -> Result<Response<ApplyResponse>, Status> {
        let scope = scope(&request)?;
        let r = request.into_inner();
        let diff = descriptor_in(r.diff.ok_or_else(|| invalid("diff must be set"))?)?;
        let mounts = mounts_in(r.mounts);
        let payloads: std::collections::BTreeMap<_, _> =
            r.payloads.into_iter().map(|(k, v)| (k, any_in(v))).collect();
        let parts = Arc::clone(&self.0);
        to_the_end(async move {
            for differ in &parts.differs {
                let options = ApplyOptions {
                    sync_fs: r.sync_fs || parts.sync_fs,
                    payloads: payloads.clone(),
                    ..ApplyOptions::default()
                };
                match differ.apply(&scope, &diff, &mounts, options).await {
                    Ok(applied) => {
                        return Ok(Response::new(ApplyResponse { applied: Some(descriptor_out(&applied)) }));
                    }
                    Err(error) if error.kind() == ErrorKind::Unimplemented => {}
                    Err(error) => {
                        // Damaged bytes are set aside, so that the client's next try fetches them again.
                        let layer = std::slice::from_ref(&diff);
                        let kind = error.kind();
                        return Err(match image::damage::blame(&*parts.content, &scope, layer, kind).await {
                            Some(damaged) => status(damaged),
                            None => status(error),
                        });
                    }
                }
            }
            Err(refuse(ErrorKind::Unimplemented, format!("no differ takes media type {:?}", diff.media_type)))
        })
        .await
    }

    async fn diff(&self, request: Request<DiffRequest>) -> Result<Response<DiffResponse>, Status> {
        let scope = scope(&request)?;
        let r = request.into_inner();
        let (lower, upper) = (mounts_in(r.left), mounts_in(r.right));
        let options = CompareOptions {
            media_type: r.media_type,
            reference: r.r#ref,
            labels: r.labels,
            source_date_epoch: r.source_date_epoch.as_ref().map(time).transpose()?,
        };
        let parts = Arc::clone(&self.0);
        to_the_end(async move {
            for differ in &parts.differs {
                match differ.compare(&scope, &lower, &upper, options.clone()).await {
                    Ok(made) => return Ok(Response::new(DiffResponse { diff: Some(descriptor_out(&made)) })),
                    Err(error) if error.kind() == ErrorKind::Unimplemented => {}
                    Err(error) => return Err(status(error)),
                }
            }
            Err(refuse(
                ErrorKind::Unimplemented,
                format!("no differ makes media type {:?}", options.media_type),
            ))
        })
        .await
    }
}
