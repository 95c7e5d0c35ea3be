//! Parts that live in other processes (`[proxy_plugins.NAME]`), behind the same gRPC services that the daemon offers.
//!
//! Every call has a deadline: a process that hangs fails one call, not the daemon. Must not: hold a lock over a call, or
//! remember anything but the connection. Spawns nothing.
#![forbid(unsafe_code)]

mod channel;
mod content;
mod convert;
mod differ;
mod snapshotter;
mod writer;

pub use channel::Connection;
pub use content::ProxyContent;
pub use differ::ProxyDiffer;
pub use snapshotter::ProxySnapshotter;
