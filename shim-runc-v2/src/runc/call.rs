//! One run of the runtime: spawn, wait, and the reason when it fails.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use crate::reaper::Reaper;
use crate::runc::log;
use crate::task::cancel::{Cancel, cancelled};

/// Output kept of a run; more is read and thrown away, so that the runtime never blocks on us.
const MAX_OUTPUT: usize = 4 << 20;

/// Where the runtime's three streams go.
pub(crate) enum Streams {
    /// To nowhere in, and one pipe out that we read.
    Capture,
    /// The container's own: what the runtime starts inherits them.
    Given {
        /// Standard input; none: /dev/null.
        stdin: Option<OwnedFd>,
        /// Standard output; none: /dev/null.
        stdout: Option<OwnedFd>,
        /// Standard error; none: /dev/null.
        stderr: Option<OwnedFd>,
    },
}

/// One run.
pub(crate) struct Call<'a> {
    /// The program, as the options name it.
    pub(crate) binary: &'a str,
    /// Its words.
    pub(crate) args: Vec<String>,
    /// Its streams.
    pub(crate) streams: Streams,
    /// The log it was told to write, if any.
    pub(crate) log: Option<PathBuf>,
    /// It is killed when it takes longer.
    pub(crate) limit: Duration,
    /// It is killed when this is set off.
    pub(crate) cancel: Option<Cancel>,
}

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The program could not be started.
    #[error("{}", not_started(.binary, .source))]
    Spawn {
        /// As named.
        binary: String,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// It ended with another status than 0.
    #[error("{}", ended(.binary, *.status, .output))]
    Status {
        /// As named.
        binary: String,
        /// Exit code, or 128 + signal.
        status: u32,
        /// What it printed, when that was captured.
        output: String,
    },
    /// It was killed because it took too long.
    #[error("{binary} did not finish within {} s and was killed", .limit.as_secs())]
    TimedOut {
        /// As named.
        binary: String,
        /// The time it had.
        limit: Duration,
    },
    /// It was killed because the shim was told to shut down.
    #[error("{binary} was killed: context canceled")]
    Cancelled {
        /// As named.
        binary: String,
    },
}

fn not_started(binary: &str, source: &std::io::Error) -> String {
    let missing = source.kind() == std::io::ErrorKind::NotFound;
    match (missing, binary.contains('/')) {
        (true, false) => format!("exec: {binary:?}: executable file not found in $PATH"),
        (true, true) => format!("fork/exec {binary}: no such file or directory"),
        (false, _) => format!("fork/exec {binary}: {source}"),
    }
}

fn ended(binary: &str, status: u32, output: &str) -> String {
    let output = output.trim();
    let colon = if output.is_empty() { "" } else { ": " };
    format!("{binary} did not terminate successfully: exit status {status}{colon}{output}")
}

/// A failure and the runtime's own words about it.
#[derive(Debug)]
pub(crate) struct Failed {
    /// What happened to the run.
    pub(crate) failure: Failure,
    /// Last error in its log: `Err` when the log cannot be read.
    logged: Result<Option<String>, String>,
}

impl Failed {
    /// The message for clients, after `what` ("OCI runtime create failed").
    pub(crate) fn told_as(&self, what: &str) -> String {
        match &self.logged {
            Err(why) => format!("{what}: unable to retrieve OCI runtime error ({why}): {}", self.failure),
            Ok(Some(message)) if !message.is_empty() => format!("{what}: {message}"),
            Ok(_) => format!("{what}: {}", self.failure),
        }
    }

    /// Whether the runtime says that it does not know the container (any more).
    pub(crate) fn says_gone(&self) -> bool {
        let words = self.words();
        // The second is crun's, of its directory for the container.
        words.contains("does not exist")
            || (words.contains("cannot open directory") && words.contains("No such file or directory"))
    }

    /// Everything known, for decisions on words.
    pub(crate) fn words(&self) -> String {
        match &self.logged {
            Ok(Some(message)) => format!("{}: {message}", self.failure),
            _ => self.failure.to_string(),
        }
    }
}

/// Runs the runtime to its end and gives what it printed (when captured).
///
/// Not cancel-safe: a dropped future leaves the process running; call it from a spawned task.
///
/// # Errors
/// [`Failed`], with the runtime's own words when it wrote any.
pub(crate) async fn run(reaper: &Reaper, call: Call<'_>) -> Result<Vec<u8>, Failed> {
    let start = call.log.as_deref().map(log::mark).unwrap_or_default();
    let log = call.log.clone();
    execute(reaper, call).await.map_err(|failure| Failed { failure, logged: logged(log.as_deref(), &start) })
}

fn logged(log: Option<&Path>, start: &log::Mark) -> Result<Option<String>, String> {
    let Some(path) = log else { return Ok(None) };
    log::last_error(path, start).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => format!("open {}: no such file or directory", path.display()),
        _ => format!("open {}: {e}", path.display()),
    })
}

async fn execute(reaper: &Reaper, call: Call<'_>) -> Result<Vec<u8>, Failure> {
    let binary = call.binary.to_owned();
    let (pid, mut output) = spawn(call.binary, &call.args, call.streams)
        .map_err(|source| Failure::Spawn { binary: binary.clone(), source })?;
    let mut exit = reaper.watch(pid);
    let mut text = Vec::new();
    let mut stopped = None;
    let limit = tokio::time::sleep(call.limit);
    tokio::pin!(limit);
    let status = loop {
        tokio::select! {
            exit = &mut exit => break exit.map_or(255, |e| e.code),
            () = read_some(&mut output, &mut text) => {}
            () = &mut limit, if stopped.is_none() => {
                stopped = Some(Failure::TimedOut { binary: binary.clone(), limit: call.limit });
                kill(pid);
            }
            () = cancelled(call.cancel.as_ref()), if stopped.is_none() => {
                stopped = Some(Failure::Cancelled { binary: binary.clone() });
                kill(pid);
            }
        }
    };
    drain(&mut output, &mut text);
    match (stopped, status) {
        (Some(failure), _) => Err(failure),
        (None, 0) => Ok(text),
        (None, status) => {
            Err(Failure::Status { binary, status, output: log::clipped(&String::from_utf8_lossy(&text)) })
        }
    }
}

/// Starts the runtime; its copies of the container's streams are closed here when this returns.
fn spawn(binary: &str, args: &[String], streams: Streams) -> std::io::Result<(u32, Option<pipe::Receiver>)> {
    let mut command = Command::new(binary);
    command.args(args).env_remove("NOTIFY_SOCKET");
    let output = match streams {
        Streams::Capture => Some(capture(&mut command)?),
        Streams::Given { stdin, stdout, stderr } => {
            command.stdin(given(stdin)).stdout(given(stdout)).stderr(given(stderr));
            None
        }
    };
    // The runtime dies with us: nobody would know of what it left half-made.
    sys::spawn::die_with_parent(&mut command);
    // Ours are blocked; a container must get its own.
    sys::spawn::unblock_signals(&mut command);
    Ok((command.spawn()?.id(), output))
}

fn given(fd: Option<OwnedFd>) -> Stdio {
    fd.map_or_else(Stdio::null, |fd| Stdio::from(File::from(fd)))
}

fn capture(command: &mut Command) -> std::io::Result<pipe::Receiver> {
    let (ours, theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let also = theirs.try_clone()?;
    command.stdin(Stdio::null()).stdout(File::from(theirs)).stderr(File::from(also));
    pipe::Receiver::from_owned_fd(ours)
}

async fn read_some(output: &mut Option<pipe::Receiver>, text: &mut Vec<u8>) {
    let Some(receiver) = output else { return std::future::pending().await };
    let mut buffer = [0; 1024];
    match receiver.read(&mut buffer).await {
        Ok(n) if n > 0 => keep(text, &buffer[..n]),
        _ => *output = None,
    }
}

/// What is in the pipe now. Its end may never come: what the runtime left running can hold it.
fn drain(output: &mut Option<pipe::Receiver>, text: &mut Vec<u8>) {
    let Some(receiver) = output else { return };
    let mut buffer = [0; 4096];
    // Asks the kernel: the event loop may have heard of the end before it heard of the last bytes.
    while let Ok(n) = rustix::io::read(&*receiver, &mut buffer) {
        if n == 0 || text.len() >= MAX_OUTPUT {
            return;
        }
        keep(text, &buffer[..n]);
    }
}

fn keep(text: &mut Vec<u8>, more: &[u8]) {
    let room = MAX_OUTPUT.saturating_sub(text.len());
    text.extend_from_slice(&more[..more.len().min(room)]);
}

fn kill(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn go_words_for_a_missing_runtime() {
        let missing = || std::io::Error::from(std::io::ErrorKind::NotFound);
        assert_eq!(
            not_started("no-runc", &missing()),
            "exec: \"no-runc\": executable file not found in $PATH"
        );
        assert_eq!(not_started("/x/runc", &missing()), "fork/exec /x/runc: no such file or directory");
    }

    #[test]
    fn words_for_a_container_that_is_gone() {
        for (words, gone) in [
            ("container \"a\" does not exist", true),
            ("container does not exist", true),
            ("cannot open directory `/run/crun/a`: No such file or directory", true),
            ("open /b/log: No such file or directory", false),
        ] {
            let failure = Failure::Status { binary: "r".into(), status: 1, output: String::new() };
            assert_eq!(Failed { failure, logged: Ok(Some(words.into())) }.says_gone(), gone, "{words}");
        }
    }

    #[test]
    fn the_runtimes_own_words_come_first() {
        let failure = || Failure::Status { binary: "runc".into(), status: 1, output: "  oops\n".into() };
        let of = |logged| Failed { failure: failure(), logged }.told_as("OCI runtime create failed");
        assert_eq!(of(Ok(Some("no such image".into()))), "OCI runtime create failed: no such image");
        let plain = "OCI runtime create failed: runc did not terminate successfully: exit status 1: oops";
        assert_eq!(of(Ok(None)), plain);
        assert_eq!(of(Ok(Some(String::new()))), plain);
        assert_eq!(
            of(Err("open /b/log.json: no such file or directory".into())),
            "OCI runtime create failed: unable to retrieve OCI runtime error (open /b/log.json: no such file or directory): \
             runc did not terminate successfully: exit status 1: oops"
        );
    }
}
