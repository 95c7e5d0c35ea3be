//! Signals, as a descriptor: children that died, wishes to leave, and a request for a dump.

use std::os::fd::AsFd;
use std::sync::Arc;

use base::Error;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::io::watch::{self, Watched};
use crate::reaper::Reaper;

/// The signals that concern us, blocked everywhere else in this process. Children must be started with
/// [`sys::spawn::unblock_signals`]: they inherit what is blocked.
pub(crate) struct Signals(Arc<Watched>);

impl Signals {
    /// Blocks them and opens the descriptor. Call once, inside the runtime, before the first child.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(crate) fn take() -> Result<Signals, Error> {
        let failed = |e: &dyn std::fmt::Display| Error::internal(format!("set up signals: {e}"));
        let mut set = SigSet::empty();
        for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGUSR1] {
            set.add(signal);
        }
        set.thread_block().map_err(|e| failed(&e))?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
            .map_err(|e| failed(&e))?;
        let fd = fd.as_fd().try_clone_to_owned().map_err(|e| failed(&e))?;
        watch::readable(fd).map(Signals).map_err(|e| failed(&e))
    }

    /// Collects children for ever; `other` is told of the signals that are not about them.
    pub(crate) async fn run(self, reaper: Reaper, mut other: impl FnMut(Signal)) {
        // A child may have died before the signals were ours.
        reaper.collect();
        loop {
            let Ok(mut ready) = self.0.readable().await else { return };
            while let Some(signal) = self.next() {
                if signal != Signal::SIGCHLD {
                    other(signal);
                }
            }
            ready.clear_ready();
            reaper.collect();
        }
    }

    /// The next pending signal. (A `signalfd_siginfo` is 128 bytes and begins with the number.)
    fn next(&self) -> Option<Signal> {
        let mut info = [0_u8; 128];
        if rustix::io::read(self.0.get_ref(), &mut info) != Ok(info.len()) {
            return None;
        }
        let number = u32::from_ne_bytes([info[0], info[1], info[2], info[3]]);
        Signal::try_from(i32::try_from(number).ok()?).ok()
    }
}
