//! Moves bytes from one descriptor to another, in constant memory, for as long as both last.
//!
//! A reader that is slow or gone holds the pump (and, when the kernel's buffers are full, the
//! container that writes), never the shim. Nothing here waits on a process's exit, and no exit waits here.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::io::Errno;

use crate::beside::FILES;
use crate::io::watch::Watched;
use crate::logger;
use crate::runc::LONG;

/// Read at once; lives on the stack and never across a wait.
const CHUNK: usize = 16 * 1024;

/// What others may see of a pump.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    moved: AtomicU64,
    blocked: AtomicBool,
}

impl Progress {
    /// Bytes moved so far.
    pub(crate) fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    /// Whether it waits for its reader (and not for its writer).
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }
}

/// Where bytes go.
pub(crate) enum Sink {
    /// A fifo that we also hold open for reading, so that a reader may come and go.
    Fifo {
        /// Our write end.
        write: Arc<Watched>,
        /// Keeps the fifo readable; never read.
        _keep: OwnedFd,
    },
    /// A pipe or a terminal.
    Stream(Arc<Watched>),
    /// A file, appended to; two streams can share it.
    File(Arc<File>),
    /// Nowhere: read, so that the writer does not block, and forgotten.
    Nowhere,
}

/// What to do when the sink breaks (its reader died).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnBreak {
    /// Stop: there is nobody to write for.
    Stop,
    /// Go on reading: a container does not have to die with its logger.
    Discard,
}

enum Step {
    /// Everything read was written.
    Moved,
    /// This much of what was read could not be written yet.
    Rest(Vec<u8>),
    /// Nothing to read now.
    Empty,
    /// Nothing will come any more.
    End,
    /// The sink broke.
    Broken,
}

/// Moves bytes until the source ends or the sink breaks. Cancel-safe but for bytes already read.
pub(crate) async fn pump(source: Arc<Watched>, mut sink: Sink, progress: Arc<Progress>, on_break: OnBreak) {
    let mut lost = 0_u64;
    loop {
        let Ok(mut ready) = source.readable().await else { break };
        let mut broken = false;
        match step(source.get_ref(), &sink, &progress) {
            Step::Moved => {}
            Step::Empty => ready.clear_ready(),
            Step::End => break,
            Step::Broken => broken = true,
            Step::Rest(rest) => {
                progress.blocked.store(true, Ordering::Relaxed);
                broken = !write_rest(&sink, rest, &progress, &mut lost).await;
                progress.blocked.store(false, Ordering::Relaxed);
            }
        }
        if broken {
            if on_break == OnBreak::Stop {
                break;
            }
            logger::warning!("nobody takes a stream of output any more; the rest of it is lost");
            sink = Sink::Nowhere;
        }
    }
    if lost > 0 {
        logger::warning!("{lost} bytes of output could not be written to their file");
    }
}

fn step(source: &OwnedFd, sink: &Sink, progress: &Progress) -> Step {
    let mut chunk = [0_u8; CHUNK];
    let bytes = match rustix::io::read(source, &mut chunk) {
        Ok(0) => return Step::End,
        Ok(n) => &chunk[..n],
        Err(Errno::AGAIN) => return Step::Empty,
        Err(Errno::INTR) => return Step::Moved,
        // EIO is how a terminal says that its other side is closed.
        Err(_) => return Step::End,
    };
    let written = match sink {
        Sink::Fifo { write, .. } => write_now(write.get_ref(), bytes),
        Sink::Stream(stream) => write_now(stream.get_ref(), bytes),
        // A disk may take its time: not here.
        Sink::File(_) => Ok(0),
        Sink::Nowhere => Ok(bytes.len()),
    };
    match written {
        Ok(n) => {
            progress.moved.fetch_add(n as u64, Ordering::Relaxed);
            if n == bytes.len() { Step::Moved } else { Step::Rest(bytes[n..].to_vec()) }
        }
        Err(_) => Step::Broken,
    }
}

/// Writes what fits now.
fn write_now(fd: &OwnedFd, bytes: &[u8]) -> Result<usize, Errno> {
    loop {
        match rustix::io::write(fd, bytes) {
            Ok(n) => return Ok(n),
            Err(Errno::AGAIN) => return Ok(0),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
}

/// Writes `rest`, waiting as long as it takes; false when the sink broke.
async fn write_rest(sink: &Sink, mut rest: Vec<u8>, progress: &Progress, lost: &mut u64) -> bool {
    let fd = match sink {
        Sink::Fifo { write, .. } => write,
        Sink::Stream(stream) => stream,
        Sink::File(file) => return append(file.clone(), rest, progress, lost).await,
        Sink::Nowhere => return true,
    };
    while !rest.is_empty() {
        let Ok(mut ready) = fd.writable().await else { return false };
        match rustix::io::write(fd.get_ref(), &rest) {
            Ok(n) => {
                progress.moved.fetch_add(n as u64, Ordering::Relaxed);
                rest.drain(..n);
            }
            Err(Errno::AGAIN) => ready.clear_ready(),
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
    true
}

/// Appends to a file, beside the event loop; false when the disk has hung for too long.
async fn append(file: Arc<File>, bytes: Vec<u8>, progress: &Progress, lost: &mut u64) -> bool {
    let size = bytes.len() as u64;
    let written = FILES.run("append output", LONG, None, move || (&*file).write_all(&bytes), drop).await;
    match written {
        Ok(Ok(())) => {}
        // A full disk must not stop the container: its output is lost, and counted.
        Ok(Err(_)) => *lost += size,
        Err(_) => return false,
    }
    progress.moved.fetch_add(size, Ordering::Relaxed);
    true
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::io::watch;
    use rustix::pipe::{PipeFlags, pipe_with};
    use std::io::Read;
    use std::time::Duration;

    fn pipe() -> (OwnedFd, OwnedFd) {
        pipe_with(PipeFlags::CLOEXEC).unwrap()
    }

    fn nonblocking(fd: OwnedFd) -> OwnedFd {
        rustix::io::ioctl_fionbio(&fd, true).unwrap();
        fd
    }

    /// Writer thread -> pump -> slow reader thread: every byte, in order.
    #[tokio::test(flavor = "current_thread")]
    async fn every_byte_in_order_past_a_slow_reader() {
        const SIZE: usize = 8 << 20;
        let (from_r, from_w) = pipe();
        let (to_r, to_w) = pipe();
        let writer = std::thread::spawn(move || {
            let data: Vec<u8> = (0..SIZE).map(|i| (i % 251) as u8).collect();
            File::from(from_w).write_all(&data).unwrap();
        });
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            let mut file = File::from(to_r);
            let mut buffer = [0; 1000];
            loop {
                let n = file.read(&mut buffer).unwrap();
                if n == 0 {
                    return all;
                }
                all.extend_from_slice(&buffer[..n]);
            }
        });
        let progress = Arc::new(Progress::default());
        let sink = Sink::Stream(watch::writable(nonblocking(to_w)).unwrap());
        pump(watch::readable(nonblocking(from_r)).unwrap(), sink, progress.clone(), OnBreak::Stop).await;
        writer.join().unwrap();
        let all = reader.join().unwrap();
        assert_eq!(all.len(), SIZE);
        assert!(all.iter().enumerate().all(|(i, b)| *b == (i % 251) as u8));
        assert_eq!(progress.moved(), SIZE as u64);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn nobody_reads_and_it_says_so() {
        let (from_r, from_w) = pipe();
        let (_to_r, to_w) = pipe();
        let progress = Arc::new(Progress::default());
        let sink = Sink::Stream(watch::writable(nonblocking(to_w)).unwrap());
        let task = tokio::spawn(pump(
            watch::readable(nonblocking(from_r)).unwrap(),
            sink,
            progress.clone(),
            OnBreak::Stop,
        ));
        let from_w = nonblocking(from_w);
        for _ in 0..100_000 {
            let _ = rustix::io::write(&from_w, &[7; 4096]);
            if progress.is_blocked() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(progress.is_blocked() && progress.moved() >= 64 * 1024);
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_reader_that_dies_does_not_stop_the_writer() {
        let (from_r, from_w) = pipe();
        let (to_r, to_w) = pipe();
        drop(to_r);
        let sink = Sink::Stream(watch::writable(nonblocking(to_w)).unwrap());
        let task = tokio::spawn(pump(
            watch::readable(nonblocking(from_r)).unwrap(),
            sink,
            Arc::default(),
            OnBreak::Discard,
        ));
        let writer = std::thread::spawn(move || File::from(from_w).write_all(&[1; 300_000]));
        task.await.unwrap();
        assert!(writer.join().unwrap().is_ok());
    }
}
