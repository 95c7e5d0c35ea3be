//! The daemon's side: starts workers, feeds them, reads their answers.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base::{Digest, ErrorKind};
use rustix::pipe::{PipeFlags, pipe_with};
use store::Blob;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::Semaphore;

use super::SUBCOMMAND;
use super::feed::feed_arriving;
use super::job::{Done, Job, Line};
use crate::differ::{Arriving, Progress};
use crate::error::{Error, Result};
use crate::layer::{Limits, MAX_UNDECIDED, Undecided};

/// Most bytes of a line of a worker.
const MAX_LINE: u64 = 64 * 1024;
/// Bytes of a pipe that feeds a worker.
const PIPE: usize = 1 << 20;
/// Most bytes of a worker's stderr that are kept for an error.
const MAX_STDERR: u64 = 16 * 1024;
/// How long the end of a dead worker's stderr is waited for.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Bytes of a remote blob that are asked for at a time.
const FEED: usize = 1 << 20;

/// How workers are run.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    /// The program, normally the daemon's own.
    pub program: PathBuf,
    /// Arguments before the job; `[SUBCOMMAND]` by default.
    pub arguments: Vec<String>,
    /// Where temporary mounts are made.
    pub tmp_dir: PathBuf,
    /// Most bytes of memory of one worker.
    pub memory: u64,
    /// How much a layer may bring.
    pub limits: Limits,
    /// Bytes of the file system of the snapshots that a layer must leave free, though at most a hundredth of it; 0: none.
    pub keep_free: u64,
    /// Workers that run at the same time.
    pub max_workers: usize,
    /// How long a worker may make no progress.
    pub stall: Duration,
}

impl WorkerOptions {
    /// Workers of `program`, with temporary mounts in `tmp_dir`.
    pub fn new(program: impl Into<PathBuf>, tmp_dir: impl Into<PathBuf>) -> Self {
        WorkerOptions {
            program: program.into(),
            arguments: vec![SUBCOMMAND.to_owned()],
            tmp_dir: tmp_dir.into(),
            memory: 1 << 30,
            limits: Limits { entries: Some(50_000_000), bytes: Some(1 << 40) },
            keep_free: 256 << 20,
            max_workers: std::thread::available_parallelism().map_or(2, |n| n.get().max(2)),
            stall: Duration::from_secs(600),
        }
    }
}

/// Where the bytes of a layer come from.
pub(crate) enum Source<'a> {
    /// All of them are there.
    Blob(&'a Blob),
    /// What a program makes of them comes out of here.
    Stream(OwnedFd),
    /// They are on their way.
    Arriving(&'a dyn Arriving),
}

/// What a worker did.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Digest of the plain tar.
    pub(crate) diff_id: Digest,
    /// Its bytes.
    pub(crate) size: u64,
    pub(crate) undecided: Vec<Undecided>,
    /// Too much is undecided.
    pub(crate) apply_again: bool,
}

/// Starts workers.
#[derive(Clone)]
pub(crate) struct Workers {
    options: Arc<WorkerOptions>,
    slots: Arc<Semaphore>,
}

impl Workers {
    pub(crate) fn new(options: WorkerOptions) -> Self {
        let slots = Arc::new(Semaphore::new(options.max_workers.max(1)));
        Workers { options: Arc::new(options), slots }
    }

    pub(crate) fn options(&self) -> &WorkerOptions {
        &self.options
    }

    /// Runs one job on the bytes of `source`. Dropping the future kills the worker.
    pub(crate) async fn run(
        &self,
        job: &Job,
        source: Source<'_>,
        progress: Option<Progress>,
    ) -> Result<Outcome> {
        let _slot = self.slots.acquire().await.map_err(|_| gone("worker slots are closed".into()))?;
        let stall = self.options.stall;
        let (blob, arriving) = match &source {
            Source::Blob(blob) => (Some(*blob), None),
            Source::Arriving(arriving) => (None, Some(*arriving)),
            Source::Stream(_) => (None, None),
        };
        let (mut child, pipe) = self.spawn(job, source)?;
        let stdin = child.stdin.take();
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(gone("unpack worker has no output".into()));
        };
        // Ends with the worker, which is dead when this future is done or dropped.
        let words = tokio::spawn(last_words(stderr));
        // Stays open until the end: a worker that nobody listens to gives up.
        let mut lines = BufReader::new(stdout);
        let starved = AtomicBool::new(false);
        let listening = Listening { stall, starved: &starved, progress, undecided: Vec::new() };
        let feeding = async {
            match (arriving, pipe) {
                (Some(arriving), Some(pipe)) => feed_arriving(pipe, arriving, &starved).await,
                _ => feed(stdin, blob).await,
            }
        };
        let (heard, fed) = converse(listening.run(&mut lines), feeding).await;
        if !matches!(heard, Ok(_) | Err(Heard::Nothing)) {
            let _dead_already = child.start_kill();
        }
        let status = match tokio::time::timeout(stall, child.wait()).await {
            Ok(status) => status.map_err(|e| Error::io("wait for", &self.options.program, e))?,
            Err(_) => return Err(gone(format!("unpack worker did not end within {}s", stall.as_secs()))),
        };
        drop(lines);
        // Something that the program started may hold its stderr open.
        let words = match tokio::time::timeout(LAST_WORDS, words).await {
            Ok(words) => words.map_err(Error::Task)?,
            Err(_) => String::new(),
        };
        judge(heard, fed, status, &words, stall)
    }

    /// The worker, and the end of the pipe that feeds it what is on its way.
    fn spawn(&self, job: &Job, source: Source<'_>) -> Result<(Child, Option<OwnedFd>)> {
        let program = &self.options.program;
        let job = serde_json::to_string(job).map_err(|e| gone(format!("encode job: {e}")))?;
        let (stdin, pipe) = match source {
            Source::Blob(blob) => (bytes_of(blob)?, None),
            Source::Stream(stream) => (Stdio::from(stream), None),
            Source::Arriving(_) => {
                let failed = |e| Error::io("make a pipe for", program, e);
                let (reading, writing) = pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
                // As it comes: the kernel may not allow that much.
                let _granted = sys::fifo::set_buffer(&writing, PIPE);
                (Stdio::from(reading), Some(writing))
            }
        };
        let child = Command::new(program)
            .args(&self.options.arguments)
            .arg(job)
            .env_clear()
            .current_dir("/")
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| Error::io("start unpack worker", program, e))?;
        Ok((child, pipe))
    }
}

/// Standard input of a program that reads `blob`: its file, or a pipe that is to be fed.
pub(crate) fn bytes_of(blob: &Blob) -> Result<Stdio> {
    let Some(file) = blob.try_file() else { return Ok(Stdio::piped()) };
    // A description of its own: the blob's offset is shared with other readers.
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    Ok(Stdio::from(File::open(&path).map_err(|e| Error::io("reopen", &path, e))?))
}

fn gone(message: String) -> Error {
    Error::refused(ErrorKind::Internal, message)
}

type Answer = std::result::Result<std::result::Result<(Done, Vec<Undecided>), (i32, String)>, Heard>;

/// Feeds while listening; the answer ends it.
async fn converse(
    listening: impl Future<Output = Answer>,
    feeding: impl Future<Output = Result<()>>,
) -> (Answer, Result<()>) {
    let (mut listening, mut feeding) = (std::pin::pin!(listening), std::pin::pin!(feeding));
    let mut fed = None;
    loop {
        tokio::select! {
            heard = &mut listening => return (heard, fed.unwrap_or(Ok(()))),
            done = &mut feeding, if fed.is_none() => fed = Some(done),
        }
    }
}

/// Writes a remote blob to a program; a local one it reads itself.
pub(crate) async fn feed(stdin: Option<ChildStdin>, blob: Option<&Blob>) -> Result<()> {
    let (Some(mut stdin), Some(blob)) = (stdin, blob) else { return Ok(()) };
    let mut offset = 0;
    loop {
        let chunk = blob.chunk(offset, FEED).await?;
        if chunk.is_empty() {
            return Ok(());
        }
        // A worker that has failed says so itself.
        if stdin.write_all(&chunk).await.is_err() {
            return Ok(());
        }
        offset += chunk.len() as u64;
    }
}

/// Why there is no answer.
enum Heard {
    Nothing,
    Stalled,
    Garbage(String),
}

/// Hears what a worker says.
struct Listening<'a> {
    stall: Duration,
    /// The worker waits for bytes that are not there yet: its silence says nothing.
    starved: &'a AtomicBool,
    progress: Option<Progress>,
    undecided: Vec<Undecided>,
}

impl Listening<'_> {
    /// Reads lines until the last one.
    async fn run(mut self, lines: &mut BufReader<ChildStdout>) -> Answer {
        loop {
            let line = self.line(lines).await?;
            match serde_json::from_slice(&line) {
                Ok(Line::Progress(used)) => {
                    if let Some(progress) = &self.progress {
                        progress(used);
                    }
                }
                Ok(Line::Undecided(one)) if self.undecided.len() < MAX_UNDECIDED => self.undecided.push(one),
                Ok(Line::Undecided(_)) => return Err(Heard::Garbage("too much is undecided".into())),
                Ok(Line::Done(done)) => return Ok(Ok((done, self.undecided))),
                Ok(Line::Failed { code, message }) => return Ok(Err((code, message))),
                Err(e) => return Err(Heard::Garbage(e.to_string())),
            }
        }
    }

    async fn line(&self, lines: &mut BufReader<ChildStdout>) -> std::result::Result<Vec<u8>, Heard> {
        let mut line = Vec::new();
        {
            let mut bounded = (&mut *lines).take(MAX_LINE);
            let mut read = std::pin::pin!(bounded.read_until(b'\n', &mut line));
            loop {
                match tokio::time::timeout(self.stall, &mut read).await {
                    // A source that stalls says so itself, and ends the feeding.
                    Err(_) if self.starved.load(Ordering::Relaxed) => {}
                    Err(_) => return Err(Heard::Stalled),
                    Ok(Err(_) | Ok(0)) => return Err(Heard::Nothing),
                    Ok(Ok(_)) => break,
                }
            }
        }
        Ok(line)
    }
}

/// What a program says on its standard error: the first part of it, when it has ended.
pub(crate) async fn last_words(stderr: ChildStderr) -> String {
    let mut said = Vec::new();
    let mut stderr = stderr;
    // What is beyond the limit is read and thrown away, so that the worker does not wait for us.
    let _closed = (&mut stderr).take(MAX_STDERR).read_to_end(&mut said).await;
    let _closed = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&said).trim().to_owned()
}

fn judge(heard: Answer, fed: Result<()>, status: ExitStatus, said: &str, stall: Duration) -> Result<Outcome> {
    use std::os::unix::process::ExitStatusExt;
    let with_words = |what: String| match said {
        "" => gone(what),
        said => gone(format!("{what}: {said}")),
    };
    match heard {
        Ok(Ok((done, undecided))) if status.success() => {
            fed?;
            let diff_id =
                done.diff_id.parse().map_err(|_| gone("unpack worker gave a malformed digest".into()))?;
            Ok(Outcome { diff_id, size: done.size, undecided, apply_again: done.apply_again })
        }
        Ok(Err((code, message))) => {
            // A source that failed is why the worker saw a short layer.
            fed?;
            Err(Error::refused(ErrorKind::from_code(code), message))
        }
        Err(Heard::Stalled) => {
            let message = format!("unpack worker made no progress for {}s", stall.as_secs());
            Err(Error::refused(ErrorKind::DeadlineExceeded, message))
        }
        Err(Heard::Garbage(what)) => Err(with_words(format!("unpack worker answered garbage: {what}"))),
        Ok(Ok(_)) | Err(Heard::Nothing) => Err(with_words(match status.signal() {
            Some(signal) => format!("unpack worker was killed by signal {signal}"),
            None => format!("unpack worker ended without an answer ({status})"),
        })),
    }
}
