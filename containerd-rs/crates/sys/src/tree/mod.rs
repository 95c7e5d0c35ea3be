//! Trees that belong to someone else: nothing below a root can lead out of it.

mod resolve;

pub(crate) use resolve::open_in_root;
