//! containerd's gRPC and ttrpc API over the parts of the daemon: one file per service.
//!
//! Must not: hold state of its own, decide policy, or let a wire type through to a part.
#![forbid(unsafe_code)]

pub mod plugins;
