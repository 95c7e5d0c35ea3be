//! Kill: a signal to one process, or to all of a container.

use std::sync::Arc;

use base::Error;

use crate::task::Tasks;
use crate::task::container::Container;
use crate::task::decide::Phase;

impl Tasks {
    /// Signals a process. Answers at once unless the runtime must be asked: for all processes, and for a frozen
    /// container, whose processes do not see a signal until they are thawed.
    ///
    /// # Errors
    /// `NotFound` when container or process are gone, `FailedPrecondition` for an exec that does not run yet.
    pub(crate) async fn kill(
        &self,
        id: &str,
        exec_id: &str,
        signal_number: u32,
        all: bool,
    ) -> Result<(), Error> {
        let container = self.get(id)?;
        let through_runtime = {
            let mut state = container.state();
            let frozen = matches!(state.init.phase, Phase::Paused | Phase::Pausing);
            let proc = state.proc(exec_id)?;
            match (exec_id.is_empty(), proc.alive) {
                (true, _) if all => true,
                (_, false) if proc.pid == 0 && proc.phase != Phase::Stopped => {
                    return Err(Error::failed_precondition("process not created"));
                }
                (_, false) => return Err(finished()),
                (true, true) if frozen => true,
                (_, true) => {
                    signal(proc.pid, signal_number)?;
                    false
                }
            }
        };
        if through_runtime { self.kill_through_runtime(&container, signal_number, all).await } else { Ok(()) }
    }

    async fn kill_through_runtime(
        &self,
        container: &Arc<Container>,
        signal: u32,
        all: bool,
    ) -> Result<(), Error> {
        match container.runc.kill(self.reaper(), &container.id, signal, all).await {
            Ok(()) => Ok(()),
            Err(failed) => Err(refusal(&failed.words())),
        }
    }
}

fn finished() -> Error {
    Error::not_found("process already finished")
}

/// What the runtime's words mean. Clients match on the code and on these messages.
fn refusal(words: &str) -> Error {
    let lower = words.to_lowercase();
    if lower.contains("process already finished")
        || lower.contains("container not running")
        || lower.contains("no such process")
    {
        finished()
    } else if lower.contains("does not exist") {
        Error::not_found("no such container")
    } else {
        Error::unknown(format!("unknown error after kill: {words}"))
    }
}

/// Sends `signal` to a process that was not collected yet.
///
/// # Errors
/// `NotFound` when it is dead already, `Unknown` for what is no signal.
pub(crate) fn signal(pid: u32, signal: u32) -> Result<(), Error> {
    let unknown =
        |e: &dyn std::error::Error| Error::unknown(format!("unknown error after kill: {}", base::chain(e)));
    let number = i32::try_from(signal).map_err(|e| unknown(&e))?;
    match sys::pidfd::Pidfd::open(pid).and_then(|p| p.send_signal(number)) {
        Ok(()) => Ok(()),
        Err(e) if e.is_errno(rustix::io::Errno::SRCH) => Err(finished()),
        Err(e) => Err(unknown(&e)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use base::{ErrorKind, Kinded};

    #[test]
    fn words_of_the_runtime() {
        for (words, kind, message) in [
            ("runc: exit status 1: container not running", ErrorKind::NotFound, "process already finished"),
            ("x: No such process", ErrorKind::NotFound, "process already finished"),
            ("container \"a\" does not exist", ErrorKind::NotFound, "no such container"),
            ("boom", ErrorKind::Unknown, "unknown error after kill: boom"),
        ] {
            let e = refusal(words);
            assert_eq!((e.kind(), e.to_string().as_str()), (kind, message));
        }
    }

    #[test]
    fn signals_that_are_none() {
        assert_eq!(signal(std::process::id(), 4_000_000_000).unwrap_err().kind(), ErrorKind::Unknown);
        assert_eq!(signal(std::process::id(), 200).unwrap_err().kind(), ErrorKind::Unknown);
        assert!(signal(std::process::id(), 0).is_ok());
    }
}
