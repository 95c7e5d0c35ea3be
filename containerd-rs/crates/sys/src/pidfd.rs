//! Processes that cannot be mistaken for others.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};

use crate::error::{Context, Error, Result};

/// A handle on one process. Readable (poll, epoll) from the moment the process has ended.
#[derive(Debug)]
pub struct Pidfd {
    fd: OwnedFd,
}

impl Pidfd {
    /// A handle on whatever process has the number `pid` now. ESRCH when there is none.
    pub fn open(pid: u32) -> Result<Pidfd> {
        let raw = i32::try_from(pid)
            .ok()
            .and_then(Pid::from_raw)
            .ok_or_else(|| Error::Invalid(format!("not a process id: {pid}")))?;
        let fd = rustix::process::pidfd_open(raw, PidfdFlags::NONBLOCK)
            .doing(format_args!("open pidfd of {pid}"))?;
        Ok(Pidfd { fd })
    }

    /// A handle on the process `pid` that started at `start_time` (see [`crate::process::pid_start_time`]). ESRCH when it is gone,
    /// also when the number has been used again.
    pub fn open_started_at(pid: u32, start_time: u64) -> Result<Pidfd> {
        let handle = Pidfd::open(pid)?;
        // Looked at after the handle is open: if the time matches now, the handle is on that process.
        if crate::process::is_same_process(pid, start_time)? {
            return Ok(handle);
        }
        Err(Error::call(format_args!("open pidfd of {pid} started at {start_time}"), Errno::SRCH))
    }

    /// Sends a signal by number (0 only tests). ESRCH when the process has been reaped.
    pub fn send_signal(&self, signal: i32) -> Result<()> {
        let none = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: the descriptor is ours and open, and a null siginfo is allowed by pidfd_send_signal(2).
        let rc = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, self.fd.as_raw_fd(), signal, none, 0) };
        if rc == 0 {
            return Ok(());
        }
        Err(std::io::Error::last_os_error()).doing(format_args!("send signal {signal}"))
    }

    /// Whether the process has ended (it may still wait to be reaped).
    pub fn is_exited(&self) -> Result<bool> {
        self.wait_exited(Duration::ZERO)
    }

    /// Blocks until the process has ended, at most `timeout`. Gives whether it has.
    pub fn wait_exited(&self, timeout: Duration) -> Result<bool> {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let left = rustix::time::Timespec {
                tv_sec: left.as_secs() as i64,
                tv_nsec: i64::from(left.subsec_nanos()),
            };
            let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
            match rustix::event::poll(&mut fds, Some(&left)) {
                Ok(n) => return Ok(n > 0),
                Err(Errno::INTR) => {}
                Err(e) => return Err(e).doing("poll pidfd"),
            }
        }
    }

    /// Gives the descriptor away, for an event loop.
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }
}

impl From<OwnedFd> for Pidfd {
    /// Takes a descriptor that is a pidfd (from a socket, or clone3).
    fn from(fd: OwnedFd) -> Pidfd {
        Pidfd { fd }
    }
}

impl AsFd for Pidfd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Pidfd {
    fn as_raw_fd(&self) -> i32 {
        self.fd.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    #[test]
    fn signals_and_sees_the_end() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let fd = Pidfd::open(child.id()).unwrap();
        assert!(!fd.is_exited().unwrap());
        assert!(!fd.wait_exited(Duration::from_millis(5)).unwrap());
        fd.send_signal(0).unwrap();
        fd.send_signal(libc::SIGKILL).unwrap();
        assert!(fd.wait_exited(Duration::from_secs(10)).unwrap());
        fd.send_signal(0).unwrap(); // a zombie still takes signals
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
        let err = fd.send_signal(libc::SIGTERM).unwrap_err();
        assert!(err.is_errno(Errno::SRCH), "{err:?}");
        assert!(fd.is_exited().unwrap());
    }

    #[test]
    fn real_time_signals_can_be_sent() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let fd = Pidfd::open(child.id()).unwrap();
        fd.send_signal(libc::SIGRTMIN() + 3).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGRTMIN() + 3));
    }

    #[test]
    fn another_process_with_the_number_is_refused() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let start = crate::process::pid_start_time(child.id()).unwrap();
        Pidfd::open_started_at(child.id(), start).unwrap();
        assert!(Pidfd::open_started_at(child.id(), start + 1).unwrap_err().is_errno(Errno::SRCH));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(Pidfd::open(child.id()).unwrap_err().is_errno(Errno::SRCH));
        assert!(matches!(Pidfd::open(0), Err(Error::Invalid(_))));
        assert!(matches!(Pidfd::open(u32::MAX), Err(Error::Invalid(_))));
    }
}
