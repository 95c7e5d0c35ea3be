//! Copying between FIFOs and our own standard streams: a thread for each, so that a reader of ours that is slow holds up nothing else.

use std::fs::File;
use std::io::{self, Read, Write};
use std::time::Duration;

use tokio::sync::oneshot;

use super::fifo::Ends;
use crate::error::{Error, Result};

const BUFFER: usize = 64 << 10;
/// How long output may go on after the shim has let go of the process.
const DRAIN: Duration = Duration::from_secs(10);

/// The copying of one process's streams.
#[derive(Debug)]
pub struct Copies {
    outputs: Vec<oneshot::Receiver<()>>,
    stdin: Option<oneshot::Receiver<()>>,
}

/// Starts copying. Standard input is only read when the process has started: its bytes would be lost before.
pub fn start(ends: &mut Ends) -> Result<Copies> {
    let mut outputs = Vec::new();
    if let Some(from) = ends.stdout.take() {
        outputs.push(spawn("stdout", move || copy_out(from, io::stdout()))?);
    }
    if let Some(from) = ends.stderr.take() {
        outputs.push(spawn("stderr", move || copy_out(from, io::stderr()))?);
    }
    Ok(Copies { outputs, stdin: None })
}

impl Copies {
    /// Starts to pass on our standard input, and to tell when it has ended: see [`Copies::stdin_ended`].
    pub fn start_stdin(&mut self, to: Option<File>) -> Result<()> {
        if let Some(to) = to {
            self.stdin = Some(spawn("stdin", move || copy_in(to))?);
        }
        Ok(())
    }

    /// Waits for the end of our standard input; for ever when there is none.
    pub async fn stdin_ended(&mut self) {
        match &mut self.stdin {
            Some(ended) => {
                let _sent_or_dropped = ended.await;
                self.stdin = None;
            }
            None => std::future::pending().await,
        }
    }

    /// Waits until all output is written. True: it ended; false: something still holds it open, and the wait was given up.
    pub async fn finish(self) -> bool {
        let all = async {
            for output in self.outputs {
                let _sent_or_dropped = output.await;
            }
        };
        tokio::time::timeout(DRAIN, all).await.is_ok()
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<oneshot::Receiver<()>> {
    let (ended, receiver) = oneshot::channel();
    let run = move || {
        work();
        let _nobody_waits = ended.send(());
    };
    std::thread::Builder::new()
        .name(name.to_owned())
        .stack_size(256 << 10)
        .spawn(run)
        .map_err(Error::io(format!("cannot start the thread for {name}")))?;
    Ok(receiver)
}

/// When nobody reads ours any more the rest is thrown away, so that the process does not hang.
fn copy_out(mut from: File, mut to: impl Write) {
    let mut buffer = vec![0; BUFFER];
    let mut reader_is_there = true;
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(n) if reader_is_there => {
                reader_is_there = to.write_all(&buffer[..n]).and_then(|()| to.flush()).is_ok();
            }
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// Unbuffered: whatever is typed goes on at once, and nothing is read ahead of need.
fn copy_in(mut to: File) {
    let mut buffer = vec![0; BUFFER];
    loop {
        match rustix::io::read(rustix::stdio::stdin(), &mut buffer) {
            Ok(0) => return,
            Ok(n) => {
                if to.write_all(&buffer[..n]).is_err() {
                    return;
                }
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    struct Broken(usize);
    impl Write for Broken {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += 1;
            if self.0 > 1 { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(bytes.len()) }
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn output_without_a_reader_is_drained() {
        let (read, write) = io::pipe().unwrap();
        let writer = std::thread::spawn(move || {
            let mut write = write;
            write.write_all(&vec![b'x'; 4 << 20])
        });
        copy_out(File::from(std::os::fd::OwnedFd::from(read)), Broken(0));
        writer.join().unwrap().unwrap();
    }
}
