//! Archives over a stream: pieces of at most 32 KiB, as many as the receiver's window lets through.

use std::io::{Read, Write};
use std::time::Duration;

use bytes::Bytes;
use protos::api::types_transfer::{Data, WindowUpdate};
use tokio::sync::{mpsc, watch};

use crate::client::stream::Stream;
use crate::error::{Error, Result};

/// Largest piece.
const PIECE: usize = 32 << 10;
/// What a receiver lets the sender be ahead.
const WINDOW: i64 = 2 * PIECE as i64;
/// Block of a tar.
const BLOCK: usize = 512;
/// How long a stream must be silent that could be whole.
const QUIET: Duration = Duration::from_millis(200);
/// How long a stream may be silent that is not whole.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends all that `from` gives. Ends early when the daemon has read enough.
pub async fn send(stream: Stream, from: impl Read + Send + 'static, name: String) -> Result<()> {
    let Stream { to, from: mut back, .. } = stream;
    let mut pieces = read_pieces(from)?;
    let mut window: i64 = 0;
    while let Some(piece) = pieces.recv().await {
        let mut piece = piece.map_err(Error::io(format!("cannot read {name}")))?;
        while !piece.is_empty() {
            while window <= 0 {
                match back.next().await? {
                    Some(any) => window += any.unpack::<WindowUpdate>().map_or(0, |w| i64::from(w.update)),
                    None => return Ok(()),
                }
            }
            let size = piece.len().min(usize::try_from(window).unwrap_or(usize::MAX));
            let data = piece.split_to(size);
            window -= size as i64;
            if !to.send(&Data { data }).await {
                return Ok(());
            }
        }
    }
    drop(to);
    // the daemon ends its side when it has read everything
    while back.next().await?.is_some() {}
    Ok(())
}

/// A thread reads, so that a slow pipe holds nothing else up.
fn read_pieces(mut from: impl Read + Send + 'static) -> Result<mpsc::Receiver<std::io::Result<Bytes>>> {
    let (pieces, receiver) = mpsc::channel(4);
    let read = move || {
        loop {
            let mut piece = vec![0; PIECE];
            let message = match from.read(&mut piece) {
                Ok(0) => return,
                Ok(n) => {
                    piece.truncate(n);
                    Ok(Bytes::from(piece))
                }
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => Err(e),
            };
            if pieces.blocking_send(message).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new()
        .name("archive".into())
        .spawn(read)
        .map_err(Error::io("cannot start the thread that reads the archive"))?;
    Ok(receiver)
}

/// Writes all that comes. `answered` tells when the daemon has answered the call, and so has sent everything.
///
/// The stream's end is the archive's. But Go containerd never ends it: there the archive is whole when the call was answered, the
/// blocks that end a tar have come, and no more follows.
pub async fn receive(
    stream: Stream,
    mut into: impl Write,
    name: String,
    mut answered: watch::Receiver<bool>,
) -> Result<()> {
    let Stream { to, mut from, .. } = stream;
    let mut window: i64 = 0;
    let mut tail = Tail::default();
    loop {
        if window < WINDOW {
            // when the daemon has ended its side, the next read says so
            let _still_there = to.send(&WindowUpdate { update: WINDOW as i32 }).await;
            window += WINDOW;
        }
        let message = tokio::select! {
            message = from.next() => message?,
            () = silence(&mut answered, tail.is_end()) => match tail.is_end() {
                true => break,
                false => return Err(Error::invalid(format!("{name} is not whole: the daemon sent no more of it"))),
            },
        };
        let Some(message) = message else { break };
        if let Ok(piece) = message.unpack::<Data>() {
            window -= piece.data.len() as i64;
            tail.add(&piece.data);
            into.write_all(&piece.data).map_err(Error::io(format!("cannot write {name}")))?;
        }
    }
    into.flush().map_err(Error::io(format!("cannot write {name}")))
}

/// Ends when the call was answered and nothing has come for a while after it.
async fn silence(answered: &mut watch::Receiver<bool>, complete: bool) {
    if answered.wait_for(|answered| *answered).await.is_err() {
        // the call failed: whoever waits for it ends us
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(if complete { QUIET } else { PATIENCE }).await;
}

/// How far back a stream of bytes is zero.
#[derive(Debug, Default)]
struct Tail {
    zeros: usize,
    total: u64,
}

impl Tail {
    fn add(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        match bytes.iter().rposition(|b| *b != 0) {
            Some(at) => self.zeros = bytes.len() - at - 1,
            None => self.zeros = self.zeros.saturating_add(bytes.len()),
        }
    }

    /// Whether the bytes so far can be a whole tar: blocks, and two of zeros at the end.
    fn is_end(&self) -> bool {
        self.zeros >= 2 * BLOCK && self.total.is_multiple_of(BLOCK as u64)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn two_blocks_of_zeros_end_a_tar() {
        let mut tail = Tail::default();
        tail.add(&[1; 512]);
        assert!(!tail.is_end());
        tail.add(&[0; 1000]);
        assert!(!tail.is_end());
        tail.add(&[0; 24]);
        assert!(tail.is_end());
        tail.add(&[0, 0, 1, 0]);
        assert!(!tail.is_end());
    }
}
