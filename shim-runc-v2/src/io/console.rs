//! The socket on which the runtime hands over the master side of a terminal.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::Error;
use tokio::net::UnixListener;

/// How long the runtime may take from its end to the arrival of the terminal.
const LIMIT: Duration = Duration::from_secs(30);

/// A socket in a directory of its own; both go when this is dropped.
pub(crate) struct ConsoleSocket {
    dir: PathBuf,
    path: PathBuf,
    listener: UnixListener,
}

impl ConsoleSocket {
    /// Binds one below `$XDG_RUNTIME_DIR` or the temporary directory: a socket's path must be short, a bundle's need not be.
    ///
    /// # Errors
    /// The directory or socket cannot be made.
    pub(crate) fn new() -> Result<Self, Error> {
        let parent = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let failed = |e: String| Error::unknown(format!("failed to create OCI runtime console socket: {e}"));
        let dir = sys::fs::create_unique_dir(&parent, "pty").map_err(|e| failed(base::chain(&e)))?;
        let path = dir.join("pty.sock");
        match UnixListener::bind(&path) {
            Ok(listener) => Ok(ConsoleSocket { dir, path, listener }),
            Err(e) => {
                let _ = std::fs::remove_dir(&dir);
                Err(failed(e.to_string()))
            }
        }
    }

    /// What the runtime is told.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The terminal, non-blocking.
    ///
    /// # Errors
    /// None came within 30 s, or something else did.
    pub(crate) async fn receive(&self) -> Result<OwnedFd, Error> {
        let failed = |e: String| Error::unknown(format!("failed to retrieve console master: {e}"));
        let wait = async {
            let (stream, _) = self.listener.accept().await.map_err(|e| failed(e.to_string()))?;
            stream.readable().await.map_err(|e| failed(e.to_string()))?;
            let (fd, _) = sys::console::receive_fd(&stream).map_err(|e| failed(base::chain(&e)))?;
            rustix::io::ioctl_fionbio(&fd, true).map_err(|e| failed(e.to_string()))?;
            Ok(fd)
        };
        match tokio::time::timeout(LIMIT, wait).await {
            Ok(done) => done,
            Err(_) => Err(failed(format!("the runtime sent none within {} s", LIMIT.as_secs()))),
        }
    }
}

impl Drop for ConsoleSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
        let _ = std::fs::remove_dir(&self.dir);
    }
}
