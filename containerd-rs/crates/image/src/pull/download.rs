//! One blob into the store, resumed where an earlier try stopped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base::{Descriptor, Digest, ErrorKind, Kinded, Labels};
use base64::Engine;
use store::{ContentWriter, WriterOptions};
use tokio::time::{Instant, sleep};

use super::Fetch;
use crate::error::{Error, Result};
use crate::manifest::{add_labels, ingest_ref};
use crate::registry::BlobStream;

/// How long an ingest that somebody else fills may stand still before we stop waiting for it.
const BUSY_PATIENCE: Duration = Duration::from_secs(120);

/// A blob to fetch, and where its bytes are counted.
pub(crate) struct Download<'a> {
    pub(crate) descriptor: &'a Descriptor,
    pub(crate) bytes: Arc<AtomicU64>,
}

impl Fetch {
    /// Brings one blob into the store, or finds it there. What arrived before a failure stays for
    /// the next try, unless its digest is wrong.
    pub(crate) async fn download(&self, download: Download<'_>) -> Result<()> {
        let descriptor = download.descriptor;
        let Some(mut writer) = self.open_ingest(descriptor).await? else {
            self.reporter.exists(descriptor);
            return self.note_source(&descriptor.digest).await;
        };
        match self.fill(&mut *writer, &download).await {
            Ok(()) => {}
            Err(e) => {
                writer.close().await;
                if e.kind() == ErrorKind::FailedPrecondition {
                    // Bytes of nobody's image are not worth keeping.
                    let _ = self.local.content.abort(&self.scope, &ingest_ref(descriptor)).await;
                }
                return Err(e);
            }
        }
        self.commit(&mut *writer, descriptor, Labels::new()).await?;
        self.reporter.complete(descriptor);
        Ok(())
    }

    /// Opens the ingest; `None`: the blob is in the store. While another transfer fetches the same
    /// blob this waits for it, as long as that one moves.
    pub(crate) async fn open_ingest(
        &self,
        descriptor: &Descriptor,
    ) -> Result<Option<Box<dyn ContentWriter>>> {
        let total = descriptor.checked_size().map_err(|e| Error::invalid(e.to_string()))?;
        let options = WriterOptions::new(ingest_ref(descriptor)).expect(descriptor.digest.clone(), total);
        let (mut seen, mut moved) = (None, Instant::now());
        let mut pause = Duration::from_millis(20);
        loop {
            match self.local.content.writer(&self.scope, options.clone()).await {
                Ok(writer) => return Ok(Some(writer)),
                Err(e) if e.is_already_exists() => return Ok(None),
                Err(e) if e.kind() == ErrorKind::Unavailable && moved.elapsed() < BUSY_PATIENCE => {}
                Err(e) => return Err(e.into()),
            }
            let offset =
                self.local.content.status(&self.scope, &options.reference).await.ok().map(|s| s.offset);
            if offset != seen {
                (seen, moved) = (offset, Instant::now());
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    /// Fills the ingest up to the descriptor's size with bytes that have its digest.
    async fn fill(&self, writer: &mut dyn ContentWriter, download: &Download<'_>) -> Result<()> {
        let descriptor = download.descriptor;
        let size = descriptor.checked_size().map_err(|e| Error::invalid(e.to_string()))?;
        if writer.offset() > size {
            writer.truncate(0).await?;
        }
        if let Some(data) = inline(descriptor).filter(|_| writer.offset() < size) {
            writer.truncate(0).await?;
            return Ok(writer.write(&data).await?);
        }
        let mut resumed = writer.offset() > 0;
        let mut stream = self.repository.fetch(descriptor, writer.offset())?;
        loop {
            copy(&mut stream, writer, &download.bytes).await?;
            let found = writer.digest();
            if found == descriptor.digest {
                return Ok(());
            }
            writer.truncate(0).await?;
            if resumed {
                // The bytes of an earlier try may be to blame: once more from here, all of it.
                resumed = false;
                stream = self.repository.fetch(descriptor, 0)?;
            } else if !stream.restart_elsewhere(found.as_str()) {
                let text = format!("unexpected commit digest {found}, expected {}", descriptor.digest);
                return Err(Error::precondition(format!("{text}: {}: failed precondition", stream.failed())));
            }
        }
    }

    /// Makes the ingest a blob, with `labels` and where it came from.
    pub(crate) async fn commit(
        &self,
        writer: &mut dyn ContentWriter,
        descriptor: &Descriptor,
        mut labels: Labels,
    ) -> Result<()> {
        labels.extend(self.source.label(&Labels::new()));
        let size = descriptor.checked_size().map_err(|e| Error::invalid(e.to_string()))?;
        match writer.commit(size, Some(&descriptor.digest), labels.clone()).await {
            Err(e) if e.is_already_exists() => {
                add_labels(&*self.local.content, &self.scope, &descriptor.digest, labels).await
            }
            done => Ok(done?),
        }
    }

    /// Adds where it can be had from to a blob that was here already.
    pub(crate) async fn note_source(&self, digest: &Digest) -> Result<()> {
        let info = self.local.content.info(&self.scope, digest).await?;
        match self.source.label(&info.labels) {
            Some((key, value)) if info.labels.get(&key) != Some(&value) => {
                add_labels(&*self.local.content, &self.scope, digest, Labels::from([(key, value)])).await
            }
            _ => Ok(()),
        }
    }
}

async fn copy(stream: &mut BlobStream, writer: &mut dyn ContentWriter, bytes: &AtomicU64) -> Result<()> {
    bytes.store(writer.offset(), Ordering::Relaxed);
    while let Some(chunk) = stream.next().await? {
        writer.write(&chunk).await?;
        bytes.store(writer.offset(), Ordering::Relaxed);
    }
    Ok(())
}

/// The content that the descriptor carries itself, if it is what the descriptor says.
pub(crate) fn inline(descriptor: &Descriptor) -> Option<Vec<u8>> {
    let text = descriptor.data.as_ref()?;
    let data = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
    (data.len() as i64 == descriptor.size && descriptor.digest.verifies(&data)).then_some(data)
}
