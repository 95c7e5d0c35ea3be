//! A logger process: the program behind `binary://`, fed through pipes.
//!
//! It gets standard output on descriptor 3, standard error on 4, and on 5 a pipe that it closes when
//! it is ready. It outlives the container's processes by as long as it needs to write what is in the
//! pipes, within a limit.

use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use base::Error;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::oneshot;

use crate::io::uri;
use crate::logger::warning;
use crate::reaper::{Exit, Reaper};

/// Time to get ready.
const READY: Duration = Duration::from_secs(30);
/// Time to end by itself once its pipes are closed.
const PATIENCE: Duration = Duration::from_secs(1);
/// Time to end after SIGTERM, as in the original.
const TERM: Duration = Duration::from_secs(12);

/// A running logger.
pub(crate) struct Logger {
    pid: u32,
    exit: oneshot::Receiver<Exit>,
}

/// A running logger and the pipes that feed it.
pub(crate) struct Fed {
    /// The process.
    pub(crate) logger: Logger,
    /// Its standard output stream.
    pub(crate) stdout: OwnedFd,
    /// Its standard error stream.
    pub(crate) stderr: OwnedFd,
}

/// Starts a logger and waits until it is ready.
///
/// # Errors
/// It cannot be started, or is not ready in time (it is killed then).
pub(crate) async fn start(
    reaper: &Reaper,
    uri: &uri::Logger,
    id: &str,
    namespace: &str,
) -> Result<Fed, Error> {
    let failed = |what: &str, e: &dyn std::fmt::Display| Error::unknown(format!("{what}: {e}"));
    let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(|e| failed("failed to create logger pipes", &e));
    let ((out_r, stdout), (err_r, stderr), (ready_r, ready_w)) = (pipe()?, pipe()?, pipe()?);
    let mut command = Command::new(&uri.path);
    command
        .args(&uri.args)
        .env_clear()
        .env("CONTAINER_ID", id)
        .env("CONTAINER_NAMESPACE", namespace)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    sys::spawn::pass_fds(&mut command, vec![out_r, err_r, ready_w])
        .map_err(|e| failed("failed to start binary process", &e))?;
    // It is ended by SIGTERM, which is blocked here.
    sys::spawn::unblock_signals(&mut command);
    let child = command.spawn().map_err(|e| failed("failed to start binary process", &e))?;
    drop(command);
    let mut logger = Logger { pid: child.id(), exit: reaper.watch(child.id()) };
    let ready = async {
        let mut pipe = pipe::Receiver::from_owned_fd(ready_r)?;
        pipe.read(&mut [0; 1]).await
    };
    let problem = match tokio::time::timeout(READY, ready).await {
        Ok(Ok(n)) if n > 0 || !uri.must_say_ready => return Ok(Fed { logger, stdout, stderr }),
        Ok(Ok(_)) => {
            "logging binary did not call ready (it may have crashed or exited prematurely)".to_owned()
        }
        Ok(Err(e)) => format!("failed to read from logging binary: {e}"),
        Err(_) => format!("logging binary was not ready within {} s", READY.as_secs()),
    };
    logger.signal(9);
    Err(Error::unknown(problem))
}

impl Logger {
    /// Signals it; false when it was collected already (its pid may be another's by now).
    fn signal(&mut self, signal: i32) -> bool {
        let alive = matches!(self.exit.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        if alive && let Ok(pid) = sys::pidfd::Pidfd::open(self.pid) {
            let _ = pid.send_signal(signal);
        }
        alive
    }

    /// Waits for its end; asks for it, and then forces it, when it does not come.
    pub(crate) async fn stop(mut self) {
        if tokio::time::timeout(PATIENCE, &mut self.exit).await.is_ok() {
            return;
        }
        if self.signal(15) && tokio::time::timeout(TERM, &mut self.exit).await.is_err() {
            warning!("logger {} did not end within {} s of SIGTERM, killing it", self.pid, TERM.as_secs());
            self.signal(9);
        }
    }
}
