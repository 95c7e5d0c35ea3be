//! Topics, in process: the exchange between whoever makes events happen and whoever listens.
//!
//! [`Exchange::publish`] is for events that this daemon causes, [`Exchange::forward`] for events that a shim or a client
//! made elsewhere. Every [`Subscription`] has its own queue, so a slow reader never holds up a publisher; a reader that
//! falls behind by more than [`QUEUE_BYTES`] is told so and cut off, it is never handed a stream with a silent hole.
//!
//! The crate spawns no tasks and keeps no history: events are hints, state is asked for where it lives.
#![forbid(unsafe_code)]

mod envelope;
mod error;
mod exchange;
mod subscription;

pub use envelope::{Decoder, Envelope};
pub use error::Error;
pub use exchange::{Exchange, Gate};
pub use subscription::{Lagged, QUEUE_BYTES, Subscription};
