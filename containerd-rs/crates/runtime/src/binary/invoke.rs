//! Runs a shim program and collects what it prints: bounded in time and size, nothing left running.

use std::convert::Infallible;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use base::{ErrorKind, Kinded};
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};

/// How much of a program's output is kept; the rest is read and dropped.
const KEPT_OUTPUT: usize = 64 << 10;

/// Why a shim program gave no usable result.
#[derive(Debug, thiserror::Error)]
pub enum InvokeError {
    /// It could not be run at all.
    #[error("run {program}")]
    Spawn {
        /// The program.
        program: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// It ran, and failed.
    #[error("{text}{status}", text = prefix(output))]
    Failed {
        /// What it printed.
        output: String,
        /// How it ended, in Go's words.
        status: String,
    },
    /// It did not end in time and was killed.
    #[error("{text}shim killed after {after:?}: {program} {action} did not end", text = prefix(output))]
    TimedOut {
        /// The program.
        program: PathBuf,
        /// What it was asked to do.
        action: &'static str,
        /// How long it had.
        after: Duration,
        /// What it printed until then.
        output: String,
    },
}

fn prefix(output: &str) -> String {
    if output.is_empty() { String::new() } else { format!("{output}: ") }
}

impl Kinded for InvokeError {
    fn kind(&self) -> ErrorKind {
        match self {
            InvokeError::Spawn { .. } | InvokeError::Failed { .. } => ErrorKind::Unknown,
            InvokeError::TimedOut { .. } => ErrorKind::DeadlineExceeded,
        }
    }
}

/// Reads after a program's end: more than a pipe holds at once.
const LAST_READS: u32 = 512;

/// One run of a shim program.
pub(crate) struct Invocation<'a> {
    pub(crate) program: &'a Path,
    /// What is asked of it, for messages: `start`, `delete`, `-info`, `-v`.
    pub(crate) action: &'static str,
    pub(crate) args: Vec<OsString>,
    pub(crate) cwd: Option<&'a Path>,
    pub(crate) env: &'a [(OsString, OsString)],
    pub(crate) stdin: Vec<u8>,
    /// Standard error goes into the same output, as `start` promises.
    pub(crate) merged: bool,
    pub(crate) limit: Duration,
}

/// What a program that ended well printed.
#[derive(Debug, Default)]
pub(crate) struct Output {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

impl Invocation<'_> {
    /// Runs it to its end. Dropping the future kills the program.
    pub(crate) async fn run(self) -> Result<Output, InvokeError> {
        let spawn_error = |source| InvokeError::Spawn { program: self.program.to_owned(), source };
        let (mut child, mut readers) = self.spawn().map_err(spawn_error)?;
        let stdin = child.stdin.take();
        let feed = async {
            if let Some(mut pipe) = stdin {
                // A program that does not read its input is free to.
                let _ = pipe.write_all(&self.stdin).await;
            }
        };
        let finish = async {
            let fed = async {
                feed.await;
                std::future::pending::<Infallible>().await
            };
            tokio::select! {
                never = fed => match never {},
                status = collect(&mut child, &mut readers) => status,
            }
        };
        match tokio::time::timeout(self.limit, finish).await {
            Ok(Ok(status)) if status.success() => Ok(Output {
                stdout: readers.stdout.kept,
                stderr: readers.stderr.map(|r| r.kept).unwrap_or_default(),
            }),
            Ok(Ok(status)) => {
                Err(InvokeError::Failed { output: readers.complaint(), status: go_status(status) })
            }
            Ok(Err(source)) => Err(spawn_error(source)),
            Err(_) => {
                kill_group(&mut child).await;
                Err(InvokeError::TimedOut {
                    program: self.program.to_owned(),
                    action: self.action,
                    after: self.limit,
                    output: readers.complaint(),
                })
            }
        }
    }

    fn spawn(&self) -> io::Result<(Child, Readers)> {
        let mut command = Command::new(self.program);
        command.args(&self.args).envs(self.env.iter().map(|(k, v)| (k, v)));
        command.process_group(0).kill_on_drop(true);
        command.stdin(if self.stdin.is_empty() { Stdio::null() } else { Stdio::piped() });
        if let Some(cwd) = self.cwd {
            command.current_dir(cwd);
        }
        let (stdout, out) = io::pipe()?;
        let stderr = if self.merged {
            command.stderr(out.try_clone()?);
            None
        } else {
            let (stderr, err) = io::pipe()?;
            command.stderr(err);
            Some(Reader::new(stderr)?)
        };
        command.stdout(out);
        let child = command.spawn()?;
        Ok((child, Readers { stdout: Reader::new(stdout)?, stderr }))
    }
}

/// Reads until the program has ended. Who else holds the pipes does not matter: a shim that leaked them to its
/// server must not hold up anyone.
async fn collect(child: &mut Child, readers: &mut Readers) -> io::Result<ExitStatus> {
    let Readers { stdout, stderr } = readers;
    let status = loop {
        tokio::select! {
            biased;
            status = child.wait() => break status?,
            () = stdout.pump() => {}
            () = async { match stderr { Some(r) => r.pump().await, None => std::future::pending().await } } => {}
        }
    };
    stdout.finish();
    if let Some(stderr) = stderr {
        stderr.finish();
    }
    Ok(status)
}

async fn kill_group(child: &mut Child) {
    if let Some(pid) = child.id().and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?)) {
        // The group may be gone already.
        let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
    }
    // Killed with SIGKILL: only a process in an uninterruptible sleep could make this wait.
    let _ = tokio::time::timeout(Duration::from_secs(1), child.wait()).await;
}

struct Readers {
    stdout: Reader,
    stderr: Option<Reader>,
}

impl Readers {
    /// What the program said about its trouble, as one printable line or more.
    fn complaint(&self) -> String {
        let bytes = match &self.stderr {
            Some(stderr) if !stderr.kept.is_empty() => &stderr.kept,
            _ => &self.stdout.kept,
        };
        printable(bytes, 4096)
    }
}

struct Reader {
    pipe: Option<pipe::Receiver>,
    kept: Vec<u8>,
}

impl Reader {
    fn new(pipe: io::PipeReader) -> io::Result<Self> {
        Ok(Self { pipe: Some(pipe::Receiver::from_owned_fd(OwnedFd::from(pipe))?), kept: Vec::new() })
    }

    /// Waits for output and takes it; never returns again after the end of it. Cancel-safe.
    async fn pump(&mut self) {
        match &self.pipe {
            Some(pipe) if pipe.readable().await.is_ok() => self.drain(),
            Some(_) => self.pipe = None,
            None => std::future::pending().await,
        }
    }

    /// Takes what the pipe is known to hold.
    fn drain(&mut self) {
        let mut buffer = [0u8; 4096];
        while let Some(pipe) = &self.pipe {
            match pipe.try_read(&mut buffer) {
                Ok(0) => self.pipe = None,
                Ok(n) => self.keep(&buffer[..n]),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.pipe = None,
            }
        }
    }

    /// Takes what a program that has ended left in the pipe. Asks the kernel: the event loop may have heard of the
    /// end before it heard of the last bytes. Who else writes there is not waited for, nor read for ever.
    fn finish(&mut self) {
        let Some(pipe) = self.pipe.take() else { return };
        let mut buffer = [0u8; 4096];
        let mut left = LAST_READS;
        while left > 0 {
            left -= 1;
            match rustix::io::read(&pipe, &mut buffer) {
                Ok(0) => return,
                Ok(n) => self.keep(&buffer[..n]),
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = KEPT_OUTPUT.saturating_sub(self.kept.len()).min(bytes.len());
        self.kept.extend_from_slice(&bytes[..room]);
    }
}

/// Bytes of unknown origin as text for a message: trimmed, shortened, control characters out.
pub(crate) fn printable(bytes: &[u8], max: usize) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut out: String = text
        .trim()
        .chars()
        .take(max)
        .map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c })
        .collect();
    if text.trim().chars().nth(max).is_some() {
        out.push_str("...");
    }
    out
}

fn go_status(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(9)) => "signal: killed".to_owned(),
        (None, Some(signal)) => format!("signal: {signal}"),
        (None, None) => status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::io::Write;

    #[tokio::test]
    async fn last_words_are_heard_before_the_event_loop_tells_of_them() {
        let (ours, mut theirs) = io::pipe().unwrap();
        let mut reader = Reader::new(ours).unwrap();
        // The event loop has no turn between the write and the read.
        theirs.write_all(b"unix:///run/s/x").unwrap();
        reader.finish();
        assert_eq!(reader.kept, b"unix:///run/s/x");
    }

    #[tokio::test]
    async fn what_others_go_on_writing_holds_up_nobody() {
        let (ours, mut theirs) = io::pipe().unwrap();
        let mut reader = Reader::new(ours).unwrap();
        let writer = std::thread::spawn(move || while theirs.write_all(&[b'y'; 65536]).is_ok() {});
        reader.finish();
        assert!(reader.kept.len() <= KEPT_OUTPUT);
        drop(reader);
        writer.join().unwrap();
    }
}
