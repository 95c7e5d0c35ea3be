//! What a child does to itself between fork and exec.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::Signal;

/// First descriptor that [`pass_fds`] hands out.
const FIRST: RawFd = 3;

/// Lets the child be killed when the thread that spawns it ends (`PR_SET_PDEATHSIG`). Only for
/// programs that are spawned from a thread which lives as long as the process.
pub fn die_with_parent(command: &mut Command) {
    let parent = rustix::process::getpid();
    let set = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have died before the call above took effect.
        if rustix::process::getppid() == Some(parent) {
            Ok(())
        } else {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    };
    // SAFETY: between fork and exec only the system calls prctl and getppid are made; nothing is
    // allocated, locked or dropped, and the error is made of constants.
    unsafe { command.pre_exec(set) };
}

/// Lets the child start with no signal blocked. A child inherits its parent's mask, through every exec after it, too: a
/// process that reads its own signals from a descriptor has blocked them, and what it starts would never see them.
pub fn unblock_signals(command: &mut Command) {
    let set = || {
        let mut none = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigemptyset fills the set that it is given; sigprocmask only reads it, and takes null for "no old one".
        let done = unsafe {
            libc::sigemptyset(none.as_mut_ptr());
            libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut())
        };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: between fork and exec only the system call rt_sigprocmask is made; nothing is allocated, locked or dropped.
    unsafe { command.pre_exec(set) };
}

/// Gives the child `fds` as descriptors 3, 4, 5, ... They stay open here until `command` is dropped.
///
/// # Errors
/// There are too few descriptors left.
pub fn pass_fds(command: &mut Command, fds: Vec<OwnedFd>) -> io::Result<()> {
    let end = FIRST + RawFd::try_from(fds.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut high = Vec::with_capacity(fds.len());
    // Occupies each number below `end`, so that no pipe of the spawn itself gets one that is overwritten in the child.
    let mut low = Vec::new();
    for fd in &fds {
        high.push(rustix::io::fcntl_dupfd_cloexec(fd, end)?);
        loop {
            let guard = rustix::io::fcntl_dupfd_cloexec(fd, FIRST)?;
            if guard.as_raw_fd() >= end {
                break;
            }
            low.push(guard);
        }
    }
    drop(fds);
    let place = move || {
        let _held = &low;
        for (target, fd) in (FIRST..).zip(&high) {
            // SAFETY: dup2 takes plain numbers. `fd` is open for as long as this closure lives, and what
            // `target` was in this child (a guard, or a descriptor of the parent) is not used before exec.
            if unsafe { libc::dup2(fd.as_raw_fd(), target) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: between fork and exec only dup2 is called; nothing is allocated, locked or dropped.
    unsafe { command.pre_exec(place) };
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::io::Read;

    #[test]
    fn a_child_has_no_signal_blocked() {
        // A thread of its own: the mask is a thread's.
        let run = |unblock: bool| {
            let mut blocked = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
            // SAFETY: the set is filled before it is read, and belongs to this thread.
            unsafe {
                libc::sigemptyset(blocked.as_mut_ptr());
                libc::sigaddset(blocked.as_mut_ptr(), libc::SIGUSR1);
                assert_eq!(
                    libc::pthread_sigmask(libc::SIG_SETMASK, blocked.as_ptr(), std::ptr::null_mut()),
                    0
                );
            }
            let mut command = Command::new("/bin/grep");
            command.args(["SigBlk", "/proc/self/status"]);
            if unblock {
                unblock_signals(&mut command);
            }
            String::from_utf8(command.output().unwrap().stdout).unwrap()
        };
        let of = |unblock| std::thread::spawn(move || run(unblock)).join().unwrap();
        assert_eq!(of(true), "SigBlk:\t0000000000000000\n");
        assert_eq!(of(false), "SigBlk:\t0000000000000200\n", "the parent's mask is what it would have");
    }

    #[test]
    fn descriptors_arrive_in_order() {
        let (r, w) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let (r2, w2) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo three >&3; echo four >&4; [ ! -e /proc/self/fd/5 ] || echo more >&4"]);
        pass_fds(&mut command, vec![w, w2]).unwrap();
        assert!(command.status().unwrap().success());
        drop(command);
        let read = |fd: OwnedFd| {
            let mut text = String::new();
            std::fs::File::from(fd).read_to_string(&mut text).unwrap();
            text
        };
        assert_eq!((read(r).as_str(), read(r2).as_str()), ("three\n", "four\n"));
    }

    #[test]
    fn a_missing_program_is_still_reported() {
        let (_r, w) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let mut command = Command::new("/no/such/program");
        pass_fds(&mut command, vec![w]).unwrap();
        assert_eq!(command.spawn().unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn the_child_dies_with_the_thread_that_spawned_it() {
        let child = std::thread::spawn(|| {
            let mut command = Command::new("/bin/sleep");
            command.arg("1000");
            die_with_parent(&mut command);
            command.spawn().unwrap()
        });
        use std::os::unix::process::ExitStatusExt;
        assert_eq!(child.join().unwrap().wait().unwrap().signal(), Some(9));
    }
}
