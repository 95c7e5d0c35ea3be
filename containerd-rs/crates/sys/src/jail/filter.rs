//! A small seccomp filter: nothing is allowed but what is named (seccomp(2)).

use crate::error::{Context, Error, Result};

// <linux/seccomp.h>
const SECCOMP_SET_MODE_FILTER: libc::c_long = 1;
const SECCOMP_FILTER_FLAG_TSYNC: libc::c_long = 1;
const RET_KILL_PROCESS: u32 = 0x8000_0000;
const RET_ERRNO: u32 = 0x0005_0000;
const RET_ALLOW: u32 = 0x7fff_0000;

// <linux/filter.h>: load a word, compare, test bits, return.
const LOAD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_AT_LEAST: u16 = 0x35;
const JUMP_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
/// The lower half of the first argument (little endian); each further one is 8 bytes on.
const ARGUMENTS: u32 = 16;

/// `AUDIT_ARCH_*` of this build; zero where none is known, and then no filter can be made.
const NATIVE: u32 = if cfg!(all(target_arch = "x86_64", target_pointer_width = "64")) {
    0xC000_003E
} else if cfg!(all(target_arch = "aarch64", target_endian = "little")) {
    0xC000_00B7
} else if cfg!(target_arch = "riscv64") {
    0xC000_00F3
} else {
    0
};

/// System calls of x86's second calling convention have this bit.
const X32_BIT: u32 = 0x4000_0000;

/// From this number on all architectures share their system calls, and libraries that find one missing (ENOSYS) do without it; `clone3`, whose
/// flags a filter cannot see, is among them.
const FIRST_SHARED: u32 = 424;

/// Longest program that the kernel takes.
const MAX_STEPS: usize = 4096;

/// A filter program, ready to be installed.
#[derive(Clone, Debug)]
pub struct Filter {
    steps: Vec<libc::sock_filter>,
}

/// One thing that a filter allows.
#[derive(Clone, Copy, Debug)]
pub enum Allow<'a> {
    /// A system call, whatever its arguments.
    Call(libc::c_long),
    /// A system call when an argument (from 0) has one of these values.
    Values {
        /// Its number.
        call: libc::c_long,
        /// Which argument; its lower 32 bits count.
        argument: u32,
        /// What it may be.
        values: &'a [u32],
    },
    /// A system call when an argument has one of these bits.
    With {
        /// Its number.
        call: libc::c_long,
        /// Which argument; its lower 32 bits count.
        argument: u32,
        /// At least one of them is set.
        bits: u32,
    },
    /// A system call when an argument has none of these bits.
    Without {
        /// Its number.
        call: libc::c_long,
        /// Which argument; its lower 32 bits count.
        argument: u32,
        /// None of them is set.
        bits: u32,
    },
    /// A system call when an argument is the id of this process.
    Own {
        /// Its number.
        call: libc::c_long,
        /// Which argument; its lower 32 bits count.
        argument: u32,
    },
}

impl Allow<'_> {
    /// The number of the system call that this is about.
    pub fn call(&self) -> libc::c_long {
        match *self {
            Allow::Call(call)
            | Allow::Values { call, .. }
            | Allow::With { call, .. }
            | Allow::Without { call, .. }
            | Allow::Own { call, .. } => call,
        }
    }
}

impl Filter {
    /// Allows these system calls. All others fail with EPERM, those newer than Linux 5.0 with ENOSYS (libraries then fall back to older ones).
    /// Calls of a foreign architecture kill the process.
    pub fn allowing(calls: &[Allow<'_>]) -> Result<Filter> {
        if NATIVE == 0 {
            return Err(Error::call("make a seccomp filter for this architecture", rustix::io::Errno::NOSYS));
        }
        let mut filter = Filter { steps: Vec::new() };
        filter.add(LOAD, ARCH, 0, 0);
        filter.add(JUMP_EQUAL, NATIVE, 1, 0);
        filter.add(RETURN, RET_KILL_PROCESS, 0, 0);
        filter.add(LOAD, NUMBER, 0, 0);
        if cfg!(target_arch = "x86_64") {
            filter.add(JUMP_AT_LEAST, X32_BIT, 0, 1);
            filter.add(RETURN, RET_KILL_PROCESS, 0, 0);
        }
        for call in calls {
            filter.allow(call)?;
        }
        filter.add(JUMP_AT_LEAST, FIRST_SHARED, 0, 1);
        filter.add(RETURN, RET_ERRNO | libc::ENOSYS as u32, 0, 0);
        filter.add(RETURN, RET_ERRNO | libc::EPERM as u32, 0, 0);
        if filter.steps.len() > MAX_STEPS {
            return Err(Error::Invalid(format!(
                "a seccomp filter of {} steps is too long",
                filter.steps.len()
            )));
        }
        Ok(filter)
    }

    fn allow(&mut self, allow: &Allow<'_>) -> Result<()> {
        match *allow {
            Allow::Call(call) => {
                self.add(JUMP_EQUAL, number(call)?, 0, 1);
                self.add(RETURN, RET_ALLOW, 0, 0);
                Ok(())
            }
            Allow::Values { call, argument, values } => {
                let tests: Vec<_> = values.iter().map(|value| (JUMP_EQUAL, *value, 0, 1)).collect();
                self.allow_when(call, argument, &tests)
            }
            Allow::With { call, argument, bits } => {
                self.allow_when(call, argument, &[(JUMP_ANY_BIT, bits, 0, 1)])
            }
            Allow::Without { call, argument, bits } => {
                self.allow_when(call, argument, &[(JUMP_ANY_BIT, bits, 1, 0)])
            }
            Allow::Own { call, argument } => {
                self.allow_when(call, argument, &[(JUMP_EQUAL, std::process::id(), 0, 1)])
            }
        }
    }

    /// Allows a call when one of the tests says so; each is an instruction with what to skip when it is true and when not.
    fn allow_when(&mut self, call: libc::c_long, argument: u32, tests: &[(u16, u32, u8, u8)]) -> Result<()> {
        let too_long = || Error::Invalid(format!("{} values are too many for a filter", tests.len()));
        let skip = u8::try_from(2 * tests.len() + 2).map_err(|_| too_long())?;
        self.add(JUMP_EQUAL, number(call)?, 0, skip);
        self.add(LOAD, ARGUMENTS + 8 * argument, 0, 0);
        for (code, k, jt, jf) in tests {
            self.add(*code, *k, *jt, *jf);
            self.add(RETURN, RET_ALLOW, 0, 0);
        }
        self.add(RETURN, RET_ERRNO | libc::EPERM as u32, 0, 0);
        Ok(())
    }

    fn add(&mut self, code: u16, k: u32, jt: u8, jf: u8) {
        self.steps.push(libc::sock_filter { code, jt, jf, k });
    }

    /// Puts the filter on all threads of this process, for good. Needs no_new_privs (or CAP_SYS_ADMIN).
    pub fn install(mut self) -> Result<()> {
        let program = libc::sock_fprog { len: self.steps.len() as u16, filter: self.steps.as_mut_ptr() };
        // SAFETY: `program` points to as many instructions as it says; the kernel copies them during the call.
        let rc = unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                SECCOMP_SET_MODE_FILTER,
                SECCOMP_FILTER_FLAG_TSYNC,
                &raw const program,
            )
        };
        match rc {
            0 => Ok(()),
            thread if thread > 0 => {
                Err(Error::Invalid(format!("thread {thread} cannot take the seccomp filter")))
            }
            _ => Err(std::io::Error::last_os_error()).doing("install seccomp filter"),
        }
    }
}

fn number(call: libc::c_long) -> Result<u32> {
    u32::try_from(call).map_err(|_| Error::Invalid(format!("not a system call number: {call}")))
}
