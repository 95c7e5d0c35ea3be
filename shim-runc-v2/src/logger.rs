//! The shim's own log: text lines, as logrus writes them, into the fifo `log` of the bundle.
//!
//! The daemon reads that fifo and copies it to its own stderr. We hold it open for reading too, so a
//! daemon that is away neither kills us with SIGPIPE nor makes us wait: lines stay in the pipe for
//! the next reader, and what does not fit is dropped.

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::OnceLock;
use std::time::SystemTime;

use rustix::fs::{Mode, OFlags};

static LOG: OnceLock<Log> = OnceLock::new();

struct Log {
    sink: Option<OwnedFd>,
    debug: bool,
}

/// How much a line matters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// Only with `-debug`.
    Debug,
    /// A step worth knowing.
    Info,
    /// Something that was worked around.
    Warn,
    /// Something that was lost.
    Error,
}

/// Opens the fifo `path`; without one every line is dropped.
pub(crate) fn to_fifo(path: &Path, debug: bool) {
    let sink = rustix::fs::open(path, OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()).ok();
    let _ = LOG.set(Log { sink, debug });
}

/// Sends lines to stderr, for the short-lived verbs whose stderr the daemon logs.
pub(crate) fn to_stderr(debug: bool) {
    let sink = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), 3).ok();
    let _ = LOG.set(Log { sink, debug });
}

/// Writes one line, or drops it.
pub(crate) fn line(level: Level, message: fmt::Arguments<'_>) {
    let Some(log) = LOG.get() else { return };
    let Some(sink) = &log.sink else { return };
    if level == Level::Debug && !log.debug {
        return;
    }
    let name = match level {
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warning",
        Level::Error => "error",
    };
    let mut text = String::with_capacity(160);
    let now = base::timestamp::to_rfc3339_nano(SystemTime::now());
    let _ = fmt::write(&mut text, format_args!("time=\"{now}\" level={name} msg={:?}", Shown(message)));
    text.push_str(" runtime=io.containerd.runc.v2\n");
    // One write, so that lines of several shims in one daemon log stay whole.
    let _ = rustix::io::write(sink, text.as_bytes());
}

/// Quotes a message as Go's `%q` does for plain text.
struct Shown<'a>(fmt::Arguments<'a>);

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_str() {
            Some(text) => fmt::Debug::fmt(text, f),
            None => fmt::Debug::fmt(&self.0.to_string(), f),
        }
    }
}

macro_rules! debug { ($($t:tt)*) => { $crate::logger::line($crate::logger::Level::Debug, format_args!($($t)*)) } }
macro_rules! info { ($($t:tt)*) => { $crate::logger::line($crate::logger::Level::Info, format_args!($($t)*)) } }
macro_rules! warning { ($($t:tt)*) => { $crate::logger::line($crate::logger::Level::Warn, format_args!($($t)*)) } }
macro_rules! error { ($($t:tt)*) => { $crate::logger::line($crate::logger::Level::Error, format_args!($($t)*)) } }
pub(crate) use {debug, error, info, warning};
