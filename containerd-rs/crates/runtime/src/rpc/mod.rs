//! ttrpc and gRPC to shims: framing, one connection, addresses, the Task service in both its versions.
//!
//! Written here and not taken from the generated client because a shim is not trusted: what it sends is bounded,
//! a broken connection is noticed at once by whoever must clean up, and v2 and v3 of the Task service, which differ
//! only in their name, share one client.

mod conn;
mod dial;
mod frame;
mod grpc;
mod task;

pub use conn::CallError;
pub(crate) use conn::{Conn, FOR_EVER};
pub use dial::DialError;
pub(crate) use dial::dial;
pub(crate) use task::TaskClient;
