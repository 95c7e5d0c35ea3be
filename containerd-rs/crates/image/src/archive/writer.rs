//! Writes a tar stream into a channel, the same bytes for the same input each time.

use base::{Digest, ErrorKind, Hasher};
use bytes::Bytes;
use store::Blob;
use tar::{EntryType, Header};
use tokio::sync::mpsc;

use crate::error::{Error, Result};

const BLOCK: u64 = 512;
/// Bytes of a blob sent at once.
const CHUNK: usize = 128 << 10;

pub(super) struct Writer {
    sink: mpsc::Sender<Bytes>,
}

impl Writer {
    pub(super) fn new(sink: mpsc::Sender<Bytes>) -> Writer {
        Writer { sink }
    }

    async fn send(&self, bytes: impl Into<Bytes>) -> Result<()> {
        let gone = |_| Error::refused(ErrorKind::Canceled, "export stream was closed: context canceled");
        self.sink.send(bytes.into()).await.map_err(gone)
    }

    pub(super) async fn directory(&self, name: &str) -> Result<()> {
        self.header(name, EntryType::Directory, 0o755, 0).await
    }

    pub(super) async fn file(&self, name: &str, mode: u32, bytes: &[u8]) -> Result<()> {
        self.header(name, EntryType::Regular, mode, bytes.len() as u64).await?;
        self.send(bytes.to_vec()).await?;
        self.pad(bytes.len() as u64).await
    }

    /// A blob; what is written is checked against its digest.
    pub(super) async fn blob(&self, name: &str, blob: &Blob, digest: &Digest, size: u64) -> Result<()> {
        if blob.size() != size {
            let text = format!(
                "content {digest} has {} bytes where its descriptor says {size}: data loss",
                blob.size()
            );
            return Err(Error::refused(ErrorKind::DataLoss, text));
        }
        self.header(name, EntryType::Regular, 0o444, size).await?;
        let mut hasher = Hasher::new(digest.algorithm());
        let mut offset = 0;
        while offset < size {
            let chunk = blob.chunk(offset, CHUNK).await?;
            if chunk.is_empty() {
                break;
            }
            offset += chunk.len() as u64;
            hasher.update(&chunk);
            self.send(chunk).await?;
        }
        let found = hasher.finish();
        if found != *digest {
            return Err(Error::refused(
                ErrorKind::DataLoss,
                format!("unexpected digest {found} copied, expected {digest}: data loss"),
            ));
        }
        self.pad(size).await
    }

    async fn pad(&self, size: u64) -> Result<()> {
        match (size.next_multiple_of(BLOCK) - size) as usize {
            0 => Ok(()),
            n => self.send(vec![0; n]).await,
        }
    }

    /// The end mark.
    pub(super) async fn finish(self) -> Result<()> {
        self.send(vec![0; 2 * BLOCK as usize]).await
    }

    async fn header(&self, name: &str, kind: EntryType, mode: u32, size: u64) -> Result<()> {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        if header.set_path(name).is_err() {
            self.long_name(name).await?;
            let short: String = name.chars().filter(char::is_ascii).take(100).collect();
            header.set_path(short).map_err(|e| Error::archive(format!("write entry {name}"), e))?;
        }
        header.set_cksum();
        self.send(header.as_bytes().to_vec()).await
    }

    /// A pax record for a name that does not fit the header.
    async fn long_name(&self, name: &str) -> Result<()> {
        let rest = format!(" path={name}\n");
        let mut length = rest.len() + 1;
        while length != rest.len() + length.to_string().len() {
            length = rest.len() + length.to_string().len();
        }
        let record = format!("{length}{rest}");
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::XHeader);
        header.set_size(record.len() as u64);
        header.set_path("PaxHeaders.0/name").map_err(|e| Error::archive("write pax header", e))?;
        header.set_mtime(0);
        header.set_cksum();
        self.send(header.as_bytes().to_vec()).await?;
        let size = record.len() as u64;
        self.send(record).await?;
        self.pad(size).await
    }
}
