//! A logger process: the program behind `binary://`, fed through pipes.
//!
//! It gets standard output on descriptor 3, standard error on 4, and on 5 a pipe that it closes when
//! it is ready. It outlives the container's processes by as long as it needs to write what is in the
//! pipes, within a limit.

use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use base::Error;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::io::pump::{OnBreak, Sink, pump};
use crate::io::watch::readable;
use crate::io::{Owner, uri};
use crate::logger::warning;
use crate::reaper::{Exit, Reaper};
use crate::task::cancel::cancelled;

/// Time to get ready.
const READY: Duration = Duration::from_secs(30);
/// Time to end by itself once its pipes are closed.
const PATIENCE: Duration = Duration::from_secs(1);
/// Time to end after SIGTERM, as in the original.
const TERM: Duration = Duration::from_secs(12);

/// Nobody has taken anything out of a dead logger's pipe for so long: nobody will.
const ABANDONED: Duration = Duration::from_secs(2);

/// A running logger, and the task that sees to its output if it dies.
pub(crate) struct Logger {
    pid: u32,
    ended: watch::Receiver<Option<Exit>>,
    minder: JoinHandle<()>,
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

/// Starts a logger and waits until it is ready, for at most `limit`, or until the create that it is for is stopped.
///
/// # Errors
/// It cannot be started, or is not ready in time (it is killed then).
pub(crate) async fn start(reaper: &Reaper, uri: &uri::Logger, owner: &Owner<'_>) -> Result<Fed, Error> {
    let failed = |what: &str, e: &dyn std::fmt::Display| Error::unknown(format!("{what}: {e}"));
    let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(|e| failed("failed to create logger pipes", &e));
    let ((out_r, stdout), (err_r, stderr), (ready_r, ready_w)) = (pipe()?, pipe()?, pipe()?);
    let mut command = Command::new(&uri.path);
    command
        .args(&uri.args)
        .env_clear()
        .env("CONTAINER_ID", owner.id)
        .env("CONTAINER_NAMESPACE", owner.namespace)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let kept = [&out_r, &err_r].map(|fd| fd.try_clone());
    sys::spawn::pass_fds(&mut command, vec![out_r, err_r, ready_w])
        .map_err(|e| failed("failed to start binary process", &e))?;
    // It is ended by SIGTERM, which is blocked here.
    sys::spawn::unblock_signals(&mut command);
    let child = command.spawn().map_err(|e| failed("failed to start binary process", &e))?;
    drop(command);
    let exit = reaper.watch(child.id());
    let kept = kept.into_iter().collect::<std::io::Result<Vec<_>>>();
    let mut logger = Logger::minded(child.id(), exit, kept.unwrap_or_default());
    let ready = async {
        let mut pipe = pipe::Receiver::from_owned_fd(ready_r)?;
        pipe.read(&mut [0; 1]).await
    };
    let limit = READY.min(owner.limit);
    let ready = tokio::select! {
        ready = tokio::time::timeout(limit, ready) => ready,
        () = cancelled(owner.cancel) => {
            logger.signal(9);
            return Err(Error::canceled("waiting for the logging binary: context canceled"));
        }
    };
    let problem = match ready {
        Ok(Ok(n)) if n > 0 || !uri.must_say_ready => return Ok(Fed { logger, stdout, stderr }),
        Ok(Ok(_)) => {
            "logging binary did not call ready (it may have crashed or exited prematurely)".to_owned()
        }
        Ok(Err(e)) => format!("failed to read from logging binary: {e}"),
        Err(_) => format!("logging binary was not ready within {:.1} s", limit.as_secs_f64()),
    };
    logger.signal(9);
    Err(Error::unknown(problem))
}

impl Logger {
    /// Watches a logger: when it dies before what it logs, `pipes` (its ends) are read and forgotten, so that the container does
    /// not have to die with it.
    fn minded(pid: u32, exit: oneshot::Receiver<Exit>, pipes: Vec<OwnedFd>) -> Logger {
        let (told, ended) = watch::channel(None);
        let minder = tokio::spawn(async move {
            let Ok(exit) = exit.await else { return };
            told.send_replace(Some(exit));
            let open: Vec<OwnedFd> = pipes.into_iter().filter(has_writer).collect();
            if open.is_empty() {
                return;
            }
            warning!("logger {pid} ended with {} before what it logs; further output is lost", exit.code);
            let mut open = open.into_iter();
            let (first, second) = (open.next(), open.next());
            tokio::join!(forget(first), forget(second));
        });
        Logger { pid, ended, minder }
    }

    /// Signals it; false when it was collected already (its pid may be another's by now).
    fn signal(&mut self, signal: i32) -> bool {
        let alive = self.ended.borrow().is_none();
        if alive && let Ok(pid) = sys::pidfd::Pidfd::open(self.pid) {
            let _ = pid.send_signal(signal);
        }
        alive
    }

    async fn end(&mut self) {
        let _ = self.ended.wait_for(Option::is_some).await;
    }

    /// Waits for its end; asks for it, and then forces it, when it does not come.
    pub(crate) async fn stop(mut self) {
        if tokio::time::timeout(PATIENCE, self.end()).await.is_ok() {
            return;
        }
        if self.signal(15) && tokio::time::timeout(TERM, self.end()).await.is_err() {
            warning!("logger {} did not end within {} s of SIGTERM, killing it", self.pid, TERM.as_secs());
            self.signal(9);
        }
    }
}

impl Drop for Logger {
    fn drop(&mut self) {
        self.minder.abort();
    }
}

/// Whether somebody could still write into the pipe.
fn has_writer(pipe: &OwnedFd) -> bool {
    let mut poll = [PollFd::new(pipe, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    !(rustix::event::poll(&mut poll, Some(&now)).is_ok() && poll[0].revents().contains(PollFlags::HUP))
}

/// Reads a dead logger's pipe to its end, once it is clear that nobody else does: a child of the logger may have gone on with
/// its work.
async fn forget(pipe: Option<OwnedFd>) {
    let Some(pipe) = pipe else { return };
    if rustix::io::ioctl_fionbio(&pipe, true).is_err() {
        return;
    }
    let Ok(pipe) = readable(pipe) else { return };
    let filled = || rustix::io::ioctl_fionread(pipe.get_ref()).unwrap_or(0);
    loop {
        let Ok(mut ready) = pipe.readable().await else { return };
        let before = filled();
        tokio::time::sleep(ABANDONED).await;
        if before > 0 && filled() >= before {
            break;
        }
        if !has_writer(pipe.get_ref()) {
            return;
        }
        ready.clear_ready();
    }
    pump(pipe, Sink::Nowhere, Arc::default(), OnBreak::Discard).await;
}
