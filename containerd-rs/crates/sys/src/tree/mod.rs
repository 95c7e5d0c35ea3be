//! Trees that belong to someone else: nothing below a root can lead out of it.
//!
//! A [`Root`] is a directory that serves as "/" for all look-ups below it. The kernel resolves them (openat2(2) with
//! `RESOLVE_IN_ROOT` and `RESOLVE_NO_MAGICLINKS`), so symlinks, "..", and changes made while a look-up runs cannot lead outside.
//! Changes are made through an [`Entry`]: an open parent directory and one name in it, which is never followed.
//!
//! ```text
//! root.entry("usr/lib/x")  ->  parent usr/lib resolved in root, "x" untouched  ->  create, chown, chmod, xattrs, times, remove
//! root.open("etc/passwd")  ->  all of it resolved in root, for reading
//! ```

mod entry;
mod meta;
mod mkdir;
mod remove;
mod resolve;
mod root;

pub use entry::Entry;
pub use meta::{DirEntry, Kind, Meta, Time};
pub(crate) use resolve::open_in_root;
pub use root::Root;
pub use rustix::fs::OFlags;
