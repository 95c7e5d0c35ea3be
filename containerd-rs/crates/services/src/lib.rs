//! containerd's gRPC and ttrpc API over the parts: one file per service.
//!
//! * [`parts::Parts`] is what the daemon hands in; [`routes`] and [`ttrpc()`] are what it gets to serve.
//! * `convert.rs` holds every conversion between wire messages and our own types, `status.rs` the one table of codes,
//!   `request.rs` what comes in metadata.
//!
//! Must not: hold state of its own (but for the table of open streams), decide policy, or let a wire type through to a
//! part. Tasks spawned: one per call that changes something, so that a client that goes does not leave it half-done; one
//! per content write stream; two per stream of the streaming service; one per transfer.
#![forbid(unsafe_code)]

mod checkpoint;
mod collected;
mod containers;
mod content;
mod content_write;
mod convert;
mod diff;
mod events;
mod images;
mod introspection;
mod leases;
mod mounts;
mod namespaces;
pub mod parts;
pub mod plugins;
mod request;
mod sandbox_controllers;
mod sandboxes;
mod snapshots;
mod status;
pub mod streams;
mod tasks;
mod transfer;
mod version;
mod wording;

use std::collections::HashMap;
use std::sync::Arc;

use protos::api;
use protos::shim::events_service;
use tonic::service::Routes;

pub use crate::collected::publish_removed;
pub use crate::events::event_field;
pub use parts::Parts;
pub use transfer::TransferSettings;

/// Limits of one gRPC message, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub receive: usize,
    pub send: usize,
}

/// The type of the plugins that stand for gRPC services.
const GRPC: &str = "io.containerd.grpc.v1";

/// Every gRPC service whose plugin is loaded.
pub fn routes(parts: Arc<Parts>, limits: Limits) -> Routes {
    let mut routes = Routes::default();
    macro_rules! add {
        ($($id:literal: $server:path => $service:path),* $(,)?) => {
            $(if parts.plugins.is_ok(GRPC, $id) {
                routes = routes.add_service(
                    <$server>::new($service(Arc::clone(&parts)))
                        .max_decoding_message_size(limits.receive)
                        .max_encoding_message_size(limits.send),
                );
            })*
        };
    }
    add! {
        "containers": api::containers::containers_server::ContainersServer<_> => containers::Service,
        "content": api::content::content_server::ContentServer<_> => content::Service,
        "diff": api::diff::diff_server::DiffServer<_> => diff::Service,
        "events": api::events::events_server::EventsServer<_> => events::Service,
        "images": api::images::images_server::ImagesServer<_> => images::Service,
        "introspection": api::introspection::introspection_server::IntrospectionServer<_> => introspection::Service,
        "leases": api::leases::leases_server::LeasesServer<_> => leases::Service,
        "mounts": api::mounts::mounts_server::MountsServer<_> => mounts::Service,
        "namespaces": api::namespaces::namespaces_server::NamespacesServer<_> => namespaces::Service,
        "sandbox-controllers": api::sandbox::controller_server::ControllerServer<_> => sandbox_controllers::Service,
        "sandboxes": api::sandbox::store_server::StoreServer<_> => sandboxes::Service,
        "snapshots": api::snapshots::snapshots_server::SnapshotsServer<_> => snapshots::Service,
        "streaming": api::streaming::streaming_server::StreamingServer<_> => streams::Service,
        "tasks": api::tasks::tasks_server::TasksServer<_> => tasks::service,
        "transfer": api::transfer::transfer_server::TransferServer<_> => transfer::Service,
        "version": api::version::version_server::VersionServer<_> => version::Service,
    }
    if parts.plugins.is_ok(GRPC, "healthcheck") {
        let (_, service) = tonic_health::server::health_reporter();
        routes = routes.add_service(service);
    }
    wording::as_go_words_it(routes)
}

/// The ttrpc services: shims forward their events here.
pub fn ttrpc(parts: &Arc<Parts>) -> HashMap<String, ::ttrpc::asynchronous::Service> {
    events_service::create_events(Arc::new(events::Forwarding(Arc::clone(parts))))
}
