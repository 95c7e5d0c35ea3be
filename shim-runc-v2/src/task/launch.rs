//! What create, exec and restore have in common: streams, terminal, runtime, pid.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base::Error;
use tokio::sync::oneshot;

use crate::io::console::ConsoleSocket;
use crate::io::{Prepared, Running};
use crate::reaper::{Exit, Reaper};
use crate::runc::{Failed, Launch, Streams};
use crate::task::cancel::Cancel;

/// A runtime that is silent for so long may be waiting for somebody to read its output.
const PUMP_ANYWAY: Duration = Duration::from_secs(2);

/// A pid file larger than this is none.
const MAX_PID_FILE: u64 = 64;

/// One launch.
pub(crate) struct Plan {
    /// Where the runtime writes the pid.
    pub(crate) pid_file: PathBuf,
    /// Whether the process gets a terminal.
    pub(crate) terminal: bool,
    /// Time that the caller leaves us.
    pub(crate) limit: Duration,
    /// Stops it.
    pub(crate) cancel: Option<Cancel>,
}

/// Why a launch failed: the runtime, or we after it (then the process may exist).
pub(crate) enum Broken {
    /// The runtime's run failed.
    Runtime(Failed),
    /// Something before or after it.
    Shim(Error),
}

impl From<Error> for Broken {
    fn from(e: Error) -> Self {
        Broken::Shim(e)
    }
}

impl Broken {
    /// The message for clients.
    pub(crate) fn told_as(self, what: &str) -> Error {
        match self {
            Broken::Runtime(failed) => Error::unknown(failed.told_as(what)),
            Broken::Shim(e) => e,
        }
    }
}

/// A process that the runtime has started.
pub(crate) struct Launched {
    /// As the host numbers it.
    pub(crate) pid: u32,
    /// Its end, even when that is past already.
    pub(crate) exit: oneshot::Receiver<Exit>,
    /// Its streams.
    pub(crate) streams: Running,
}

/// Runs `runtime` with the streams until the process exists.
///
/// # Errors
/// [`Broken`]; all streams are closed then.
pub(crate) async fn launch<F>(
    reaper: &Reaper,
    plan: Plan,
    mut prepared: Prepared,
    runtime: impl FnOnce(Launch) -> F,
) -> Result<Launched, Broken>
where
    F: Future<Output = Result<(), Failed>>,
{
    // From before the process can exist until its exit is watched, exits of strangers are kept.
    let _expecting = reaper.expect();
    let socket = if plan.terminal { Some(ConsoleSocket::new()?) } else { None };
    let streams = if plan.terminal {
        Streams::Capture
    } else {
        let (stdin, stdout, stderr) = prepared.take_child_ends();
        Streams::Given { stdin, stdout, stderr }
    };
    // A pid of an earlier try must not be taken for this one's.
    let _ = std::fs::remove_file(&plan.pid_file);
    let run = runtime(Launch {
        pid_file: plan.pid_file.clone(),
        console_socket: socket.as_ref().map(|s| s.path().to_owned()),
        streams,
        cancel: plan.cancel,
        limit: plan.limit,
    });
    tokio::pin!(run);
    // What the runtime prints before the process exists goes to the same pipes. It is not shown when it is
    // little and the run fails; the reason is in the error. When it is more than a pipe holds, it must be read.
    let running = match tokio::time::timeout(PUMP_ANYWAY, &mut run).await {
        Ok(done) => {
            done.map_err(Broken::Runtime)?;
            None
        }
        Err(_) if plan.terminal => {
            run.await.map_err(Broken::Runtime)?;
            None
        }
        Err(_) => {
            let running = std::mem::take(&mut prepared).run()?;
            run.await.map_err(Broken::Runtime)?;
            Some(running)
        }
    };
    let running = match (running, socket) {
        (Some(running), _) => running,
        (None, Some(socket)) => prepared.run_terminal(socket.receive().await?)?,
        (None, None) => prepared.run()?,
    };
    let pid = read_pid(&plan.pid_file)?;
    Ok(Launched { pid, exit: reaper.watch(pid), streams: running })
}

/// The pid that the runtime wrote.
///
/// # Errors
/// The file is missing or holds none.
pub(crate) fn read_pid(path: &Path) -> Result<u32, Error> {
    use std::io::Read;
    let failed = |e: &dyn std::fmt::Display| {
        Error::unknown(format!("failed to retrieve OCI runtime container pid: {e}"))
    };
    let mut text = String::new();
    let file =
        std::fs::File::open(path).map_err(|e| failed(&format_args!("open {}: {e}", path.display())))?;
    file.take(MAX_PID_FILE).read_to_string(&mut text).map_err(|e| failed(&e))?;
    match text.trim().parse() {
        Ok(pid) if pid > 0 => Ok(pid),
        _ => Err(failed(&format_args!("{:?} is no pid", text.trim()))),
    }
}
