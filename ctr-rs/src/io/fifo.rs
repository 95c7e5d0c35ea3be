//! The FIFOs between us and a shim.
//!
//! A reader without a writer sees the end of the file, a writer without a reader cannot open: so both ends of every FIFO are held
//! by us until the process has started and the shim has its own. Opening never blocks, and when the shim dies its ends close.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags};

use crate::client::lease::unique;
use crate::error::{Error, Result};

/// Paths or URIs of the standard streams, as tasks and execs are told them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Streams {
    /// Empty: none.
    pub stdin: String,
    /// Empty: none.
    pub stdout: String,
    /// Empty: none, as always with a terminal.
    pub stderr: String,
    /// Whether the process has a terminal.
    pub terminal: bool,
}

/// FIFOs of one process.
#[derive(Debug)]
pub struct Fifos {
    streams: Streams,
    /// Made by us, and removed when we end; `None` for those of a task that we attach to.
    dir: Option<PathBuf>,
}

/// Both ends of the FIFOs.
#[derive(Debug, Default)]
pub struct Ends {
    /// We write.
    pub stdin: Option<File>,
    /// We read.
    pub stdout: Option<File>,
    /// We read.
    pub stderr: Option<File>,
    /// The other ends, to be dropped when the process has started.
    pub keep: Vec<File>,
}

impl Fifos {
    /// Makes FIFOs for process `id` in a new directory of `parent`.
    pub fn create(parent: &Path, id: &str, terminal: bool) -> Result<Self> {
        let dir = parent.join(unique(""));
        make_dir(parent).and_then(|()| make_dir(&dir)).map_err(Error::io(format!(
            "cannot make the directory {} for standard streams",
            dir.display()
        )))?;
        let path = |stream: &str| dir.join(format!("{id}-{stream}")).to_string_lossy().into_owned();
        let stderr = if terminal { String::new() } else { path("stderr") };
        let streams = Streams { stdin: path("stdin"), stdout: path("stdout"), stderr, terminal };
        let fifos = Fifos { streams, dir: Some(dir) };
        for path in fifos.paths() {
            rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR | Mode::XUSR, 0)
                .map_err(Error::io(format!("cannot make fifo {path}")))?;
        }
        Ok(fifos)
    }

    /// FIFOs that another client has made. Streams that are not FIFOs are left out.
    pub fn of_process(streams: &Streams) -> Self {
        let only = |path: &String| if is_fifo(path) { path.clone() } else { String::new() };
        let streams = Streams {
            stdin: only(&streams.stdin),
            stdout: only(&streams.stdout),
            stderr: only(&streams.stderr),
            terminal: streams.terminal,
        };
        Fifos { streams, dir: None }
    }

    /// What to tell the daemon.
    pub fn streams(&self) -> &Streams {
        &self.streams
    }

    /// Opens our ends and, for as long as the shim has none, the others.
    pub fn open(&self) -> Result<Ends> {
        let mut ends = Ends::default();
        let mut output = |path: &str| -> Result<Option<File>> {
            if path.is_empty() {
                return Ok(None);
            }
            let reader = open(path, OFlags::RDONLY)?;
            ends.keep.push(open(path, OFlags::WRONLY)?);
            Ok(Some(reader))
        };
        ends.stdout = output(&self.streams.stdout)?;
        ends.stderr = output(&self.streams.stderr)?;
        if !self.streams.stdin.is_empty() {
            ends.keep.push(open(&self.streams.stdin, OFlags::RDONLY)?);
            ends.stdin = Some(open(&self.streams.stdin, OFlags::WRONLY)?);
        }
        Ok(ends)
    }

    /// Leaves the FIFOs where they are, for whoever attaches later.
    pub fn leave(mut self) {
        self.dir = None;
    }

    fn paths(&self) -> impl Iterator<Item = &str> {
        let s = &self.streams;
        [&s.stdin, &s.stdout, &s.stderr].into_iter().map(String::as_str).filter(|p| !p.is_empty())
    }
}

impl Drop for Fifos {
    fn drop(&mut self) {
        if let Some(dir) = &self.dir {
            // nothing can be done about what stays, and nobody can read it
            let _removed = fs::remove_dir_all(dir);
        }
    }
}

/// Removes the FIFOs of a process that is gone, and their directory when it is empty then. Anything but a FIFO is left alone.
pub fn remove(streams: &Streams) {
    for path in [&streams.stdin, &streams.stdout, &streams.stderr] {
        if is_fifo(path) {
            let _removed = fs::remove_file(path);
            if let Some(dir) = Path::new(path).parent() {
                let _not_empty_yet = fs::remove_dir(dir);
            }
        }
    }
}

fn is_fifo(path: &str) -> bool {
    use std::os::unix::fs::FileTypeExt;
    path.starts_with('/') && fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_fifo())
}

/// Opens without waiting for the other end; reads and writes do wait.
fn open(path: &str, mode: OFlags) -> Result<File> {
    let what = || format!("cannot open fifo {path}");
    let flags = mode | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(Error::io(what()))?;
    rustix::fs::fcntl_setfl(&fd, mode).map_err(Error::io(what()))?;
    Ok(File::from(fd))
}

fn make_dir(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn opening_does_not_wait_and_nothing_stays() {
        let dir = tempfile::tempdir().unwrap();
        let fifos = Fifos::create(&dir.path().join("fifo"), "c1", false).unwrap();
        let mut ends = fifos.open().unwrap();
        // the shim's ends
        let mut writer = open(&fifos.streams().stdout, OFlags::WRONLY).unwrap();
        writer.write_all(b"hello").unwrap();
        drop(writer);
        ends.keep.clear();
        let mut text = String::new();
        ends.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
        drop(fifos);
        assert_eq!(fs::read_dir(dir.path().join("fifo")).unwrap().count(), 0);
    }

    #[test]
    fn a_terminal_has_no_stderr() {
        let dir = tempfile::tempdir().unwrap();
        let fifos = Fifos::create(dir.path(), "c1", true).unwrap();
        assert_eq!(fifos.streams().stderr, "");
        assert!(fifos.streams().terminal && is_fifo(&fifos.streams().stdin));
    }

    #[test]
    fn only_fifos_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let fifos = Fifos::create(dir.path(), "c1", false).unwrap();
        let mut streams = fifos.streams().clone();
        fifos.leave();
        let log = dir.path().join("log");
        fs::write(&log, "x").unwrap();
        streams.stderr = log.to_string_lossy().into_owned();
        remove(&streams);
        assert!(log.exists());
        assert!(!Path::new(&streams.stdout).exists() && !Path::new(&streams.stdin).exists());
    }
}
