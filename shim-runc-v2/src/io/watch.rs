//! Descriptors in the event loop.
//!
//! tokio deprecates the safe constructors because a type could name another descriptor each time it is
//! asked; `OwnedFd` does not, so they are used here, and only here.
#![allow(deprecated)]

use std::io::Result;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A non-blocking descriptor whose readiness can be waited for.
pub(crate) type Watched = AsyncFd<OwnedFd>;

/// For reading.
///
/// # Errors
/// The kernel cannot watch it (a regular file), or there is no event loop.
pub(crate) fn readable(fd: OwnedFd) -> Result<Arc<Watched>> {
    AsyncFd::with_interest(fd, Interest::READABLE).map(Arc::new)
}

/// For writing. Errors as for [`readable`].
pub(crate) fn writable(fd: OwnedFd) -> Result<Arc<Watched>> {
    AsyncFd::with_interest(fd, Interest::WRITABLE).map(Arc::new)
}

/// For both. Errors as for [`readable`].
pub(crate) fn both(fd: OwnedFd) -> Result<Arc<Watched>> {
    AsyncFd::new(fd).map(Arc::new)
}
