//! Fixtures for the tests and benches on real parts: a registry, images made from this machine's own busybox,
//! daemons (ours and Debian's) in private roots, and a check that nothing is left behind.
//!
//! Must not: listen anywhere but on loopback, end a process that it did not start, or reach the internet.
//! Everything here is synchronous; the tests that speak gRPC bring their own runtime.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout)]

pub mod daemon;
pub mod image;
pub mod leftovers;
pub mod program;
pub mod registry;
pub mod rpc;
pub mod scratch;
pub mod shim;
pub mod tree;

pub use daemon::{Daemon, Kind};
pub use image::Image;
pub use registry::Registry;
pub use scratch::{Scratch, eventually, eventually_within};
