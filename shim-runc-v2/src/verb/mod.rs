//! The verbs that a daemon runs and waits for.

pub(crate) mod delete;
pub(crate) mod info;
pub(crate) mod start;
