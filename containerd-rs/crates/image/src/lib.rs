//! Bytes between registries or archives and the store: resolve, pull, push, import, export, tag.
//!
//! Registries and archives are not trusted: digests and sizes are checked, documents that can be
//! read in two ways are refused, bodies and depths are capped, and an archive names nothing that it
//! was not allowed to. Wire types and sockets of our own clients are not known here.
//!
//! A running transfer has tasks (downloads, unpacking, progress); they all end with its future.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod archive;
pub mod damage;
mod error;
pub mod manifest;
pub mod pull;
pub mod push;
pub mod registry;
mod stop;
mod tag;
pub mod throttle;
pub mod transfer;
pub mod unpack;
pub mod verify;

pub use error::{Error, Result};
pub use tag::tag;
