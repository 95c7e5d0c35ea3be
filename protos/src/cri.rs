//! The Container Runtime Interface, `runtime.v1`: `runtime_service_{client,server}`, `image_service_{client,server}` and
//! all their messages.

#[allow(missing_docs, rustdoc::all, clippy::all, clippy::pedantic, clippy::nursery, clippy::restriction)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/cri/mod.rs"));
}

pub use generated::runtime::v1::*;
