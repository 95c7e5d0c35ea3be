//! containerd's gRPC API, prost and tonic. Each service module holds `<name>_client`, `<name>_server` and its messages.

#[allow(missing_docs, rustdoc::all, clippy::all, clippy::pedantic, clippy::nursery, clippy::restriction)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/grpc/mod.rs"));
}

pub use crate::any::Any;

use generated::{containerd, google, io};

pub use containerd::services::containers::v1 as containers;
pub use containerd::services::content::v1 as content;
pub use containerd::services::diff::v1 as diff;
pub use containerd::services::events::ttrpc::v1 as ttrpc_events;
pub use containerd::services::events::v1 as events;
/// Also holds the image events: their package is the service's.
pub use containerd::services::images::v1 as images;
pub use containerd::services::introspection::v1 as introspection;
pub use containerd::services::leases::v1 as leases;
pub use containerd::services::mounts::v1 as mounts;
pub use containerd::services::namespaces::v1 as namespaces;
/// Two services: `Store` and `Controller`.
pub use containerd::services::sandbox::v1 as sandbox;
pub use containerd::services::snapshots::v1 as snapshots;
pub use containerd::services::streaming::v1 as streaming;
pub use containerd::services::tasks::v1 as tasks;
pub use containerd::services::transfer::v1 as transfer;
pub use containerd::services::version::v1 as version;

/// `containerd.types`: descriptors, mounts, platforms, the event envelope and the like.
pub use containerd::types;
/// `containerd.types.transfer`: sources, destinations, progress and stream frames.
pub use containerd::types::transfer as types_transfer;
/// `containerd.v1.types`: processes and their states.
pub use containerd::v1::types as types_task;

/// `containerd.events`: what is published.
pub use containerd::events as events_types;

/// `containerd.runc.v1`: options of the runc shim.
pub use containerd::runc::v1 as runc_options;
/// `containerd.runtime.bootstrap.v1`: what a shim reads and writes when it starts.
pub use containerd::runtime::bootstrap::v1 as bootstrap;
/// `runtimeoptions.v1`: options of any other shim.
pub use generated::runtimeoptions::v1 as runtimeoptions;

/// `io.containerd.cgroups.v1`.
pub use io::containerd::cgroups::v1 as cgroups_v1;
/// `io.containerd.cgroups.v2`.
pub use io::containerd::cgroups::v2 as cgroups_v2;

/// `google.rpc`: the rich status.
pub use google::rpc;

/// Every message, decoded and encoded again.
#[cfg(all(test, feature = "cri", feature = "ttrpc"))]
pub(crate) mod all_types {
    use crate::round_trip::{RoundTrip, prost as round_trip};

    pub(crate) const TYPES: &[RoundTrip] = include!(concat!(env!("OUT_DIR"), "/grpc/types.rs"));
}
