//! A blob opened for reading.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::{Error, Result};

/// Bytes of a blob that is somewhere else.
#[async_trait]
pub trait RemoteBlob: Send + Sync {
    /// Bytes in all.
    fn size(&self) -> u64;
    /// Reads at most `buf.len()` bytes at `offset`; 0 only at the end.
    async fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize>;
}

/// A blob. Clones share the open file.
#[derive(Clone)]
pub struct Blob {
    inner: Inner,
}

#[derive(Clone)]
enum Inner {
    Local { file: Arc<File>, size: u64, path: Arc<PathBuf> },
    Remote(Arc<dyn RemoteBlob>),
}

impl Blob {
    pub(crate) fn local(file: File, size: u64, path: PathBuf) -> Self {
        Blob { inner: Inner::Local { file: Arc::new(file), size, path: Arc::new(path) } }
    }

    /// A blob read through `remote`.
    pub fn remote(remote: Arc<dyn RemoteBlob>) -> Self {
        Blob { inner: Inner::Remote(remote) }
    }

    /// Bytes in all.
    pub fn size(&self) -> u64 {
        match &self.inner {
            Inner::Local { size, .. } => *size,
            Inner::Remote(remote) => remote.size(),
        }
    }

    /// The file with the bytes, if it is on this machine. Its offset is shared: use positioned reads.
    pub fn try_file(&self) -> Option<&File> {
        match &self.inner {
            Inner::Local { file, .. } => Some(file),
            Inner::Remote(_) => None,
        }
    }

    /// Reads at most `buf.len()` bytes at `offset`; 0 at the end. Reads a local file inline: for
    /// small reads; [`Blob::chunk`] does not hold up the runtime.
    pub async fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        match &self.inner {
            Inner::Local { file, path, .. } => {
                retry(|| file.read_at(buf, offset)).map_err(|e| Error::io("read", path, e))
            }
            Inner::Remote(remote) => remote.read_at(offset, buf).await,
        }
    }

    /// Up to `len` bytes at `offset`: fewer only at the end.
    pub async fn chunk(&self, offset: u64, len: usize) -> Result<Bytes> {
        let left = usize::try_from(self.size().saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut buf = vec![0u8; len.min(left)];
        let this = self.clone();
        match &self.inner {
            Inner::Local { .. } => {
                let read = move || {
                    let n = this.fill(offset, &mut buf)?;
                    buf.truncate(n);
                    Ok(buf)
                };
                super::backend::blocking(read).await.map(Bytes::from)
            }
            Inner::Remote(remote) => {
                let mut n = 0;
                while n < buf.len() {
                    match remote.read_at(offset + n as u64, &mut buf[n..]).await? {
                        0 => break,
                        more => n += more,
                    }
                }
                buf.truncate(n);
                Ok(Bytes::from(buf))
            }
        }
    }

    /// Fills `buf` from a local file as far as there are bytes.
    fn fill(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let Inner::Local { file, path, .. } = &self.inner else { return Ok(0) };
        let mut n = 0;
        while n < buf.len() {
            match retry(|| file.read_at(&mut buf[n..], offset + n as u64)) {
                Ok(0) => break,
                Ok(more) => n += more,
                Err(e) => return Err(Error::io("read", path, e)),
            }
        }
        Ok(n)
    }

    /// All bytes, if there are at most `max`.
    ///
    /// # Errors
    /// ResourceExhausted for a bigger blob, DataLoss when it ends early.
    pub async fn read_all(&self, max: u64) -> Result<Bytes> {
        let size = self.size();
        if size > max {
            let text = format!("blob of {size} bytes is larger than the {max} allowed here");
            return Err(Error::refused(base::ErrorKind::ResourceExhausted, text));
        }
        let bytes = self.chunk(0, size as usize).await?;
        if bytes.len() as u64 != size {
            let text = format!("blob ends after {} of {size} bytes", bytes.len());
            return Err(Error::refused(base::ErrorKind::DataLoss, text));
        }
        Ok(bytes)
    }
}

fn retry(mut read: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match read() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
