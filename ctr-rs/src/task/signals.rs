//! Signals that we get: passed on to the process, or remembered until there is one.

use std::cell::{Cell, RefCell};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::{Error, Result};

const SIGHUP: i32 = 1;
const SIGINT: i32 = 2;
const SIGQUIT: i32 = 3;
const SIGTERM: i32 = 15;
/// Terminal size has changed.
pub const SIGWINCH: i32 = 28;

/// Those that are passed on: what ends programs, what programs give a meaning to, and the terminal's.
const PASSED_ON: [i32; 10] = [SIGHUP, SIGINT, SIGQUIT, 10, 12, 14, SIGTERM, 18, SIGWINCH, 20];

/// A stream of the signals that come to us. From its making on they no longer end us.
#[derive(Debug)]
pub struct Signals {
    streams: RefCell<Vec<(i32, Signal)>>,
    early: Cell<Option<i32>>,
}

impl Signals {
    /// Takes the signals over.
    pub fn take() -> Result<Self> {
        let mut streams = Vec::with_capacity(PASSED_ON.len());
        for number in PASSED_ON {
            let stream = signal(SignalKind::from_raw(number))
                .map_err(Error::io(format!("cannot take over signal {number}")))?;
            streams.push((number, stream));
        }
        Ok(Signals { streams: RefCell::new(streams), early: Cell::new(None) })
    }

    /// The next one. Cancel-safe.
    pub async fn next(&self) -> i32 {
        std::future::poll_fn(|cx| {
            for (number, stream) in self.streams.borrow_mut().iter_mut() {
                if stream.poll_recv(cx).is_ready() {
                    return std::task::Poll::Ready(*number);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }

    /// Carries out steps that come before a process runs. A signal that asks us to end is remembered and found by
    /// [`Signals::check`] between steps; a second one gives the steps up.
    pub async fn guard<T>(&self, steps: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            result = steps => result,
            number = self.second_end() => Err(Error::Interrupted(number)),
        }
    }

    async fn second_end(&self) -> i32 {
        loop {
            let number = self.next().await;
            if ends_us(number) && self.early.replace(Some(number)).is_some() {
                return number;
            }
        }
    }

    /// Fails when a signal has asked us to end.
    pub fn check(&self) -> Result<()> {
        self.early.get().map_or(Ok(()), |number| Err(Error::Interrupted(number)))
    }
}

/// Whether a signal asks us to end.
pub fn ends_us(number: i32) -> bool {
    matches!(number, SIGHUP | SIGINT | SIGQUIT | SIGTERM)
}

/// Reads a signal: a number, or a name with or without `SIG`.
pub fn parse(text: &str) -> Result<u32> {
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let number = match text.parse::<u32>() {
        Ok(number) => Some(number),
        Err(_) => {
            NAMES.iter().find(|(n, _)| *n == name).map(|(_, number)| *number).or_else(|| real_time(name))
        }
    };
    number.filter(|n| (1..=64).contains(n)).ok_or_else(|| {
        Error::invalid(format!("there is no signal {text:?}: names like SIGTERM and numbers to 64 are known"))
    })
}

fn real_time(name: &str) -> Option<u32> {
    if let Some(offset) = name.strip_prefix("RTMIN+") {
        return offset.parse::<u32>().ok().filter(|n| *n <= 30).map(|n| 34 + n);
    }
    if let Some(offset) = name.strip_prefix("RTMAX-") {
        return offset.parse::<u32>().ok().filter(|n| *n <= 30).map(|n| 64 - n);
    }
    match name {
        "RTMIN" => Some(34),
        "RTMAX" => Some(64),
        _ => None,
    }
}

const NAMES: [(&str, u32); 35] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
    ("UNUSED", 31),
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn names_and_numbers_of_signals() {
        for (text, number) in
            [("SIGKILL", 9), ("term", 15), ("SigUsr1", 10), ("64", 64), ("RTMIN+1", 35), ("SIGRTMAX", 64)]
        {
            assert_eq!(parse(text).unwrap(), number, "{text}");
        }
        for text in ["", "0", "65", "SIGNOPE", "-9", "RTMIN+31"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
