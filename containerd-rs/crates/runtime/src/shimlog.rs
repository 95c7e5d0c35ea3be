//! A shim's log: the fifo `log` in its bundle, copied to the daemon's own log.

use std::io::{self, Write};
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};

use tokio::net::unix::pipe;
use tokio::task::AbortHandle;

use crate::error::Error;
use crate::options::LogSink;

/// Reads of a log that may wait for the daemon's standard error; more are dropped.
const WAITING_READS: usize = 256;

/// Copies until it is dropped.
pub(crate) struct ShimLog {
    pump: AbortHandle,
}

impl ShimLog {
    /// Makes the fifo when it is missing and starts copying it to `sink`. The fifo is held open for writing, too, so
    /// that a shim can open it before, during and after a daemon's absence. Must run inside tokio.
    pub(crate) fn open(bundle: &Path, sink: LogSink) -> Result<Self, Error> {
        let path = bundle.join("log");
        if !path.exists() {
            sys::fifo::create(&path, 0o700).map_err(Error::sys("create log fifo", &path))?;
        }
        let reader = pipe::OpenOptions::new()
            .read_write(true)
            .open_receiver(&path)
            .map_err(Error::io("open log fifo", &path))?;
        let pump = tokio::spawn(async move {
            while reader.readable().await.is_ok() {
                if let Err(error) = drain(&reader, &sink) {
                    tracing::debug!(path = %path.display(), %error, "copying a shim's log ended");
                    return;
                }
            }
        });
        Ok(Self { pump: pump.abort_handle() })
    }
}

/// The buffer lives only while there is something to copy.
fn drain(reader: &pipe::Receiver, sink: &LogSink) -> io::Result<()> {
    let mut buffer = [0u8; 4096];
    loop {
        match reader.try_read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => sink(&buffer[..n]),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(e) => return Err(e),
        }
    }
}

impl Drop for ShimLog {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

/// Writes to standard error from a thread of its own: whoever reads it slowly holds up nothing.
pub(crate) fn standard_error() -> LogSink {
    static WRITER: OnceLock<Option<SyncSender<Vec<u8>>>> = OnceLock::new();
    let writer = WRITER.get_or_init(|| {
        let (writer, reads) = sync_channel::<Vec<u8>>(WAITING_READS);
        let thread = std::thread::Builder::new().name("shim-log".to_owned()).spawn(move || {
            for read in reads {
                // There is nowhere to report that standard error is gone.
                let _ = io::stderr().lock().write_all(&read);
            }
        });
        thread.is_ok().then_some(writer)
    });
    Arc::new(move |bytes: &[u8]| {
        if let Some(writer) = writer {
            let _ = writer.try_send(bytes.to_vec());
        }
    })
}
