//! The life of a process that we start, watch or attach to.

pub mod attached;
pub mod call;
pub mod signals;
pub mod stdio;
