//! The messages and services that containerd, its clients, its shims and kubelet exchange, made from our own `.proto`
//! files in `proto/`. Package, service, message and field names and numbers are facts of the wire; nothing else is fixed.
//!
//! * [`api`] (feature `grpc`): prost messages, tonic clients and servers for everything on the daemon's gRPC socket
//! * `cri` (feature `cri`): the same for `runtime.v1`
//! * [`shim`] (feature `ttrpc`): rust-protobuf messages, ttrpc clients and services for the shim protocol
//! * [`any`]: packing and unpacking of `google.protobuf.Any` in the gRPC stack; [`shim::any`] does so for ttrpc
//!
//! No I/O, no tasks, no policy: conversions into the daemon's own types live at its edges.

#![forbid(unsafe_code)]

pub mod any;
#[cfg(feature = "grpc")]
pub mod api;
#[cfg(feature = "cri")]
pub mod cri;
#[cfg(feature = "grpc")]
mod redact;
#[cfg(all(test, feature = "cri", feature = "ttrpc"))]
mod round_trip;
#[cfg(feature = "ttrpc")]
pub mod shim;
