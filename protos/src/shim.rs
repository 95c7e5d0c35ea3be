//! The shim protocol over ttrpc: rust-protobuf messages with async ttrpc clients and services.
//!
//! Messages are built for the lite runtime (no reflection, no text format): that keeps a shim small.

#[allow(missing_docs, rustdoc::all, clippy::all, clippy::pedantic, clippy::nursery, clippy::restriction)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/ttrpc/mod.rs"));
}

pub mod any;

pub use protobuf::well_known_types::{any::Any, empty::Empty, timestamp::Timestamp};

/// `containerd.task.v2`: messages, `TaskClient`, the `Task` service trait and `create_task`.
pub mod task_v2 {
    pub use super::generated::task_v2::*;
    pub use super::generated::task_v2_ttrpc::*;
}

/// `containerd.task.v3`: as [`task_v2`], other package name.
pub mod task_v3 {
    pub use super::generated::task_v3::*;
    pub use super::generated::task_v3_ttrpc::*;
}

/// `containerd.runtime.sandbox.v1`.
pub mod sandbox {
    pub use super::generated::runtime_sandbox::*;
    pub use super::generated::runtime_sandbox_ttrpc::*;
}

/// `containerd.services.streaming.v1`.
pub mod streaming {
    pub use super::generated::streaming::*;
    pub use super::generated::streaming_ttrpc::*;
}

/// `containerd.services.events.ttrpc.v1`: what the daemon serves to its shims.
pub mod events_service {
    pub use super::generated::ttrpc_events::*;
    pub use super::generated::ttrpc_events_ttrpc::*;
}

/// `containerd.events`, and the image events.
pub mod events {
    pub use super::generated::container_events::*;
    pub use super::generated::content_events::*;
    pub use super::generated::image_events::*;
    pub use super::generated::namespace_events::*;
    pub use super::generated::sandbox_events::*;
    pub use super::generated::snapshot_events::*;
    pub use super::generated::task_events::*;
}

/// `containerd.types` and `containerd.v1.types`.
pub mod types {
    pub use super::generated::descriptor::*;
    pub use super::generated::envelope::*;
    pub use super::generated::metric::*;
    pub use super::generated::mount::*;
    pub use super::generated::platform::*;
    pub use super::generated::process::*;
    pub use super::generated::runtime_info::*;
    pub use super::generated::sandbox::*;
}

/// `containerd.runc.v1`: options of the runc shim.
pub use generated::runc_options as options;
/// `runtimeoptions.v1`: options of any other shim.
pub use generated::runtimeoptions;

/// `containerd.runtime.bootstrap.v1`: what a shim reads and writes when it starts.
pub use generated::bootstrap;

/// `io.containerd.cgroups.v1`.
pub use generated::cgroups_v1;
/// `io.containerd.cgroups.v2`.
pub use generated::cgroups_v2;

/// Every message, decoded and encoded again.
#[cfg(all(test, feature = "cri", feature = "ttrpc"))]
pub(crate) mod all_types {
    use crate::round_trip::{RoundTrip, protobuf as round_trip};

    pub(crate) const TYPES: &[RoundTrip] = include!(concat!(env!("OUT_DIR"), "/ttrpc/types.rs"));
}
