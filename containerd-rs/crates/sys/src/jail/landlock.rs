//! Landlock (landlock(7)): only the directories that were given can be opened, and each only for what it is for.
//!
//! It looks at opening, reading, making, linking, renaming and removing; not at looking up, `stat`, modes, owners, times and attributes.
//! So it is a second wall behind the private mounts of [`super::enclosed`].

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::enclosed::Purpose;
use crate::error::{Context, Result};

// Numbers shared by all architectures (since Linux 5.13).
const SYS_CREATE_RULESET: libc::c_long = 444;
const SYS_ADD_RULE: libc::c_long = 445;
const SYS_RESTRICT_SELF: libc::c_long = 446;

const CREATE_RULESET_VERSION: libc::c_long = 1;
const RULE_PATH_BENEATH: libc::c_long = 1;

// <linux/landlock.h>, LANDLOCK_ACCESS_FS_*
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
/// Removing, and making all but sockets: remove_dir, remove_file, make_char, make_dir, make_reg, make_fifo, make_block, make_sym.
const REMOVE_AND_MAKE: u64 = 0b1_1101_1111 << 4;
const REFER: u64 = 1 << 13;
const TRUNCATE: u64 = 1 << 14;

/// All rights over files, by the version of the interface.
const ALL: [(i64, u64); 4] = [(1, (1 << 13) - 1), (2, (1 << 14) - 1), (3, (1 << 15) - 1), (5, (1 << 16) - 1)];
/// Binding and connecting TCP sockets, from version 4.
const ALL_NET: u64 = 0b11;
/// Abstract unix sockets of others, and signals to others, from version 6.
const ALL_SCOPES: u64 = 0b11;

/// The first version that allows links between directories at all.
const FIRST: i64 = 2;

/// `struct landlock_ruleset_attr`.
#[repr(C)]
struct RulesetAttr {
    fs: u64,
    net: u64,
    scoped: u64,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct PathBeneath {
    allowed: u64,
    parent: i32,
}

/// The version of the interface that this kernel has; `None` without Landlock, where it is switched off, and for the first version, which
/// refuses every link between directories.
pub fn version() -> Option<i64> {
    // SAFETY: with this flag the kernel takes no pointer and only answers a number.
    let version =
        unsafe { libc::syscall(SYS_CREATE_RULESET, std::ptr::null::<u8>(), 0usize, CREATE_RULESET_VERSION) };
    Some(version).filter(|v| *v >= FIRST)
}

/// Refuses this thread, and those that it starts, everything but `open` for its purpose, for good. Gives the version that is in force; `None`
/// where there is no Landlock, and then nothing has changed. Needs no_new_privs (or CAP_SYS_ADMIN).
pub fn restrict(open: &[(BorrowedFd<'_>, Purpose)]) -> Result<Option<i64>> {
    let Some(version) = version() else { return Ok(None) };
    let handled = ALL.iter().rev().find(|(from, _)| *from <= version).map_or(ALL[1].1, |(_, rights)| *rights);
    let attr = RulesetAttr {
        fs: handled,
        net: if version >= 4 { ALL_NET } else { 0 },
        scoped: if version >= 6 { ALL_SCOPES } else { 0 },
    };
    let size = match version {
        ..4 => 8,
        4..6 => 16,
        _ => size_of::<RulesetAttr>(),
    };
    // SAFETY: `attr` is longer than `size` and the kernel reads that much of it.
    let fd = unsafe { libc::syscall(SYS_CREATE_RULESET, &raw const attr, size, 0) };
    let fd = check(fd).doing("make a landlock ruleset")?;
    // SAFETY: a new descriptor that nobody else owns.
    let ruleset = unsafe { OwnedFd::from_raw_fd(fd as i32) };
    for (directory, purpose) in open {
        allow(&ruleset, *directory, rights(*purpose) & handled)?;
    }
    // SAFETY: no pointers.
    let rc = unsafe { libc::syscall(SYS_RESTRICT_SELF, ruleset.as_raw_fd(), 0) };
    match check(rc) {
        Ok(_) => Ok(Some(version)),
        // As many domains as there can be are around this process already: those hold.
        Err(e) if e.raw_os_error() == Some(libc::E2BIG) => Ok(None),
        Err(e) => Err(e).doing("enter the landlock domain"),
    }
}

fn rights(purpose: Purpose) -> u64 {
    match purpose {
        Purpose::Change => WRITE_FILE | READ_FILE | READ_DIR | REMOVE_AND_MAKE | REFER | TRUNCATE,
        Purpose::Look => READ_DIR,
    }
}

fn allow(ruleset: impl AsFd, directory: BorrowedFd<'_>, rights: u64) -> Result<()> {
    let rule = PathBeneath { allowed: rights, parent: directory.as_raw_fd() };
    // SAFETY: `rule` is a landlock_path_beneath_attr; the kernel reads it during the call.
    let rc = unsafe {
        libc::syscall(SYS_ADD_RULE, ruleset.as_fd().as_raw_fd(), RULE_PATH_BENEATH, &raw const rule, 0)
    };
    check(rc).doing("add a landlock rule").map(|_| ())
}

fn check(rc: libc::c_long) -> io::Result<libc::c_long> {
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(rc) }
}
