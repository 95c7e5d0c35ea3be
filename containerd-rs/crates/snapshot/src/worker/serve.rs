//! The worker's own side.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base::Kinded;
use rustix::event::{PollFd, PollFlags, poll};

use super::decode::plain;
use super::jail::{self, Inside};
use super::job::{Done, Job, Line};
use super::pipeline::{self, Bounds};
use super::space::Space;
use crate::layer::{LayerError, Target, apply};

/// How often progress is told at most.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// Runs the worker: its only argument after the subcommand is the job. Never returns to the caller.
#[allow(clippy::disallowed_methods)] // this is the main function of a process of its own
pub fn main() -> ! {
    // The reason of a failure has been told on stdout.
    std::process::exit(i32::from(run().is_err()))
}

/// The failure is on stdout.
struct Told;

fn run() -> Result<(), Told> {
    let job = std::env::args().nth(2).ok_or_else(|| "no job given".to_owned());
    let job = job.and_then(|text| serde_json::from_str::<Job>(&text).map_err(|e| e.to_string()));
    let job = job.map_err(|e| fail(base::ErrorKind::InvalidArgument, format!("unpack worker: {e}")))?;
    match work(&job) {
        Ok(done) => {
            tell(&Line::Done(done));
            Ok(())
        }
        Err(e) => Err(fail(e.kind(), base::chain(&e))),
    }
}

fn fail(kind: base::ErrorKind, message: String) -> Told {
    tell(&Line::Failed { code: kind.code(), message });
    Told
}

fn tell(line: &Line) {
    let Ok(mut text) = serde_json::to_vec(line) else { return };
    text.push(b'\n');
    // Nobody listens any more: the watcher ends the process.
    let mut out = io::stdout().lock();
    let _gone = out.write_all(&text).and_then(|()| out.flush());
}

fn work(job: &Job) -> Result<Done, LayerError> {
    let Inside { root, lowers, layer, .. } = jail::enter(job)?;
    let synced = root.try_clone().map_err(LayerError::Read)?;
    let watcher = std::thread::Builder::new().name("watch".into()).stack_size(64 * 1024).spawn(watch_daemon);
    watcher.map_err(LayerError::Read)?;

    let source = Counted::new(layer);
    let used = Arc::clone(&source.used);
    let source = plain(source, job.packing).map_err(LayerError::Read)?;
    let target = Target { root, lowers };
    let space = Space::new(synced.try_clone().map_err(LayerError::Read)?, job.keep_free);
    let bounds = Bounds { bytes: job.rules.limits.bytes, space: Some(space) };
    let applied = pipeline::run(source, job.size, bounds, |stream| {
        apply(stream, target, job.rules).map(|(applied, _)| applied)
    });
    let (applied, plain) = applied.map_err(unwrapped)?;
    tell(&Line::Progress(used.load(Ordering::Relaxed)));
    let apply_again = applied.undecided.is_none();
    for undecided in applied.undecided.unwrap_or_default() {
        tell(&Line::Undecided(undecided));
    }
    if job.sync_fs {
        rustix::fs::syncfs(&synced).map_err(|e| LayerError::Write {
            op: "sync",
            path: job.root.display().to_string(),
            source: e.into(),
        })?;
    }
    Ok(Done { diff_id: plain.diff_id.to_string(), size: plain.size, apply_again })
}

/// Goes to jail with a job, as [`main`] does before it reads the first byte: for tests of the jail.
///
/// # Errors
/// What could not be opened or given up.
#[doc(hidden)]
pub fn enter_jail(job: &str) -> Result<Inside, LayerError> {
    jail::enter(&serde_json::from_str(job).map_err(|e| LayerError::Read(e.into()))?)
}

/// A limit that came up while reading is a limit, not a failed read.
fn unwrapped(e: LayerError) -> LayerError {
    match e {
        LayerError::Read(io) if io.get_ref().is_some_and(|inner| inner.is::<LayerError>()) => {
            match io.into_inner().map(|inner| inner.downcast::<LayerError>()) {
                Some(Ok(inner)) => *inner,
                _ => LayerError::malformed("layer refused"),
            }
        }
        other => other,
    }
}

/// Ends this process when nobody can read its answer.
#[allow(clippy::disallowed_methods)] // nothing is left to be told, and the other threads are busy
fn watch_daemon() {
    let out = io::stdout();
    loop {
        let mut fds = [PollFd::new(&out, PollFlags::empty())];
        match poll(&mut fds, None) {
            Ok(_) if fds[0].revents().intersects(PollFlags::ERR | PollFlags::HUP) => std::process::exit(1),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

/// Stdin, counted and told about.
struct Counted {
    file: File,
    used: Arc<AtomicU64>,
    told: Instant,
}

impl Counted {
    fn new(fd: OwnedFd) -> Self {
        Counted { file: File::from(fd), used: Arc::new(AtomicU64::new(0)), told: Instant::now() }
    }
}

impl Read for Counted {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(buf)?;
        let used = self.used.fetch_add(n as u64, Ordering::Relaxed) + n as u64;
        if self.told.elapsed() >= TELL_EVERY {
            self.told = Instant::now();
            tell(&Line::Progress(used));
        }
        Ok(n)
    }
}
