//! What every RPC answers to what it should not be asked: codes and kinds of messages as the original gives them.
//!
//! The expectations were taken from containerd 2.3.4 by running these tables with `PEER_CONTAINERD` set to it. Where ours
//! answers otherwise the case says so and `docs/behaviours/rpc.md` has the reason.
#![allow(clippy::unwrap_used)]

mod containers;
mod content;
mod content_write;
mod diff;
mod events;
mod headers;
mod images;
mod introspection;
mod leases;
mod limits;
mod making;
mod mounts;
mod namespaces;
mod sandbox_controllers;
mod sandboxes;
mod snapshots;
mod streaming;
mod task_states;
mod tasks;
mod transfer;
