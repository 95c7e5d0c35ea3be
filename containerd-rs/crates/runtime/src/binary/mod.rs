//! Shim programs: finding them, running them, and understanding what they print.

mod answer;
mod delete;
mod dialect;
mod info;
mod invoke;
mod resolve;
mod start;

pub(crate) use answer::Answer;
pub use answer::AnswerError;
pub(crate) use delete::delete;
pub(crate) use dialect::{Dialect, Dialects};
pub use info::RuntimeInfo;
pub(crate) use info::info;
pub use invoke::InvokeError;
pub use resolve::ResolveError;
pub(crate) use resolve::Resolver;
pub(crate) use start::{Start, start};
