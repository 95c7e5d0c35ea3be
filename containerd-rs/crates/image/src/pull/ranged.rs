//! A big layer over several connections: ranges ahead of the one that is being written.
//!
//! ```text
//!  |--written--|-- front: written as it comes --|-- ahead --|-- ahead --|      ... size
//!                 own connection                  spare connections, held in memory
//! ```
//!
//! Bytes are written, and hashed, in order. A range ahead is held in memory and keeps its connection's
//! permit until it is written, so the limit on connections bounds the memory as well. Whatever goes
//! wrong ends the ranges; the rest is then fetched in one piece, with all its retries.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use base::Descriptor;
use bytes::Bytes;
use store::ContentWriter;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Fetch;
use super::flow::Spout;
use crate::error::{Error, Result};
use crate::registry::BlobStream;
use crate::throttle::Connection;

/// Pieces of a range that wait to be written: a range of those that a connection gives usually. A host that sends tiny ones
/// is read no further ahead.
const CHUNKS: usize = 1024;
/// Most ranges of one layer at a time.
const MOST_LANES: usize = 4;

/// Where the bytes of a blob go.
pub(super) struct Into<'a> {
    pub(super) writer: &'a mut dyn ContentWriter,
    /// The count that is told.
    pub(super) bytes: &'a AtomicU64,
    /// Who reads behind us.
    pub(super) spout: Option<&'a mut Spout>,
}

impl Into<'_> {
    pub(super) async fn copy(&mut self, stream: &mut BlobStream) -> Result<()> {
        self.bytes.store(self.writer.offset(), Ordering::Relaxed);
        while let Some(chunk) = stream.next().await? {
            self.write(&chunk).await?;
        }
        Ok(())
    }

    async fn write(&mut self, chunk: &[u8]) -> Result<()> {
        self.writer.write(chunk).await?;
        let offset = self.writer.offset();
        self.bytes.store(offset, Ordering::Relaxed);
        if let Some(spout) = &mut self.spout {
            spout.given(offset);
        }
        Ok(())
    }
}

/// A range that is fetched ahead. At most so many chunks wait as one range has bytes for.
struct Ahead {
    chunks: mpsc::Receiver<Result<Bytes>>,
    task: JoinHandle<()>,
    end: u64,
    _connection: Connection,
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fetch {
    /// Fetches as much of a big blob in ranges as pays; the caller fetches the rest.
    ///
    /// # Errors
    /// Of the store; of the registry only when there is no use in asking it again.
    pub(super) async fn ranges(&self, descriptor: &Descriptor, into: &mut Into<'_>) -> Result<()> {
        let size = descriptor.checked_size().map_err(|e| Error::invalid(e.to_string()))?;
        let Some(range) = self.throttle.range() else { return Ok(()) };
        let mut ahead: VecDeque<Ahead> = VecDeque::new();
        while size - into.writer.offset() >= 2 * range {
            let start = into.writer.offset();
            match ahead.pop_front() {
                Some(mut next) => {
                    self.look_ahead(descriptor, (next.end, size), range, &mut ahead)?;
                    if !take(&mut next, into).await? {
                        tracing::debug!(digest = %descriptor.digest, "a range failed: the rest comes in one piece");
                        return Ok(());
                    }
                }
                None => {
                    let mut front = self.repository.fetch(descriptor, start)?;
                    front.stop_at(start + range);
                    let began = Instant::now();
                    into.copy(&mut front).await?;
                    if front.end() == size || self.throttle.is_fast(range, began.elapsed()) {
                        return Ok(());
                    }
                    self.look_ahead(descriptor, (start + range, size), range, &mut ahead)?;
                }
            }
        }
        // What is ahead already is not fetched again.
        while let Some(mut next) = ahead.pop_front() {
            if !take(&mut next, into).await? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Starts ranges behind those that are ahead already, as far as there are connections to spare.
    fn look_ahead(
        &self,
        descriptor: &Descriptor,
        (from, size): (u64, u64),
        range: u64,
        ahead: &mut VecDeque<Ahead>,
    ) -> Result<()> {
        while ahead.len() < MOST_LANES {
            let start = ahead.back().map_or(from, |last| last.end);
            if start >= size {
                break;
            }
            let Some(connection) = self.throttle.spare_connection(self.repository.registry()) else { break };
            let end = (start + range).min(size);
            let mut stream = self.repository.fetch(descriptor, start)?;
            stream.stop_at(end);
            let (sender, chunks) = mpsc::channel(CHUNKS);
            let task = tokio::spawn(bring(stream, end, sender));
            ahead.push_back(Ahead { chunks, task, end, _connection: connection });
        }
        Ok(())
    }
}

/// Fetches one range into a channel.
async fn bring(mut stream: BlobStream, end: u64, sender: mpsc::Sender<Result<Bytes>>) {
    loop {
        let chunk = match stream.next().await {
            Ok(None) => return,
            Ok(Some(_)) if stream.end() != end => Err(Error::invalid("host does not serve ranges")),
            Ok(Some(chunk)) => Ok(chunk),
            Err(e) => Err(e.into()),
        };
        let failed = chunk.is_err();
        if sender.send(chunk).await.is_err() || failed {
            return;
        }
    }
}

/// Writes a range as it comes; `false`: it did not come whole.
async fn take(ahead: &mut Ahead, into: &mut Into<'_>) -> Result<bool> {
    while let Some(chunk) = ahead.chunks.recv().await {
        match chunk {
            Ok(chunk) => into.write(&chunk).await?,
            Err(_) => return Ok(false),
        }
    }
    Ok(into.writer.offset() == ahead.end)
}
