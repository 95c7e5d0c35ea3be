//! The Container Runtime Interface, `runtime.v1`: `runtime_service_{client,server}`, `image_service_{client,server}` and
//! all their messages.

#[allow(missing_docs, rustdoc::all, clippy::all, clippy::pedantic, clippy::nursery, clippy::restriction)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/cri/mod.rs"));
}

pub use generated::runtime::v1::*;

/// Every message, decoded and encoded again.
#[cfg(all(test, feature = "cri", feature = "ttrpc"))]
pub(crate) mod all_types {
    use crate::round_trip::{RoundTrip, prost as round_trip};

    pub(crate) const TYPES: &[RoundTrip] = include!(concat!(env!("OUT_DIR"), "/cri/types.rs"));
}
