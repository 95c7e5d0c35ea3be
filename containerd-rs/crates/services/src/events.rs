//! `containerd.services.events.v1.Events` on gRPC, and `containerd.services.events.ttrpc.v1.Events`, through which shims
//! forward what happens to their containers.

use std::pin::Pin;
use std::sync::Arc;

use base::Kinded;
use futures_util::{Stream, StreamExt};
use protos::api::events::events_server::Events;
use protos::api::events::*;
use protos::api::types::Envelope;
use protos::shim::events_service;
use tonic::{Request, Response, Status};

use crate::convert::{any_in, envelope_in, envelope_out, filters};
use crate::parts::Parts;
use crate::request::scope;
use crate::status::{invalid, status};

pub(crate) struct Service(pub(crate) Arc<Parts>);

#[tonic::async_trait]
impl Events for Service {
    async fn publish(&self, request: Request<PublishRequest>) -> Result<Response<()>, Status> {
        let scope = scope(&request)?;
        let PublishRequest { topic, event } = request.into_inner();
        let event = event.map(any_in).unwrap_or_default();
        self.0.events.publish(&scope.namespace, &topic, event).map_err(status)?;
        Ok(Response::new(()))
    }

    async fn forward(&self, request: Request<ForwardRequest>) -> Result<Response<()>, Status> {
        let envelope = request.into_inner().envelope.ok_or_else(|| invalid("envelope must be set"))?;
        self.0.events.forward(envelope_in(envelope)?).map_err(status)?;
        Ok(Response::new(()))
    }

    type SubscribeStream = Pin<Box<dyn Stream<Item = Result<Envelope, Status>> + Send>>;

    async fn subscribe(
        &self,
        request: Request<SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let filters = filters(&request.get_ref().filters)?;
        let stream = self.0.events.subscribe(filters).map(|event| match event {
            Ok(envelope) => Ok(envelope_out(&envelope)),
            Err(lagged) => Err(status(lagged)),
        });
        Ok(Response::new(Box::pin(stream)))
    }
}

/// The ttrpc side.
pub(crate) struct Forwarding(pub(crate) Arc<Parts>);

#[async_trait::async_trait]
impl events_service::Events for Forwarding {
    async fn forward(
        &self,
        _: &ttrpc::asynchronous::TtrpcContext,
        request: events_service::ForwardRequest,
    ) -> ttrpc::Result<protos::shim::Empty> {
        let envelope = request
            .envelope
            .into_option()
            .ok_or_else(|| rejected(base::ErrorKind::InvalidArgument, "envelope must be set"))?;
        let stamp = envelope.timestamp.into_option().unwrap_or_default();
        let timestamp = base::timestamp::from_parts(stamp.seconds, stamp.nanos)
            .map_err(|e| rejected(base::ErrorKind::InvalidArgument, &base::chain(&e)))?;
        let event =
            envelope.event.into_option().map(|a| base::Any { type_url: a.type_url, value: a.value.into() });
        let envelope = events::Envelope {
            timestamp,
            namespace: envelope.namespace,
            topic: envelope.topic,
            event: event.unwrap_or_default(),
        };
        match self.0.events.forward(envelope) {
            Ok(()) => Ok(protos::shim::Empty::new()),
            Err(error) => Err(rejected(error.kind(), &base::chain(&error))),
        }
    }
}

fn rejected(kind: base::ErrorKind, message: &str) -> ttrpc::Error {
    let code = match kind {
        base::ErrorKind::InvalidArgument => ttrpc::Code::INVALID_ARGUMENT,
        base::ErrorKind::ResourceExhausted => ttrpc::Code::RESOURCE_EXHAUSTED,
        base::ErrorKind::Unavailable => ttrpc::Code::UNAVAILABLE,
        _ => ttrpc::Code::UNKNOWN,
    };
    ttrpc::Error::RpcStatus(ttrpc::get_status(code, base::error::with_kind(message.to_owned(), kind)))
}

/// The value of `event.<path>` in a filter, for the events that containerd publishes.
pub fn event_field(event: &base::Any, path: &[&str]) -> Option<String> {
    use protos::api::{events_types as ev, images};
    let any = protos::api::Any { type_url: event.type_url.clone(), value: event.value.clone() };
    macro_rules! fields {
        ($($message:ty { $($name:literal => $field:ident),* $(,)? })*) => {
            $(if any.is::<$message>() {
                let message: $message = any.unpack().ok()?;
                return match path { $([$name] => Some(message.$field.to_string()),)* _ => None };
            })*
        };
    }
    fields! {
        ev::ContainerCreate { "id" => id, "image" => image }
        ev::ContainerDelete { "id" => id }
        ev::NamespaceDelete { "name" => name }
        ev::ContentDelete { "digest" => digest }
        ev::SnapshotPrepare { "key" => key, "parent" => parent, "snapshotter" => snapshotter }
        ev::SnapshotCommit { "key" => key, "name" => name, "snapshotter" => snapshotter }
        ev::SnapshotRemove { "key" => key, "snapshotter" => snapshotter }
        ev::TaskCreate { "container_id" => container_id, "bundle" => bundle, "checkpoint" => checkpoint }
        ev::TaskStart { "container_id" => container_id }
        ev::TaskDelete { "container_id" => container_id, "id" => id }
        ev::TaskExit { "container_id" => container_id, "id" => id }
        ev::TaskOom { "container_id" => container_id }
        ev::TaskExecAdded { "container_id" => container_id, "exec_id" => exec_id }
        ev::TaskExecStarted { "container_id" => container_id, "exec_id" => exec_id }
        ev::TaskPaused { "container_id" => container_id }
        ev::TaskResumed { "container_id" => container_id }
        ev::TaskCheckpointed { "container_id" => container_id, "checkpoint" => checkpoint }
        images::ImageDelete { "name" => name }
    }
    macro_rules! labelled {
        ($($message:ty { $($name:literal => $field:ident),* $(,)? })*) => {
            $(if any.is::<$message>() {
                let message: $message = any.unpack().ok()?;
                return match path {
                    ["labels", rest @ ..] => message.labels.get(&rest.join(".")).cloned(),
                    $([$name] => Some(message.$field.to_string()),)*
                    _ => None,
                };
            })*
        };
    }
    labelled! {
        ev::ContainerUpdate { "id" => id, "image" => image, "snapshot_key" => snapshot_key }
        ev::NamespaceCreate { "name" => name }
        ev::NamespaceUpdate { "name" => name }
        images::ImageCreate { "name" => name }
        images::ImageUpdate { "name" => name }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::{Message, Name};
    use protos::api::events_types as ev;

    fn any<M: Message + Name>(message: &M) -> base::Any {
        base::Any { type_url: M::full_name(), value: message.encode_to_vec().into() }
    }

    #[test]
    fn fields_of_events_are_found_for_filters() {
        let exit = any(&ev::TaskExit {
            container_id: "c".into(),
            id: "e".into(),
            pid: 3,
            exit_status: 1,
            exited_at: None,
        });
        assert_eq!(exit.type_url, "containerd.events.TaskExit");
        assert_eq!(event_field(&exit, &["container_id"]).as_deref(), Some("c"));
        assert_eq!(event_field(&exit, &["nope"]), None);
        let labels = [("a.b/c".to_owned(), "v".to_owned())].into();
        let image = any(&protos::api::images::ImageCreate { name: "n".into(), labels });
        assert_eq!(event_field(&image, &["labels", "a", "b/c"]).as_deref(), Some("v"));
        assert_eq!(event_field(&base::Any::default(), &["x"]), None);
    }
}
