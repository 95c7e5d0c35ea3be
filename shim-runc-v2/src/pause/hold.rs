//! Holds namespaces until told to end.

use std::io::Write;
use std::os::fd::AsFd;

use base::Error;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags};
use rustix::process::WaitOptions;

use crate::pause::READY;

/// Who the process is: nobody, as in the usual pause images.
const NOBODY: u32 = 65535;

/// Waits for SIGTERM, SIGINT or the end of standard input, and collects whatever dies meanwhile: as pid 1 of a pod, or
/// as its child's only parent.
///
/// # Errors
/// The kernel refuses something at the start.
pub(crate) fn main() -> Result<(), Error> {
    let signals = signals()?;
    // To be had while there are files.
    let null = std::fs::File::options().write(true).open("/dev/null").map_err(io("open /dev/null"))?;
    change_root()?;
    give_up_rights()?;
    std::io::stdout().write_all(READY.as_bytes()).map_err(io("tell"))?;
    std::io::stdout().flush().map_err(io("tell"))?;
    rustix::stdio::dup2_stdout(&null).map_err(|e| io("let go of the pipe")(e.into()))?;
    rustix::stdio::dup2_stderr(&null).map_err(|e| io("let go of the pipe")(e.into()))?;
    drop(null);
    loop {
        collect();
        let lifeline = std::io::stdin();
        let mut ready = [PollFd::new(&signals, PollFlags::IN), PollFd::new(&lifeline, PollFlags::IN)];
        match rustix::event::poll(&mut ready, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(Error::internal("wait for signals").with_source(std::io::Error::from(e))),
        }
        let [signalled, ended] = ready.map(|r| !r.revents().is_empty());
        if ended || (signalled && asked_to_end(&signals)) {
            return Ok(());
        }
    }
}

fn io(what: &'static str) -> impl FnOnce(std::io::Error) -> Error {
    move |e| Error::unknown(what).with_source(e)
}

/// The working directory becomes the root, and the old one is out of sight and out of use.
fn change_root() -> Result<(), Error> {
    rustix::process::pivot_root(".", ".").map_err(|e| io("change root")(e.into()))?;
    nix::mount::umount2(".", nix::mount::MntFlags::MNT_DETACH)
        .map_err(|e| io("let go of the old root")(e.into()))?;
    std::env::set_current_dir("/").map_err(io("enter root"))
}

/// Blocked, they are kept for the descriptor, also for a pid 1, to which the kernel does not deliver what it ignores.
fn signals() -> Result<SignalFd, Error> {
    let failed = |e: nix::Error| Error::internal(format!("set up signals: {e}"));
    let mut set = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT] {
        set.add(signal);
    }
    set.thread_block().map_err(failed)?;
    SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC).map_err(failed)
}

/// Whether one of the signals that wait wants the end.
fn asked_to_end(signals: &SignalFd) -> bool {
    let mut info = [0_u8; 128];
    while rustix::io::read(signals.as_fd(), &mut info) == Ok(info.len()) {
        let number = u32::from_ne_bytes([info[0], info[1], info[2], info[3]]);
        if number != Signal::SIGCHLD as u32 {
            return true;
        }
    }
    false
}

fn collect() {
    while matches!(rustix::process::wait(WaitOptions::NOHANG), Ok(Some(_)) | Err(rustix::io::Errno::INTR)) {}
}

/// No capabilities, no user, and nothing for `/proc/1` to show to a neighbour that may not trace.
fn give_up_rights() -> Result<(), Error> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs};
    let failed = |what: &'static str| move |e| Error::unknown(what).with_source(std::io::Error::from(e));
    set_no_new_privs(true).map_err(failed("forbid new privileges"))?;
    let (uid, gid) = (nix::unistd::Uid::from_raw(NOBODY), nix::unistd::Gid::from_raw(NOBODY));
    nix::unistd::setgroups(&[])
        .and_then(|()| nix::unistd::setresgid(gid, gid, gid))
        .and_then(|()| nix::unistd::setresuid(uid, uid, uid))
        .map_err(|e| Error::unknown("become nobody").with_source(std::io::Error::from(e)))?;
    let none = CapabilitySet::empty();
    // The bounding set stays: without new privileges no exec gives anything of it back.
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
        .map_err(failed("drop capabilities"))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(failed("refuse to be dumped"))
}
