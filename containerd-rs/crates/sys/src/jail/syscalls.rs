//! What an unpack worker needs of the kernel, and nothing more.

use super::filter::Allow;

// Numbers shared by all architectures.
const SYS_FCHMODAT2: libc::c_long = 452;
const SYS_SETXATTRAT: libc::c_long = 463;
const SYS_GETXATTRAT: libc::c_long = 464;
const SYS_LISTXATTRAT: libc::c_long = 465;
const SYS_REMOVEXATTRAT: libc::c_long = 466;

/// Naming a thread, and memory as allocators do (`PR_SET_VMA`); asking whether there are new privileges.
const PRCTL: &[u32] = &[libc::PR_SET_NAME as u32, 0x5356_4d41, libc::PR_GET_NO_NEW_PRIVS as u32];
/// Duplicates and flags: no locks, owners and signals.
const FCNTL: &[u32] = &[
    libc::F_DUPFD as u32,
    libc::F_GETFD as u32,
    libc::F_SETFD as u32,
    libc::F_GETFL as u32,
    libc::F_SETFL as u32,
    libc::F_DUPFD_CLOEXEC as u32,
];

/// The system calls of the unpack worker, those that come most often first: reading and writing, the tree below a directory, memory without
/// programs in it, and threads. All others are refused.
pub const UNPACK_CALLS: &[Allow<'static>] = &[
    // Bytes.
    Allow::Call(libc::SYS_read),
    Allow::Call(libc::SYS_write),
    Allow::Call(libc::SYS_futex),
    Allow::Call(libc::SYS_openat),
    Allow::Call(libc::SYS_openat2),
    Allow::Call(libc::SYS_close),
    Allow::Call(libc::SYS_pread64),
    Allow::Call(libc::SYS_pwrite64),
    Allow::Call(libc::SYS_readv),
    Allow::Call(libc::SYS_writev),
    Allow::Call(libc::SYS_lseek),
    Allow::Call(libc::SYS_ftruncate),
    Allow::Call(libc::SYS_fallocate),
    Allow::Call(libc::SYS_fsync),
    Allow::Call(libc::SYS_fdatasync),
    Allow::Call(libc::SYS_syncfs),
    Allow::Call(libc::SYS_fstatfs),
    Allow::Call(libc::SYS_dup),
    Allow::Values { call: libc::SYS_fcntl, argument: 1, values: FCNTL },
    // The tree.
    Allow::Call(libc::SYS_fstat),
    Allow::Call(libc::SYS_newfstatat),
    Allow::Call(libc::SYS_statx),
    Allow::Call(libc::SYS_getdents64),
    Allow::Call(libc::SYS_readlinkat),
    Allow::Call(libc::SYS_mkdirat),
    Allow::Call(libc::SYS_mknodat),
    Allow::Call(libc::SYS_symlinkat),
    Allow::Call(libc::SYS_linkat),
    Allow::Call(libc::SYS_unlinkat),
    #[cfg(not(target_arch = "riscv64"))]
    Allow::Call(libc::SYS_renameat),
    Allow::Call(libc::SYS_renameat2),
    Allow::Call(libc::SYS_fchdir),
    Allow::Call(libc::SYS_fchown),
    Allow::Call(libc::SYS_fchownat),
    Allow::Call(libc::SYS_fchmod),
    Allow::Call(libc::SYS_fchmodat),
    Allow::Call(SYS_FCHMODAT2),
    Allow::Call(libc::SYS_utimensat),
    Allow::Call(libc::SYS_fsetxattr),
    Allow::Call(libc::SYS_lsetxattr),
    Allow::Call(SYS_SETXATTRAT),
    Allow::Call(libc::SYS_fgetxattr),
    Allow::Call(libc::SYS_lgetxattr),
    Allow::Call(SYS_GETXATTRAT),
    Allow::Call(libc::SYS_flistxattr),
    Allow::Call(libc::SYS_llistxattr),
    Allow::Call(SYS_LISTXATTRAT),
    Allow::Call(libc::SYS_fremovexattr),
    Allow::Call(libc::SYS_lremovexattr),
    Allow::Call(SYS_REMOVEXATTRAT),
    Allow::Call(libc::SYS_umask),
    // Memory, in which nothing new can be run.
    Allow::Without { call: libc::SYS_mmap, argument: 2, bits: libc::PROT_EXEC as u32 },
    Allow::Without { call: libc::SYS_mprotect, argument: 2, bits: libc::PROT_EXEC as u32 },
    Allow::Call(libc::SYS_munmap),
    Allow::Call(libc::SYS_mremap),
    Allow::Call(libc::SYS_brk),
    Allow::Call(libc::SYS_madvise),
    // Threads and time.
    Allow::With { call: libc::SYS_clone, argument: 0, bits: libc::CLONE_THREAD as u32 },
    Allow::Call(libc::SYS_exit),
    Allow::Call(libc::SYS_exit_group),
    Allow::Call(libc::SYS_set_robust_list),
    Allow::Call(libc::SYS_rseq),
    Allow::Call(libc::SYS_membarrier),
    Allow::Call(libc::SYS_sigaltstack),
    Allow::Call(libc::SYS_rt_sigaction),
    Allow::Call(libc::SYS_rt_sigprocmask),
    Allow::Call(libc::SYS_rt_sigreturn),
    Allow::Call(libc::SYS_restart_syscall),
    Allow::Own { call: libc::SYS_tgkill, argument: 0 },
    Allow::Call(libc::SYS_gettid),
    Allow::Call(libc::SYS_getpid),
    Allow::Call(libc::SYS_getuid),
    Allow::Call(libc::SYS_geteuid),
    Allow::Call(libc::SYS_sched_yield),
    Allow::Call(libc::SYS_sched_getaffinity),
    #[cfg(target_arch = "x86_64")]
    Allow::Call(libc::SYS_poll),
    Allow::Call(libc::SYS_ppoll),
    Allow::Call(libc::SYS_nanosleep),
    Allow::Call(libc::SYS_clock_nanosleep),
    Allow::Call(libc::SYS_clock_gettime),
    Allow::Call(libc::SYS_getrandom),
    Allow::Call(libc::SYS_capget),
    Allow::Values { call: libc::SYS_prctl, argument: 0, values: PRCTL },
];
