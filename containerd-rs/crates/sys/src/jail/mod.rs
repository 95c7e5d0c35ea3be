//! The jail of a process that handles an attacker's bytes, the unpack worker above all.
//!
//! [`enter`] is the one way in, and there is none out. Afterwards the process sees only one directory (when it asked for that), has few
//! capabilities and no way to more, a limit on its memory, no core dumps, a Landlock domain over the directories that it was given, and a
//! seccomp filter that allows little more than reading, writing and changing a tree: no programs and processes, no network, no mounts, nothing
//! of other processes and of the kernel's administration. Threads still work.

pub mod enclosed;
mod filter;
pub mod landlock;
mod syscalls;

use std::os::fd::BorrowedFd;
use std::path::Path;

use caps::Capability;
use rustix::process::{Resource, Rlimit};

pub use enclosed::{Enclosed, Purpose};
pub use filter::{Allow, Filter};
pub use syscalls::UNPACK_CALLS;

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
    /// Directory that becomes "/", and that is changed. `None` leaves the file system as it is seen, and without a Landlock domain.
    ///
    /// Open directories outside it would be a way out, unless they are [`enclosed`]. There is no `/proc` inside unless the directory has one.
    pub root: Option<BorrowedFd<'a>>,
    /// Open directories that are only looked at.
    pub lowers: &'a [BorrowedFd<'a>],
    /// Capabilities that are kept, of those that the process has.
    pub keep_caps: &'a [Capability],
    /// Limit of the address space in bytes; allocations beyond it fail.
    pub memory_limit: Option<u64>,
    /// System calls that are allowed. Empty: no filter at all.
    pub calls: &'a [Allow<'a>],
}

impl Default for JailOptions<'_> {
    /// The unpack worker's, without directories and without a limit of memory.
    fn default() -> Self {
        JailOptions {
            root: None,
            lowers: &[],
            keep_caps: UNPACK_CAPS,
            memory_limit: None,
            calls: UNPACK_CALLS,
        }
    }
}

/// Which walls this kernel could put up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walls {
    /// Version of Landlock that is in force.
    pub landlock: Option<i64>,
}

/// Enters the jail, for good. Must be called while the process has one thread (threads started later are jailed with it); otherwise the
/// error is [`Error::Invalid`] and nothing has changed. After another error the process is jailed in part and should end.
pub fn enter(options: &JailOptions<'_>) -> Result<Walls> {
    check_single_threaded()?;
    let filter = if options.calls.is_empty() { None } else { Some(Filter::allowing(options.calls)?) };
    limit(Resource::Core, 0)?;
    if let Some(bytes) = options.memory_limit {
        limit(Resource::As, bytes)?;
    }
    if let Some(root) = options.root {
        rustix::process::fchdir(root).doing("change directory to the root of the jail")?;
        rustix::process::chroot(".").doing("change root to the root of the jail")?;
        rustix::process::chdir("/").on("change directory to", "/")?;
    }
    drop_caps(options.keep_caps)?;
    no_new_privs()?;
    let landlock = match options.root {
        Some(root) => {
            let lowers = options.lowers.iter().map(|lower| (*lower, Purpose::Look));
            landlock::restrict(&std::iter::once((root, Purpose::Change)).chain(lowers).collect::<Vec<_>>())?
        }
        None => None,
    };
    filter.map_or(Ok(()), |f| f.install())?;
    Ok(Walls { landlock })
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
