//! Archives over a stream: pieces of at most 32 KiB, as many as the receiver's window lets through.

use std::io::{Read, Write};

use bytes::Bytes;
use protos::api::types_transfer::{Data, WindowUpdate};
use tokio::sync::mpsc;

use crate::client::stream::Stream;
use crate::error::{Error, Result};

/// Largest piece.
const PIECE: usize = 32 << 10;
/// What a receiver lets the sender be ahead.
const WINDOW: i64 = 2 * PIECE as i64;

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

/// Writes all that comes, to the end of the stream.
pub async fn receive(stream: Stream, mut into: impl Write, name: String) -> Result<()> {
    let Stream { to, mut from, .. } = stream;
    let mut window: i64 = 0;
    loop {
        if window < WINDOW {
            // when the daemon has ended its side, the next read says so
            let _still_there = to.send(&WindowUpdate { update: WINDOW as i32 }).await;
            window += WINDOW;
        }
        let Some(message) = from.next().await? else { break };
        if let Ok(piece) = message.unpack::<Data>() {
            window -= piece.data.len() as i64;
            into.write_all(&piece.data).map_err(Error::io(format!("cannot write {name}")))?;
        }
    }
    into.flush().map_err(Error::io(format!("cannot write {name}")))
}
