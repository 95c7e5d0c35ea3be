//! Id-mapped mounts (mount_setattr(2), Linux 5.12).

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::CWD;
use rustix::mount::{MoveMountFlags, OpenTreeFlags};

use crate::error::{Context, Error, Result};
use crate::pidfd::Pidfd;

// Numbers shared by all architectures (since Linux 5.1).
const SYS_MOUNT_SETATTR: libc::c_long = 442;
const SYS_CLONE3: libc::c_long = 435;

// <linux/mount.h>
const MOUNT_ATTR_RDONLY: u64 = 0x1;
const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;

/// One range of ids: `size` ids from `container` on (as seen inside) stand for those from `host` on (as on disk and outside).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdMap {
    /// First id inside.
    pub container: u32,
    /// First id outside.
    pub host: u32,
    /// How many.
    pub size: u32,
}

impl IdMap {
    /// Parses `container:host:size[,container:host:size...]`.
    pub fn parse_list(text: &str) -> Result<Vec<IdMap>> {
        text.split(',').map(IdMap::parse).collect()
    }

    fn parse(text: &str) -> Result<IdMap> {
        let wrong = || {
            Error::Invalid(format!(
                "{text:?}: user namespace mappings require the format `container-id:host-id:size`"
            ))
        };
        let mut numbers = text.split(':').map(|n| n.parse::<u32>().map_err(|_| wrong()));
        let mut next = || numbers.next().unwrap_or_else(|| Err(wrong()));
        let map = IdMap { container: next()?, host: next()?, size: next()? };
        if numbers.next().is_some() || map.size == 0 {
            return Err(wrong());
        }
        if map.container.checked_add(map.size).is_none() || map.host.checked_add(map.size).is_none() {
            return Err(Error::Invalid(format!("{text:?}: the range of ids ends beyond the largest id")));
        }
        Ok(map)
    }
}

/// A user namespace with these maps. It lives as long as the descriptor.
pub fn user_namespace(uids: &[IdMap], gids: &[IdMap]) -> Result<OwnedFd> {
    let holder = Holder::start().doing("start a process in a new user namespace")?;
    let pid = holder.pid;
    for (file, maps) in [("uid_map", uids), ("gid_map", gids)] {
        let path = format!("/proc/{pid}/{file}");
        let lines: String = maps.iter().map(|m| format!("{} {} {}\n", m.container, m.host, m.size)).collect();
        // The kernel takes the whole map in one write.
        std::fs::write(&path, lines).on("write", &path)?;
    }
    let path = format!("/proc/{pid}/ns/user");
    let file = std::fs::File::open(&path).on("open", &path)?;
    Ok(file.into())
}

/// `struct clone_args`, first version.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
}

/// A process that only sits in a new user namespace until it is dropped. It has no exit signal, so no reaper sees it.
struct Holder {
    pid: i32,
    pidfd: Pidfd,
}

impl Holder {
    fn start() -> io::Result<Holder> {
        let mut pidfd: libc::c_int = -1;
        let args = CloneArgs {
            flags: (libc::CLONE_NEWUSER | libc::CLONE_PIDFD | libc::CLONE_FILES) as u64,
            pidfd: (&raw mut pidfd) as u64,
            ..CloneArgs::default()
        };
        let parent = std::process::id();
        let blocked = SignalsBlocked::new()?;
        // SAFETY: `args` is a valid clone_args of the size given and `pidfd` may be written. Without CLONE_VM and with no stack given
        // this is a fork: the child has its own copy of memory. It calls only async-signal-safe functions and never returns.
        let pid = unsafe { libc::syscall(SYS_CLONE3, &raw const args, size_of::<CloneArgs>()) };
        if pid == 0 {
            sit_still(parent);
        }
        drop(blocked);
        if pid < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has put a new descriptor there, which nobody else owns.
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
        Ok(Holder { pid: pid as i32, pidfd: Pidfd::from(pidfd) })
    }
}

/// The child's whole life. Its signals are blocked, so only SIGKILL ends it: from its parent, or because that is gone.
fn sit_still(parent: u32) -> ! {
    // SAFETY: prctl, getppid, _exit and poll are async-signal-safe and get no pointers to follow (zero descriptors, no time-out).
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong, 0, 0, 0);
        // The parent may have ended before the call above.
        while libc::getppid() as u32 == parent {
            libc::poll(std::ptr::null_mut(), 0, -1);
        }
        libc::_exit(0)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.pidfd.send_signal(libc::SIGKILL);
        // A child without an exit signal is waited for only with __WALL.
        // SAFETY: a null siginfo is allowed; the descriptor is open.
        unsafe {
            libc::syscall(
                libc::SYS_waitid,
                libc::P_PIDFD,
                self.pidfd.as_raw_fd(),
                std::ptr::null_mut::<libc::siginfo_t>(),
                libc::WEXITED | libc::__WALL,
                std::ptr::null_mut::<libc::rusage>(),
            );
        }
    }
}

/// Blocks all signals of this thread for a while, so that the child starts with them blocked and runs none of our handlers.
struct SignalsBlocked(libc::sigset_t);

impl SignalsBlocked {
    fn new() -> io::Result<SignalsBlocked> {
        // SAFETY: sigset_t is plain memory; sigfillset and pthread_sigmask initialise what they are given.
        unsafe {
            let mut all: libc::sigset_t = std::mem::zeroed();
            let mut before: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&mut all);
            match libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before) {
                0 => Ok(SignalsBlocked(before)),
                errno => Err(io::Error::from_raw_os_error(errno)),
            }
        }
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        // SAFETY: the set was filled by pthread_sigmask in `new`.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, std::ptr::null_mut()) };
    }
}

/// `struct mount_attr`.
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

/// A private, detached clone of the mounts at and below `source` with the ids mapped by the namespace, read-only when asked.
pub fn clone_mapped(source: &Path, namespace: impl AsFd, read_only: bool) -> Result<OwnedFd> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let tree = rustix::mount::open_tree(CWD, source, flags).on("clone mount of", source)?;
    let attr = MountAttr {
        set: MOUNT_ATTR_IDMAP | if read_only { MOUNT_ATTR_RDONLY } else { 0 },
        clear: 0,
        propagation: libc::MS_PRIVATE,
        userns_fd: namespace.as_fd().as_raw_fd() as u64,
    };
    let at = libc::AT_EMPTY_PATH | libc::AT_RECURSIVE;
    // SAFETY: the empty path is a valid C string and `attr` a valid mount_attr of the size given; the kernel only reads them.
    let rc = unsafe {
        libc::syscall(
            SYS_MOUNT_SETATTR,
            tree.as_raw_fd(),
            c"".as_ptr(),
            at,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    if rc == 0 { Ok(tree) } else { Err(io::Error::last_os_error()).on("map ids of mount", source) }
}

/// Mounts a detached tree onto `target`.
pub fn attach(tree: impl AsFd, target: &Path) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
    rustix::mount::move_mount(tree, "", CWD, target, flags).on("attach mount tree to", target)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn maps_parse_and_bad_ones_do_not() {
        let maps = IdMap::parse_list("0:1000:10,10:5000:1").unwrap();
        assert_eq!(maps[1], IdMap { container: 10, host: 5000, size: 1 });
        for bad in ["", "0:1", "0:1:2:3", "a:1:2", "-1:0:1", "0:0:0", "4294967295:0:2", "0:1:2,"] {
            assert!(IdMap::parse_list(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn owners_are_shown_through_the_map() {
        let dir = tempfile::tempdir().unwrap();
        let (source, target) = (dir.path().join("source"), dir.path().join("target"));
        std::fs::create_dir(&source).unwrap();
        std::fs::create_dir(&target).unwrap();
        std::fs::write(source.join("file"), "x").unwrap();
        std::os::unix::fs::chown(source.join("file"), Some(3), Some(4)).unwrap();
        let namespace = user_namespace(
            &[IdMap { container: 0, host: 10_000, size: 100 }],
            &[IdMap { container: 0, host: 20_000, size: 100 }],
        );
        let tree = clone_mapped(&source, namespace.unwrap(), true).unwrap();
        attach(&tree, &target).unwrap();
        drop(tree);
        let meta = std::fs::metadata(target.join("file")).unwrap();
        let written = std::fs::write(target.join("new"), "");
        rustix::mount::unmount(&target, rustix::mount::UnmountFlags::empty()).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (10_003, 20_004));
        assert_eq!(written.unwrap_err().raw_os_error(), Some(libc::EROFS));
    }

    #[test]
    fn the_holder_leaves_no_process_behind() {
        let pid = {
            let holder = Holder::start().unwrap();
            assert!(Path::new(&format!("/proc/{}/ns/user", holder.pid)).exists());
            holder.pid
        };
        assert!(crate::process::proc_stat(pid as u32).unwrap_err().is_not_found());
    }
}
