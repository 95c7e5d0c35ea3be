//! The image crate against registries: one that misbehaves on demand, and a real one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod archive;
mod distribution;
mod faulty;
mod fetch;
mod hosts;
mod mirror;
mod node;
mod proxied;
mod pull;
mod push;
mod real;
mod referrers;
mod resolve;
mod tls;
mod tokens;
mod tools;
mod unpack;
mod upload;
mod verify;
mod whole;
