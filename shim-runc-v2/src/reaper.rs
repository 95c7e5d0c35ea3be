//! The one place that waits for children: the runtime's own processes, loggers, and the containers'
//! processes, which the runtime leaves to us because we are their sub-reaper.
//!
//! The shim has one thread, and only [`Reaper::collect`] reaps. So a pid stays ours from the moment we
//! learn it until `collect` has seen it die, there is no moment between a spawn and its registration,
//! and signalling a pid that was not collected can never hit a stranger.
//!
//! A container's process can die before the runtime has told us its pid. While someone holds an
//! [`Expecting`], exits of unknown pids are kept; [`Reaper::watch`] looks there first.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use rustix::process::{Pid, WaitOptions, WaitStatus};
use tokio::sync::oneshot;

/// Unknown exits kept while processes are being started; far more than can die in that time.
const MAX_PARKED: usize = 16 * 1024;

/// Linux's `__WNOTHREAD`: a thread that mounts may run a helper program, and waits for it itself. (What the runtime leaves to
/// us becomes a child of the first thread, which is the one that collects.)
const NOT_OF_OTHER_THREADS: WaitOptions = WaitOptions::from_bits_retain(0x2000_0000);

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exit {
    /// Who.
    pub(crate) pid: u32,
    /// Exit code, or 128 + signal.
    pub(crate) code: u32,
    /// The signal that killed it, if one did.
    pub(crate) signal: Option<u32>,
    /// When it was collected.
    pub(crate) at: SystemTime,
}

/// See the module.
#[derive(Clone, Default)]
pub(crate) struct Reaper(Arc<Mutex<Table>>);

#[derive(Default)]
struct Table {
    waiters: HashMap<u32, oneshot::Sender<Exit>>,
    parked: VecDeque<Exit>,
    expecting: usize,
}

impl Reaper {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Collects every dead child and tells who waits for it. Call on SIGCHLD.
    pub(crate) fn collect(&self) {
        loop {
            match rustix::process::wait(WaitOptions::NOHANG | NOT_OF_OTHER_THREADS) {
                Ok(Some((pid, status))) => self.deliver(exit_of(pid, status)),
                Err(rustix::io::Errno::INTR) => {}
                Ok(None) | Err(_) => return,
            }
        }
    }

    fn deliver(&self, exit: Exit) {
        let mut table = self.table();
        if let Some(waiter) = table.waiters.remove(&exit.pid) {
            let _ = waiter.send(exit);
        } else if table.expecting > 0 {
            if table.parked.len() == MAX_PARKED {
                table.parked.pop_front();
            }
            table.parked.push_back(exit);
        }
    }

    /// Says that a process is being started whose pid is not known yet; hold the answer until it was watched.
    pub(crate) fn expect(&self) -> Expecting {
        self.table().expecting += 1;
        Expecting(self.clone())
    }

    /// The exit of `pid`, which must be a child (or a parked one) that nobody else watches.
    pub(crate) fn watch(&self, pid: u32) -> oneshot::Receiver<Exit> {
        let (sender, receiver) = oneshot::channel();
        let mut table = self.table();
        // A parked exit of that pid counts unless the pid is alive again, as somebody new.
        let found = table.parked.iter().rposition(|e| e.pid == pid);
        match found.filter(|_| !is_child(pid)).and_then(|at| table.parked.remove(at)) {
            Some(exit) => {
                let _ = sender.send(exit);
            }
            // A runtime that collected it itself has left nobody to wait for.
            None if !is_child(pid) && !is_there(pid) => {
                let _ = sender.send(Exit { pid, code: 255, signal: None, at: SystemTime::now() });
            }
            None => {
                table.waiters.insert(pid, sender);
            }
        }
        receiver
    }

    /// How many exits are waited for and how many are parked.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let table = self.table();
        (table.waiters.len(), table.parked.len())
    }
}

/// Whether `pid` is an uncollected child of ours, living or dead.
fn is_child(pid: u32) -> bool {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return false };
    let options = rustix::process::WaitIdOptions::EXITED
        | rustix::process::WaitIdOptions::NOHANG
        | rustix::process::WaitIdOptions::NOWAIT;
    rustix::process::waitid(rustix::process::WaitId::Pid(pid), options).is_ok()
}

/// Whether there is any process of that number.
fn is_there(pid: u32) -> bool {
    std::path::Path::new("/proc").join(pid.to_string()).exists()
}

fn exit_of(pid: Pid, status: WaitStatus) -> Exit {
    let signal = status.terminating_signal().and_then(|s| u32::try_from(s).ok());
    let code = status.exit_status().and_then(|c| u32::try_from(c).ok());
    Exit {
        pid: pid.as_raw_nonzero().get().unsigned_abs(),
        code: signal.map_or(code.unwrap_or(255), |s| 128 + s),
        signal,
        at: SystemTime::now(),
    }
}

/// While it lives, exits of unknown pids are kept.
pub(crate) struct Expecting(Reaper);

impl Drop for Expecting {
    fn drop(&mut self) {
        let mut table = self.0.table();
        table.expecting -= 1;
        if table.expecting == 0 {
            table.parked = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn exit(pid: u32, code: u32) -> Exit {
        Exit { pid, code, signal: None, at: SystemTime::UNIX_EPOCH }
    }

    #[test]
    fn an_early_exit_is_kept_only_while_one_is_expected() {
        let reaper = Reaper::default();
        reaper.deliver(exit(4_000_001, 1));
        assert_eq!(reaper.counts(), (0, 0), "nobody expected it");
        let guard = reaper.expect();
        let other = reaper.expect();
        reaper.deliver(exit(4_000_001, 7));
        drop(other);
        assert_eq!(reaper.watch(4_000_001).try_recv().unwrap().code, 7);
        assert_eq!(reaper.counts(), (0, 0));
        reaper.deliver(exit(4_000_002, 7));
        drop(guard);
        assert_eq!(reaper.counts(), (0, 0), "forgotten with the last expectation");
    }

    #[test]
    fn who_was_collected_by_another_is_not_waited_for() {
        let reaper = Reaper::default();
        assert_eq!(reaper.watch(4_000_009).try_recv().unwrap().code, 255);
        assert_eq!(reaper.counts(), (0, 0));
        // A stranger that lives may still become ours.
        assert!(reaper.watch(std::process::id()).try_recv().is_err());
        assert_eq!(reaper.counts(), (1, 0));
    }

    #[test]
    fn the_newest_of_a_recycled_pid_counts() {
        let reaper = Reaper::default();
        let _guard = reaper.expect();
        reaper.deliver(exit(4_000_003, 1));
        reaper.deliver(exit(4_000_003, 2));
        assert_eq!(reaper.watch(4_000_003).try_recv().unwrap().code, 2);
    }

    #[test]
    fn parked_exits_are_bounded() {
        let reaper = Reaper::default();
        let _guard = reaper.expect();
        for n in 0..(MAX_PARKED as u32 + 10) {
            reaper.deliver(exit(5_000_000 + n, 0));
        }
        assert_eq!(reaper.counts().1, MAX_PARKED);
        assert_eq!(reaper.watch(5_000_000 + MAX_PARKED as u32 + 9).try_recv().unwrap().code, 0);
    }

    #[test]
    #[allow(clippy::zombie_processes)] // the reaper waits
    fn real_children_are_told_apart() {
        // A process of its own: `collect` takes every child of this one.
        let reaper = Reaper::default();
        let quick = std::process::Command::new("/bin/sh").args(["-c", "exit 3"]).spawn().unwrap();
        let killed = std::process::Command::new("/bin/sh").args(["-c", "kill -9 $$"]).spawn().unwrap();
        let (mut a, mut b) = (reaper.watch(quick.id()), reaper.watch(killed.id()));
        let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while reaper.counts().0 > 0 && std::time::Instant::now() < until {
            reaper.collect();
            std::thread::yield_now();
        }
        assert_eq!(a.try_recv().unwrap().code, 3);
        let b = b.try_recv().unwrap();
        assert_eq!((b.code, b.signal), (137, Some(9)));
    }
}
