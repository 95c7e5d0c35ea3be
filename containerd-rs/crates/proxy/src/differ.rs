//! A differ in another process.

use async_trait::async_trait;
use base::{Descriptor, ErrorKind, Mount, Scope};
use prost_types::Timestamp;
use protos::api;
use protos::api::diff::diff_client::DiffClient;
use protos::api::diff::{ApplyRequest, DiffRequest};
use snapshot::{ApplyOptions, CompareOptions, Differ, Error};
use tonic::Status;
use tonic::transport::Channel;

use crate::channel::{Connection, LAYER, MESSAGE, failure, request_within};
use crate::convert::{descriptor_in, descriptor_out, mounts_out};

/// Speaks for the differ at an address.
pub struct ProxyDiffer(DiffClient<Channel>);

impl ProxyDiffer {
    pub fn new(connection: &Connection) -> Self {
        let client = DiffClient::new(connection.channel());
        Self(client.max_decoding_message_size(MESSAGE).max_encoding_message_size(MESSAGE))
    }
}

fn error(status: Status) -> Error {
    let (kind, message) = failure(&status);
    Error::refused(kind, message)
}

fn answered(descriptor: Option<api::types::Descriptor>) -> Result<Descriptor, Error> {
    descriptor_in(descriptor).map_err(|what| Error::refused(ErrorKind::Internal, what))
}

#[async_trait]
impl Differ for ProxyDiffer {
    async fn apply(
        &self,
        scope: &Scope,
        layer: &Descriptor,
        mounts: &[Mount],
        options: ApplyOptions,
    ) -> Result<Descriptor, Error> {
        let any = |a: base::Any| api::Any { type_url: a.type_url, value: a.value };
        let message = ApplyRequest {
            diff: Some(descriptor_out(layer)),
            mounts: mounts_out(mounts),
            payloads: options.payloads.into_iter().map(|(k, v)| (k, any(v))).collect(),
            sync_fs: options.sync_fs,
        };
        let answer = self.0.clone().apply(request_within(scope, message, LAYER)).await.map_err(error)?;
        answered(answer.into_inner().applied)
    }

    async fn compare(
        &self,
        scope: &Scope,
        lower: &[Mount],
        upper: &[Mount],
        options: CompareOptions,
    ) -> Result<Descriptor, Error> {
        let epoch = options.source_date_epoch.map(|time| {
            let (seconds, nanos) = base::timestamp::to_parts(time);
            Timestamp { seconds, nanos }
        });
        let message = DiffRequest {
            left: mounts_out(lower),
            right: mounts_out(upper),
            media_type: options.media_type,
            r#ref: options.reference,
            labels: options.labels,
            source_date_epoch: epoch,
        };
        let answer = self.0.clone().diff(request_within(scope, message, LAYER)).await.map_err(error)?;
        answered(answer.into_inner().diff)
    }
}
