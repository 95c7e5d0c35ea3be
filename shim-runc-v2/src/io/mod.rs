//! The streams of a process: from what the client named to what the process gets, and the pumps between.
//!
//! Everything is opened before the runtime is run, without ever waiting for a peer, and the pumps start
//! once it has run. Spawns one task for each stream that is copied; they end with their source, or when
//! [`Running`] is closed.

pub(crate) mod console;
pub(crate) mod logger;
pub(crate) mod pump;
pub(crate) mod uri;
pub(crate) mod watch;

use std::fs::{File, OpenOptions};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use base::Error;
use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::reaper::Reaper;
use crate::task::cancel::Cancel;
use pump::{OnBreak, Progress, Sink, pump};
pub(crate) use uri::Stdio;
use uri::{Target, plain};
use watch::Watched;

/// Draining output of a process that ended takes no longer than this, as in the original.
const DRAIN: Duration = Duration::from_secs(10);
/// Output whose reader takes nothing for so long is given up.
const STALLED: Duration = Duration::from_secs(3);
/// So is output that something else than the process still could write, but does not.
const SILENT: Duration = Duration::from_secs(1);

/// Time for output that is on its way when a terminal is hung up.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// For whom the streams are.
pub(crate) struct Owner<'a> {
    /// Container, or exec.
    pub(crate) id: &'a str,
    /// Namespace of the container.
    pub(crate) namespace: &'a str,
    /// Owner of the pipes that the process gets.
    pub(crate) uid: u32,
    /// Group of them.
    pub(crate) gid: u32,
    /// Time that the caller leaves us.
    pub(crate) limit: Duration,
    /// Stops what waits.
    pub(crate) cancel: Option<&'a Cancel>,
}

/// Streams that are open on our side and wait for the process.
#[derive(Default)]
pub(crate) struct Prepared {
    /// What the process reads.
    pub(crate) stdin: Option<OwnedFd>,
    /// What it writes.
    pub(crate) stdout: Option<OwnedFd>,
    /// What it writes its errors to.
    pub(crate) stderr: Option<OwnedFd>,
    feed: Option<Feed>,
    outputs: Vec<(OwnedFd, Sink)>,
    logger: Option<logger::Logger>,
}

/// A client's fifo on its way in.
struct Feed {
    fifo: OwnedFd,
    /// Keeps the fifo from ending when the client goes; dropped by `close_io`.
    keep: OwnedFd,
    /// Where it goes; a terminal comes later.
    to: Option<OwnedFd>,
}

/// Opens the streams of a process.
///
/// # Errors
/// A stream that cannot be opened, an unknown scheme, a logger that does not start.
pub(crate) async fn prepare(reaper: &Reaper, stdio: &Stdio, owner: &Owner<'_>) -> Result<Prepared, Error> {
    let mut prepared = Prepared::default();
    let target = uri::target(stdio)?;
    if !stdio.stdin.is_empty() {
        prepared.feed = Some(feed(plain(&stdio.stdin))?);
    }
    if !stdio.terminal
        && let Some(feed) = &mut prepared.feed
    {
        let (theirs, ours) = owned_pipe(owner)?;
        feed.to = Some(nonblocking(ours)?);
        prepared.stdin = Some(theirs);
    }
    match target {
        Target::Null => {}
        Target::Logger(uri) => {
            let fed = logger::start(reaper, &uri, owner).await?;
            prepared.logger = Some(fed.logger);
            if stdio.terminal {
                prepared.outputs.push((fed.stderr, Sink::Stream(writable(nonblocking(fed.stdout)?)?)));
            } else {
                prepared.stdout = Some(fed.stdout);
                prepared.stderr = Some(fed.stderr);
            }
        }
        Target::File(path) => {
            let file = Arc::new(append(&path, true)?);
            prepared.stdout = Some(prepared.output(Sink::File(file.clone()), owner)?);
            if !stdio.terminal {
                prepared.stderr = Some(prepared.output(Sink::File(file), owner)?);
            }
        }
        Target::Paths => prepared.paths(stdio, owner)?,
    }
    Ok(prepared)
}

impl Prepared {
    fn paths(&mut self, stdio: &Stdio, owner: &Owner<'_>) -> Result<(), Error> {
        let (out, err) = (plain(&stdio.stdout), plain(&stdio.stderr));
        let mut shared = None;
        if !out.is_empty() {
            let sink = sink_of(out)?;
            if let Sink::File(file) = &sink
                && out == err
            {
                shared = Some(Sink::File(file.clone()));
            }
            self.stdout = Some(self.output(sink, owner)?);
        }
        if !err.is_empty() && !stdio.terminal {
            let sink = shared.map_or_else(|| sink_of(err), Ok)?;
            self.stderr = Some(self.output(sink, owner)?);
        }
        Ok(())
    }

    /// A pipe for the process whose other end will be pumped into `sink`.
    fn output(&mut self, sink: Sink, owner: &Owner<'_>) -> Result<OwnedFd, Error> {
        let (ours, theirs) = owned_pipe(owner)?;
        self.outputs.push((nonblocking(ours)?, sink));
        Ok(theirs)
    }

    /// Takes the process's ends.
    pub(crate) fn take_child_ends(&mut self) -> (Option<OwnedFd>, Option<OwnedFd>, Option<OwnedFd>) {
        (self.stdin.take(), self.stdout.take(), self.stderr.take())
    }

    /// Starts the pumps of a process with plain streams.
    ///
    /// # Errors
    /// A descriptor cannot be watched.
    pub(crate) fn run(mut self) -> Result<Running, Error> {
        let mut running = Running::new(self.logger.take());
        for (fd, sink) in self.outputs.drain(..) {
            running.output(watch::readable(fd).map_err(io_error)?, sink);
        }
        if let Some(feed) = self.feed.take()
            && let Some(to) = feed.to
        {
            running.input(feed.fifo, feed.keep, writable(to)?)?;
        }
        Ok(running)
    }

    /// Starts the pumps between a terminal and the client's streams.
    ///
    /// # Errors
    /// A descriptor cannot be watched.
    pub(crate) fn run_terminal(mut self, master: OwnedFd) -> Result<Running, Error> {
        // Pipes made for plain streams are not used: the terminal is the one source.
        let sink = self.outputs.drain(..).map(|(_, sink)| sink).next();
        drop(self.take_child_ends());
        let master = watch::both(master).map_err(io_error)?;
        let mut running = Running::new(self.logger.take());
        running.terminal = Arc::downgrade(&master);
        let hang_up = Arc::new(Notify::new());
        // Without a sink it is read all the same: the process must not block on a full terminal.
        running.output_until(master.clone(), sink.unwrap_or(Sink::Nowhere), &hang_up);
        if let Some(feed) = self.feed.take() {
            let source = watch::readable(feed.fifo).map_err(io_error)?;
            running.keep = Some(feed.keep);
            running.input = Some(tokio::spawn(async move {
                pump(source, Sink::Stream(master), Arc::default(), OnBreak::Stop).await;
                // A terminal's input cannot end by itself: as in the original, its end is a hang-up.
                hang_up.notify_one();
            }));
        }
        Ok(running)
    }
}

/// The streams of a process that runs, or ran.
pub(crate) struct Running {
    outputs: Vec<(JoinHandle<()>, Arc<Progress>)>,
    input: Option<JoinHandle<()>>,
    keep: Option<OwnedFd>,
    /// Open for as long as a pump holds it.
    terminal: Weak<Watched>,
    logger: Option<logger::Logger>,
}

impl Running {
    fn new(logger: Option<logger::Logger>) -> Self {
        Running { outputs: Vec::new(), input: None, keep: None, terminal: Weak::new(), logger }
    }

    fn output(&mut self, source: Arc<Watched>, sink: Sink) {
        let progress = Arc::new(Progress::default());
        self.outputs.push((tokio::spawn(pump(source, sink, progress.clone(), OnBreak::Discard)), progress));
    }

    /// As `output`, but ends soon after `hang_up`.
    fn output_until(&mut self, source: Arc<Watched>, sink: Sink, hang_up: &Arc<Notify>) {
        let progress = Arc::new(Progress::default());
        let (moving, hang_up) = (pump(source, sink, progress.clone(), OnBreak::Discard), hang_up.clone());
        let task = tokio::spawn(async move {
            tokio::pin!(moving);
            tokio::select! {
                () = &mut moving => {}
                () = hang_up.notified() => drop(tokio::time::timeout(LAST_WORDS, &mut moving).await),
            }
        });
        self.outputs.push((task, progress));
    }

    fn input(&mut self, fifo: OwnedFd, keep: OwnedFd, to: Arc<Watched>) -> Result<(), Error> {
        let source = watch::readable(fifo).map_err(io_error)?;
        self.input = Some(tokio::spawn(pump(source, Sink::Stream(to), Arc::default(), OnBreak::Stop)));
        self.keep = Some(keep);
        Ok(())
    }

    /// Lets the process's input end once the client's side of it is closed too.
    pub(crate) fn close_stdin(&mut self) {
        self.keep = None;
    }

    /// Sets the size of the terminal; without one nothing happens.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(crate) fn resize(&self, width: u16, height: u16) -> Result<(), Error> {
        let Some(terminal) = self.terminal.upgrade() else { return Ok(()) };
        let size = sys::console::Winsize { columns: width, rows: height };
        sys::console::set_winsize(terminal.get_ref(), size).map_err(|e| Error::unknown(base::chain(&e)))
    }

    /// The process ended: nobody reads its input any more.
    pub(crate) fn exited(&mut self) {
        if let Some(input) = self.input.take() {
            input.abort();
        }
        self.keep = None;
    }

    /// Waits until all output was passed on, within limits, and closes the streams.
    pub(crate) async fn close(mut self) {
        self.exited();
        let drained = tokio::time::timeout(DRAIN, drain(&mut self.outputs)).await;
        if drained != Ok(true) {
            crate::logger::warning!("output was not read to its end: context deadline exceeded");
        }
        for (task, _) in self.outputs.drain(..) {
            task.abort();
        }
        if let Some(logger) = self.logger.take() {
            logger.stop().await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.exited();
        for (task, _) in &self.outputs {
            task.abort();
        }
    }
}

/// True when every output ended; false when one stalled.
async fn drain(outputs: &mut [(JoinHandle<()>, Arc<Progress>)]) -> bool {
    for (task, progress) in outputs {
        loop {
            if task.is_finished() {
                break;
            }
            let before = progress.moved();
            let patience = if progress.is_blocked() { STALLED } else { SILENT };
            if tokio::time::timeout(patience, &mut *task).await.is_ok() {
                break;
            }
            if progress.moved() == before {
                return false;
            }
        }
    }
    true
}

fn io_error(e: std::io::Error) -> Error {
    Error::internal("watch stream").with_source(e)
}

fn writable(fd: OwnedFd) -> Result<Arc<Watched>, Error> {
    watch::writable(fd).map_err(io_error)
}

fn nonblocking(fd: OwnedFd) -> Result<OwnedFd, Error> {
    rustix::io::ioctl_fionbio(&fd, true).map_err(|e| io_error(e.into()))?;
    Ok(fd)
}

/// Read end, write end; both belong to the container's root when it has one of its own.
fn owned_pipe(owner: &Owner<'_>) -> Result<(OwnedFd, OwnedFd), Error> {
    let failed = |e: rustix::io::Errno| Error::unknown(format!("failed to create init process I/O: {e}"));
    let pipe = pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
    if owner.uid != 0 || owner.gid != 0 {
        let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
        for end in [&pipe.0, &pipe.1] {
            rustix::fs::fchown(end, Some(uid), Some(gid)).map_err(failed)?;
        }
    }
    Ok(pipe)
}

fn open(path: &str, flags: OFlags, what: &str) -> Result<OwnedFd, Error> {
    rustix::fs::open(path, flags | OFlags::CLOEXEC | OFlags::NOCTTY, Mode::empty())
        .map_err(|e| Error::unknown(format!("containerd-shim: opening {what} {path:?} failed: {e}")))
}

/// A client's fifo to read. Both ends are opened, so neither open waits and the end of the client is no end of input.
fn feed(path: &str) -> Result<Feed, Error> {
    let fifo = open(path, OFlags::RDONLY | OFlags::NONBLOCK, "stdin fifo")?;
    let keep = open(path, OFlags::WRONLY | OFlags::NONBLOCK, "stdin fifo")?;
    Ok(Feed { fifo, keep, to: None })
}

/// A client's fifo or file to write. The fifo is opened for reading first: then the write side never waits.
fn sink_of(path: &str) -> Result<Sink, Error> {
    let fifo = std::fs::metadata(path).is_ok_and(|m| std::os::unix::fs::FileTypeExt::is_fifo(&m.file_type()));
    if !fifo {
        return Ok(Sink::File(Arc::new(append(Path::new(path), false)?)));
    }
    let keep = open(path, OFlags::RDONLY | OFlags::NONBLOCK, "r/o fifo")?;
    let write = open(path, OFlags::WRONLY | OFlags::NONBLOCK, "w/o fifo")?;
    let write = watch::writable(write).map_err(io_error)?;
    Ok(Sink::Fifo { write, _keep: keep })
}

fn append(path: &Path, create: bool) -> Result<File, Error> {
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    let failed =
        |e: std::io::Error| Error::unknown(format!("containerd-shim: opening file {path:?} failed: {e}"));
    if create && let Some(dir) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(dir).map_err(failed)?;
    }
    // Not blocking: what is named as a file can be a fifo that was put there since.
    OpenOptions::new()
        .append(true)
        .create(create)
        .mode(0o644)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
        .map_err(failed)
}
