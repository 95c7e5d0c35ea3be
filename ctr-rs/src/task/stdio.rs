//! Where a process's standard streams go: what the flags say, made ready.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::io::copy::{self, Copies};
use crate::io::fifo::{Ends, Fifos, Streams};
use crate::io::terminal::RawTerminal;

/// What the flags ask for.
#[derive(Clone, Debug, Default)]
pub struct StdioFlags {
    /// Nothing is read or written.
    pub null: bool,
    /// The shim writes a log by itself.
    pub log_uri: Option<String>,
    /// Directory for FIFOs; the default one when `None`.
    pub fifo_dir: Option<PathBuf>,
    /// The process has a terminal.
    pub terminal: bool,
    /// We do not stay.
    pub detach: bool,
}

/// Streams that are ready for a process to start.
#[derive(Debug)]
pub struct Stdio {
    /// What to tell the daemon.
    pub streams: Streams,
    /// Our terminal, raw, when the process has one and we stay.
    pub terminal: Option<RawTerminal>,
    fifos: Option<Fifos>,
    ends: Ends,
    copies: Option<Copies>,
    detach: bool,
}

impl Stdio {
    /// Makes and opens what process `id` needs.
    pub fn prepare(id: &str, flags: &StdioFlags) -> Result<Self> {
        if flags.terminal && flags.null {
            return Err(Error::invalid("-t and --null-io cannot be used together"));
        }
        let mut stdio = Stdio {
            streams: Streams { terminal: flags.terminal, ..Streams::default() },
            terminal: None,
            fifos: None,
            ends: Ends::default(),
            copies: None,
            detach: flags.detach,
        };
        if flags.null {
            return Ok(stdio);
        }
        if let Some(uri) = &flags.log_uri {
            stdio.streams.stdout = log_uri(uri)?;
            stdio.streams.stderr = if flags.terminal { String::new() } else { stdio.streams.stdout.clone() };
            return Ok(stdio);
        }
        let parent = flags.fifo_dir.as_deref().unwrap_or(Path::new(base::defaults::FIFO_DIR));
        let fifos = Fifos::create(parent, id, flags.terminal)?;
        stdio.streams = fifos.streams().clone();
        stdio.ends = fifos.open()?;
        stdio.fifos = Some(fifos);
        if flags.terminal && !flags.detach {
            stdio.terminal = Some(RawTerminal::take()?);
        }
        Ok(stdio)
    }

    /// The streams of a task that runs already.
    pub fn attach(streams: &Streams) -> Result<Self> {
        let fifos = Fifos::of_process(streams);
        let mut ends = fifos.open()?;
        // the shim has its own ends
        ends.keep.clear();
        let terminal = if streams.terminal { Some(RawTerminal::take()?) } else { None };
        Ok(Stdio {
            streams: streams.clone(),
            terminal,
            fifos: Some(fifos),
            ends,
            copies: None,
            detach: false,
        })
    }

    /// Starts to copy output before there is a process: what a runtime says while it makes one goes the same way, and it
    /// would wait for ever for someone to read it.
    pub fn begin_output(&mut self) -> Result<()> {
        if !self.detach && self.copies.is_none() {
            self.copies = Some(copy::start(&mut self.ends)?);
        }
        Ok(())
    }

    /// Starts to copy output, unless it has begun; nothing when we do not stay.
    pub fn copy_output(&mut self) -> Result<Option<Copies>> {
        self.begin_output()?;
        Ok(self.copies.take())
    }

    /// To be called when the process has started, and the shim has its ends of the FIFOs.
    pub fn started(&mut self, copies: Option<&mut Copies>) -> Result<()> {
        self.ends.keep.clear();
        let stdin = self.ends.stdin.take();
        match copies {
            Some(copies) => copies.start_stdin(stdin),
            None => Ok(()),
        }
    }

    /// Leaves the FIFOs to those who attach later.
    pub fn leave(self) {
        if let Some(fifos) = self.fifos {
            fifos.leave();
        }
    }
}

/// A bare path is a file.
fn log_uri(uri: &str) -> Result<String> {
    match uri.split_once("://") {
        Some(("file" | "binary" | "fifo" | "npipe", _)) => Ok(uri.to_owned()),
        Some((scheme, _)) => Err(Error::invalid(format!(
            "log URI {uri:?} cannot be used: shims know file:// and binary://, not {scheme}://"
        ))),
        None => {
            let path =
                std::path::absolute(uri).map_err(Error::io(format!("log path {uri:?} cannot be used")))?;
            Ok(format!("file://{}", path.display()))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn log_uris() {
        assert_eq!(log_uri("file:///var/log/x").unwrap(), "file:///var/log/x");
        assert_eq!(log_uri("/var/log/x").unwrap(), "file:///var/log/x");
        assert!(log_uri("http://x").is_err());
    }

    #[test]
    fn null_and_terminal_exclude_each_other() {
        let flags = StdioFlags { null: true, terminal: true, ..StdioFlags::default() };
        assert!(Stdio::prepare("c", &flags).is_err());
    }
}
