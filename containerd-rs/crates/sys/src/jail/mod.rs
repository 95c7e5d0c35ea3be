//! The jail of a process that handles an attacker's bytes, the unpack worker above all.
//!
//! [`enter`] is the one way in, and there is none out. Afterwards the process sees only one directory (when it asked for that), has few
//! capabilities and no way to more, a limit on its memory, no core dumps, and a seccomp filter that refuses to start programs
//! and processes and to reach the network, mounts, other processes and the kernel's administration. Threads still work.

mod filter;
mod syscalls;

use std::path::Path;

use caps::Capability;
use rustix::process::{Resource, Rlimit};

pub use filter::Filter;
pub use syscalls::UNPACK_DENIED;

use crate::error::{Context, Error, Result};
use crate::process::{drop_caps, no_new_privs};

/// What applying an image layer takes: owners, modes, devices and xattrs of all kinds, `trusted.*` included.
pub const UNPACK_CAPS: &[Capability] = &[
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_FOWNER,
    Capability::CAP_FSETID,
    Capability::CAP_MKNOD,
    Capability::CAP_SETFCAP,
    Capability::CAP_SYS_ADMIN,
];

/// How tight the jail is.
#[derive(Clone, Copy, Debug)]
pub struct JailOptions<'a> {
    /// Directory that becomes "/". `None` leaves the file system as it is seen.
    ///
    /// Open directories outside it would be a way out: close them first. There is no `/proc` inside unless the directory has one.
    pub root: Option<&'a Path>,
    /// Capabilities that are kept, of those that the process has.
    pub keep_caps: &'a [Capability],
    /// Limit of the address space in bytes; allocations beyond it fail.
    pub memory_limit: Option<u64>,
    /// System calls that fail with EPERM. New processes (not threads) are refused on top of these. Empty: no filter at all.
    pub deny_syscalls: &'a [libc::c_long],
}

impl Default for JailOptions<'_> {
    /// The unpack worker's, without a root and without a limit of memory.
    fn default() -> Self {
        JailOptions { root: None, keep_caps: UNPACK_CAPS, memory_limit: None, deny_syscalls: UNPACK_DENIED }
    }
}

/// Enters the jail, for good. Must be called while the process has one thread (threads started later are jailed with it); otherwise the
/// error is [`Error::Invalid`] and nothing has changed. After another error the process is jailed in part and should end.
pub fn enter(options: &JailOptions<'_>) -> Result<()> {
    check_single_threaded()?;
    let filter =
        if options.deny_syscalls.is_empty() { None } else { Some(Filter::denying(options.deny_syscalls)?) };
    limit(Resource::Core, 0)?;
    if let Some(bytes) = options.memory_limit {
        limit(Resource::As, bytes)?;
    }
    if let Some(root) = options.root {
        rustix::process::chroot(root).on("change root to", root)?;
        rustix::process::chdir("/").on("change directory to", "/")?;
    }
    drop_caps(options.keep_caps)?;
    no_new_privs()?;
    filter.map_or(Ok(()), |f| f.install())
}

fn check_single_threaded() -> Result<()> {
    let tasks = Path::new("/proc/self/task");
    let count = std::fs::read_dir(tasks).on("read directory", tasks)?.count();
    if count != 1 {
        return Err(Error::Invalid(format!("a process with {count} threads cannot be jailed")));
    }
    Ok(())
}

fn limit(resource: Resource, value: u64) -> Result<()> {
    let rlimit = Rlimit { current: Some(value), maximum: Some(value) };
    rustix::process::setrlimit(resource, rlimit).doing(format_args!("set limit {resource:?} to {value}"))
}
