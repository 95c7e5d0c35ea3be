//! From packed bytes to a stream that the applier reads, hashed on the way. Small layers on one
//! thread; for bigger ones decompressing and hashing have a thread of their own.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use base::{Algorithm, Digest, Hasher};

use super::space::Space;
use crate::layer::LayerError;

/// Packed size from which a second thread pays.
const TWO_THREADS_FROM: u64 = 4 << 20;
/// Bytes of a chunk that goes from thread to thread.
const CHUNK: usize = 512 * 1024;
/// Chunks on their way.
const DEPTH: usize = 8;

/// Digest and size of the plain bytes.
pub(super) struct Plain {
    pub(super) diff_id: Digest,
    pub(super) size: u64,
}

/// How much there may be.
#[derive(Default)]
pub(super) struct Bounds {
    /// Plain bytes; `None`: any number.
    pub(super) bytes: Option<u64>,
    /// The file system that they go to.
    pub(super) space: Option<Space>,
}

/// Runs `consume` on the plain bytes and hashes all of them, also those that `consume` leaves.
pub(super) fn run<R, T>(
    source: R,
    packed_size: u64,
    bounds: Bounds,
    consume: impl FnOnce(&mut dyn BufRead) -> Result<T, LayerError>,
) -> Result<(T, Plain), LayerError>
where
    R: Read + Send,
{
    let Bounds { bytes, space } = bounds;
    let hashed = Hashed::new(source, bytes);
    if packed_size < TWO_THREADS_FROM {
        let mut chunks = Inline { hashed, space, chunk: vec![0; CHUNK], at: 0, end: 0 };
        let out = consume(&mut chunks)?;
        drain(&mut chunks)?;
        return Ok((out, chunks.hashed.finish()));
    }
    std::thread::scope(|scope| {
        let (full, chunks) = sync_channel(DEPTH);
        let (back, empty) = channel();
        let decoder = std::thread::Builder::new()
            .name("decode".into())
            .spawn_scoped(scope, move || produce(hashed, &full, &empty))
            .map_err(LayerError::Read)?;
        let mut chunks = Received { chunks, back, space, chunk: Vec::new(), at: 0 };
        let applied = consume(&mut chunks).and_then(|out| drain(&mut chunks).map(|()| out));
        // Ends the other thread when it is still at work.
        drop(chunks);
        let plain = match decoder.join() {
            Ok(plain) => plain,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        Ok((applied?, plain))
    })
}

fn drain(stream: &mut dyn BufRead) -> Result<(), LayerError> {
    loop {
        match stream.fill_buf() {
            Ok([]) => return Ok(()),
            Ok(chunk) => {
                let n = chunk.len();
                stream.consume(n);
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(LayerError::Read(e)),
        }
    }
}

/// Reads chunks and hashes them.
struct Hashed<R> {
    source: R,
    hasher: Hasher,
    size: u64,
    limit: Option<u64>,
}

impl<R: Read> Hashed<R> {
    fn new(source: R, limit: Option<u64>) -> Self {
        Hashed { source, hasher: Hasher::new(Algorithm::Sha256), size: 0, limit }
    }

    /// Fills `buf`; less only at the end.
    fn fill(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut have = 0;
        while have < buf.len() {
            match self.source.read(&mut buf[have..]) {
                Ok(0) => break,
                Ok(n) => have += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        self.hasher.update(&buf[..have]);
        self.size += have as u64;
        match self.limit {
            Some(limit) if self.size > limit => {
                Err(io::Error::other(LayerError::Limit { what: "bytes", limit }))
            }
            _ => Ok(have),
        }
    }

    fn finish(self) -> Plain {
        Plain { diff_id: self.hasher.finish(), size: self.size }
    }
}

/// Whether what is about to be used may be written.
fn room_for(space: Option<&Space>, bytes: usize) -> io::Result<()> {
    space.map_or(Ok(()), |space| space.check(bytes as u64)).map_err(io::Error::other)
}

/// One thread for all.
struct Inline<R> {
    hashed: Hashed<R>,
    space: Option<Space>,
    chunk: Vec<u8>,
    at: usize,
    end: usize,
}

impl<R: Read> BufRead for Inline<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.end {
            (self.at, self.end) = (0, self.hashed.fill(&mut self.chunk)?);
            room_for(self.space.as_ref(), self.end)?;
        }
        Ok(&self.chunk[self.at..self.end])
    }
    fn consume(&mut self, n: usize) {
        self.at += n;
    }
}

impl<R: Read> Read for Inline<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        copy_out(self, buf)
    }
}

fn copy_out(from: &mut dyn BufRead, buf: &mut [u8]) -> io::Result<usize> {
    let chunk = from.fill_buf()?;
    let n = chunk.len().min(buf.len());
    buf[..n].copy_from_slice(&chunk[..n]);
    from.consume(n);
    Ok(n)
}

fn produce<R: Read>(
    mut hashed: Hashed<R>,
    full: &SyncSender<io::Result<Vec<u8>>>,
    empty: &Receiver<Vec<u8>>,
) -> Plain {
    loop {
        // Chunks come back from the other side, so only a few are ever made.
        let mut chunk = empty.try_recv().unwrap_or_default();
        chunk.resize(CHUNK, 0);
        let filled = hashed.fill(&mut chunk).map(|n| {
            chunk.truncate(n);
            chunk
        });
        let last = match &filled {
            Ok(chunk) => chunk.len() < CHUNK,
            Err(_) => true,
        };
        // Nobody takes it any more when the applier has failed.
        if full.send(filled).is_err() || last {
            return hashed.finish();
        }
    }
}

/// The other end of `produce`.
struct Received {
    chunks: Receiver<io::Result<Vec<u8>>>,
    back: Sender<Vec<u8>>,
    space: Option<Space>,
    chunk: Vec<u8>,
    at: usize,
}

impl BufRead for Received {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.chunk.len() {
            let next = match self.chunks.recv() {
                Ok(next) => next?,
                Err(_) => Vec::new(),
            };
            room_for(self.space.as_ref(), next.len())?;
            let used = std::mem::replace(&mut self.chunk, next);
            self.at = 0;
            // Not taken when the decoder is done.
            let _unused = self.back.send(used);
        }
        Ok(&self.chunk[self.at..])
    }
    fn consume(&mut self, n: usize) {
        self.at += n;
    }
}

impl Read for Received {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        copy_out(self, buf)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn both_ways_give_the_same() {
        let body: Vec<u8> = (0..3_000_017u32).map(|n| (n % 251) as u8).collect();
        for packed_size in [0, TWO_THREADS_FROM] {
            for take in [0, 10, CHUNK, body.len()] {
                let (taken, plain) = run(&body[..], packed_size, Bounds::default(), |stream| {
                    let mut taken = vec![0; take];
                    stream.read_exact(&mut taken).map_err(LayerError::Read)?;
                    Ok(taken)
                })
                .unwrap();
                assert!(taken == body[..take]);
                assert_eq!((plain.size, plain.diff_id), (body.len() as u64, Digest::sha256(&body)));
            }
        }
    }

    #[test]
    fn failures_of_either_side_end_both() {
        struct Broken(usize);
        impl Read for Broken {
            fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                if self.0 == 0 {
                    return Err(io::Error::other("disk gone"));
                }
                self.0 -= 1;
                buf.fill(1);
                Ok(buf.len())
            }
        }
        for packed_size in [0, TWO_THREADS_FROM] {
            assert!(run(Broken(20), packed_size, Bounds::default(), |_| Ok(())).is_err());
            let refused = run(Broken(20), packed_size, Bounds::default(), |_| {
                Err::<(), _>(LayerError::malformed("no"))
            });
            let at_most = |bytes| Bounds { bytes: Some(bytes), space: None };
            assert!(matches!(refused, Err(LayerError::Malformed(_))));
            assert!(run(&[0u8; 1000][..], packed_size, at_most(999), |_| Ok(())).is_err());
            assert!(run(&[0u8; 1000][..], packed_size, at_most(1000), |_| Ok(())).is_ok());
        }
    }
}
