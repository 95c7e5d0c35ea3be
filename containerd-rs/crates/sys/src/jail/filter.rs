//! A small seccomp filter: everything is allowed but what is named (seccomp(2)).

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
/// The lower half of the first argument (little endian).
const ARGUMENT: u32 = 16;

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

/// Number shared by all architectures.
const SYS_CLONE3: libc::c_long = 435;

/// Longest program that the kernel takes.
const MAX_STEPS: usize = 4096;

/// A filter program, ready to be installed.
#[derive(Clone, Debug)]
pub struct Filter {
    steps: Vec<libc::sock_filter>,
}

impl Filter {
    /// Refuses these system calls with EPERM, and new processes: `clone` without `CLONE_THREAD` with EPERM, `clone3`, whose flags a filter
    /// cannot see, with ENOSYS (libraries then fall back to `clone`). Calls of a foreign architecture kill the process.
    pub fn denying(calls: &[libc::c_long]) -> Result<Filter> {
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
            filter.refuse(number(*call)?, libc::EPERM);
        }
        filter.refuse(number(SYS_CLONE3)?, libc::ENOSYS);
        filter.add(JUMP_EQUAL, number(libc::SYS_clone)?, 0, 3);
        filter.add(LOAD, ARGUMENT, 0, 0);
        filter.add(JUMP_ANY_BIT, libc::CLONE_THREAD as u32, 1, 0);
        filter.add(RETURN, RET_ERRNO | libc::EPERM as u32, 0, 0);
        filter.add(RETURN, RET_ALLOW, 0, 0);
        if filter.steps.len() > MAX_STEPS {
            return Err(Error::Invalid(format!(
                "a seccomp filter of {} steps is too long",
                filter.steps.len()
            )));
        }
        Ok(filter)
    }

    fn refuse(&mut self, call: u32, errno: i32) {
        self.add(JUMP_EQUAL, call, 0, 1);
        self.add(RETURN, RET_ERRNO | errno as u32, 0, 0);
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
