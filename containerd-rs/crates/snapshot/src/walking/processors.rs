//! Stream processors: programs that turn a layer of one media type into another, as `[stream_processors]` names them (decryption, above all).
//!
//! The protocol is containerd's: the layer on standard input, the result on standard output, the media type of the input in
//! `STREAM_PROCESSOR_MEDIATYPE`, the caller's payload for this processor (an encoded `google.protobuf.Any`) on descriptor 3 when there is one.
//! A program that ends with a failure fails the apply with what it said on standard error. Each reads what the one before it writes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use base::{Any, ErrorKind};
use rustix::pipe::{PipeFlags, pipe_with};
use store::Blob;
use tokio::process::{Child, ChildStdin, Command};
use tokio::task::JoinHandle;

use crate::error::{Error, Result};
use crate::worker::{bytes_of, feed, last_words};

/// Tells a program what it gets.
const MEDIA_TYPE: &str = "STREAM_PROCESSOR_MEDIATYPE";
/// How long the end of a dead program's standard error is waited for.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How long a program has to end when its output is not wanted any more.
const GRACE: Duration = Duration::from_secs(5);

/// A program that makes layers out of something else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamProcessor {
    /// Its name, which payloads are meant for.
    pub id: String,
    /// Media types that it takes.
    pub accepts: Vec<String>,
    /// Media type that it gives.
    pub returns: String,
    /// Path of the program, or its name in `PATH`.
    pub path: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// `KEY=value` for its environment, on top of the daemon's.
    pub env: Vec<String>,
}

/// One program and what it is given.
pub(super) struct Step<'a> {
    pub(super) processor: &'a StreamProcessor,
    pub(super) media_type: String,
}

/// Programs at work. Dropping it kills them.
pub(super) struct Chain {
    running: Vec<Running>,
    stdin: std::sync::Mutex<Option<ChildStdin>>,
}

struct Running {
    name: String,
    path: PathBuf,
    child: Child,
    words: JoinHandle<String>,
}

impl Chain {
    /// Starts the programs, the first on the bytes of `blob`; the result comes out of the descriptor.
    pub(super) fn start(
        steps: &[Step<'_>],
        blob: &Blob,
        payloads: &BTreeMap<String, Any>,
    ) -> Result<(Self, OwnedFd)> {
        let mut running: Vec<Running> = Vec::with_capacity(steps.len());
        let mut output = None;
        for step in steps {
            let input = match output.take() {
                None => bytes_of(blob)?,
                Some(before) => Stdio::from(before),
            };
            let (started, out) = start(step, input, payloads.get(&step.processor.id))
                .map_err(|e| e.during(format!("failed to get stream processor for {}", step.media_type)))?;
            running.push(started);
            output = Some(out);
        }
        let stdin = running.first_mut().and_then(|first| first.child.stdin.take());
        let output = output.ok_or_else(|| Error::refused(ErrorKind::Internal, "no stream processor"))?;
        Ok((Chain { running, stdin: std::sync::Mutex::new(stdin) }, output))
    }

    /// Feeds the first program, if it needs that, while `work` is done; how both ended.
    pub(super) async fn feed_while<T>(&self, work: impl Future<Output = T>, blob: &Blob) -> (T, Result<()>) {
        let stdin = self.stdin.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let (mut work, mut feeding) = (std::pin::pin!(work), std::pin::pin!(feed(stdin, Some(blob))));
        let mut fed = None;
        loop {
            tokio::select! {
                done = &mut work => return (done, fed.unwrap_or(Ok(()))),
                end = &mut feeding, if fed.is_none() => fed = Some(end),
            }
        }
    }

    /// Waits for the programs, each for `limit` at most; `failed` is why the layer could not be applied, when it could not.
    ///
    /// # Errors
    /// What the first program that failed said.
    pub(super) async fn finish(self, limit: Duration, failed: Option<&Error>) -> Result<()> {
        let mut first = None;
        for running in self.running {
            if let Err(e) = running.finish(limit, failed).await {
                first.get_or_insert(e);
            }
        }
        first.map_or(Ok(()), Err)
    }
}

fn start(step: &Step<'_>, input: Stdio, payload: Option<&Any>) -> Result<(Running, OwnedFd)> {
    let processor = step.processor;
    let failed = |e: std::io::Error| Error::io("start stream processor", &processor.path, e);
    let (reading, writing) = pipe_with(PipeFlags::CLOEXEC).map_err(|e| failed(e.into()))?;
    let mut command = Command::new(&processor.path);
    command.args(&processor.args).stdin(input).stdout(writing).stderr(Stdio::piped()).kill_on_drop(true);
    command.envs(processor.env.iter().filter_map(|pair| pair.split_once('=')));
    command.env(MEDIA_TYPE, &step.media_type);
    let mut giving = None;
    if let Some(payload) = payload {
        let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC).map_err(|e| failed(e.into()))?;
        sys::spawn::pass_fds(command.as_std_mut(), vec![theirs]).map_err(failed)?;
        giving = Some((File::from(ours), encode(payload)));
    }
    let mut child = command.spawn().map_err(failed)?;
    // With it go our ends of the pipes: the program's end of input is the end of the one before it.
    drop(command);
    if let Some((mut pipe, bytes)) = giving {
        // A program that does not want it all closes its end, at the latest when it ends.
        tokio::task::spawn_blocking(move || drop(pipe.write_all(&bytes)));
    }
    let stderr = child.stderr.take().ok_or_else(|| failed(std::io::ErrorKind::BrokenPipe.into()))?;
    let words = tokio::spawn(last_words(stderr));
    let name = format!("{} ({})", processor.id, processor.path.display());
    Ok((Running { name, path: processor.path.clone(), child, words }, reading))
}

impl Running {
    async fn finish(mut self, limit: Duration, failed: Option<&Error>) -> Result<()> {
        if failed.is_some() {
            // Nobody reads on. One that failed is about to end; another one would wait for ever.
            if tokio::time::timeout(GRACE, self.child.wait()).await.is_err() {
                let _dead_already = self.child.start_kill();
            }
        }
        let name = &self.name;
        let status = match tokio::time::timeout(limit, self.child.wait()).await {
            Ok(status) => status.map_err(|e| Error::io("wait for stream processor", &self.path, e))?,
            Err(_) => {
                let message = format!("stream processor {name} did not end within {}s", limit.as_secs());
                return Err(Error::refused(ErrorKind::DeadlineExceeded, message));
            }
        };
        // Killed by us, or by the pipe that nobody reads any more: not the cause.
        if status.success() || failed.is_some() && status.code().is_none() {
            return Ok(());
        }
        let said = match tokio::time::timeout(LAST_WORDS, self.words).await {
            Ok(said) => said.map_err(Error::Task)?,
            Err(_) => String::new(),
        };
        let mut message = format!("stream processor {name} failed with {status}");
        if !said.is_empty() {
            message.push_str(": ");
            message.push_str(&said);
        }
        if let Some(failed) = failed {
            message = format!("{message} (layer: {})", base::chain(failed));
        }
        Err(Error::refused(ErrorKind::Unknown, message))
    }
}

/// `google.protobuf.Any` on the wire: type url as field 1, value as field 2.
fn encode(any: &Any) -> Vec<u8> {
    let mut out = Vec::with_capacity(any.type_url.len() + any.value.len() + 16);
    for (tag, bytes) in [(0x0a, any.type_url.as_bytes()), (0x12, &any.value[..])] {
        if bytes.is_empty() {
            continue;
        }
        out.push(tag);
        let mut length = bytes.len();
        while length >= 0x80 {
            out.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        out.push(length as u8);
        out.extend_from_slice(bytes);
    }
    out
}
