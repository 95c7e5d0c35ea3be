//! Our own terminal: raw while a process uses it, put back however we end.

use std::os::fd::BorrowedFd;

use rustix::termios::{LocalModes, OptionalActions, Termios, Winsize};

use crate::error::{Error, Result};

/// A terminal in raw mode; put back when dropped.
#[derive(Debug)]
pub struct RawTerminal {
    fd: BorrowedFd<'static>,
    before: Termios,
}

impl RawTerminal {
    /// Takes the terminal that is one of our standard streams.
    pub fn take() -> Result<Self> {
        let streams = [rustix::stdio::stderr(), rustix::stdio::stdout(), rustix::stdio::stdin()];
        let fd = streams.into_iter().find(|fd| rustix::termios::isatty(fd));
        let fd = fd.ok_or_else(|| {
            Error::invalid("-t needs a terminal, and none of our streams is one: leave it out")
        })?;
        let before = rustix::termios::tcgetattr(fd).map_err(Error::io("cannot read the terminal's modes"))?;
        let mut raw = before.clone();
        raw.make_raw();
        rustix::termios::tcsetattr(fd, OptionalActions::Now, &raw)
            .map_err(Error::io("cannot set the terminal to raw mode"))?;
        Ok(RawTerminal { fd, before })
    }

    /// Where to read its size from.
    pub fn size(&self) -> TerminalSize {
        TerminalSize(self.fd)
    }
}

/// The size of our terminal, at any time.
#[derive(Debug, Clone, Copy)]
pub struct TerminalSize(BorrowedFd<'static>);

impl TerminalSize {
    /// Columns and rows.
    pub fn read(self) -> Result<(u32, u32)> {
        let Winsize { ws_col, ws_row, .. } =
            rustix::termios::tcgetwinsize(self.0).map_err(Error::io("cannot read the terminal's size"))?;
        Ok((u32::from(ws_col), u32::from(ws_row)))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // there is no other way to put it back
        let _restored = rustix::termios::tcsetattr(self.fd, OptionalActions::Flush, &self.before);
    }
}

/// Asks for a line on the terminal without showing what is typed. Without a terminal one line is read from standard input.
pub fn read_password(prompt: &str) -> Result<String> {
    let stdin = rustix::stdio::stdin();
    let before = rustix::termios::tcgetattr(stdin).ok();
    if let Some(before) = &before {
        super::output::prompt(prompt);
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        quiet.local_modes.insert(LocalModes::ECHONL);
        rustix::termios::tcsetattr(stdin, OptionalActions::Flush, &quiet)
            .map_err(Error::io("cannot hide what is typed"))?;
    }
    let mut line = String::new();
    let read = std::io::stdin().read_line(&mut line);
    if let Some(before) = &before {
        // there is no other way to put it back
        let _restored = rustix::termios::tcsetattr(stdin, OptionalActions::Now, before);
    }
    read.map_err(Error::io("cannot read the password"))?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
