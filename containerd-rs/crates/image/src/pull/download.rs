//! One blob into the store, resumed where an earlier try stopped.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use base::oci::media_type;
use base::{Descriptor, Digest, ErrorKind, Kinded, Labels};
use base64::Engine;
use store::{ContentWriter, WriterOptions};
use tokio::time::{Instant, sleep};

use super::Fetch;
use super::arrivals::Ticket;
use super::flight::{Flight, Turn};
use super::flow::{Spout, flow};
use super::ranged::Into;
use crate::error::{Error, Result};
use crate::manifest::{add_labels, ingest_ref};

/// How long an ingest that somebody else fills may stand still before we stop waiting for it.
const BUSY_PATIENCE: Duration = Duration::from_secs(120);

/// Blobs from this size on can be read while they arrive.
const FLOW_FROM: u64 = 1 << 20;

/// A blob to fetch, and where its bytes are counted.
pub(crate) struct Download<'a> {
    pub(crate) ticket: &'a Ticket,
    pub(crate) bytes: Arc<AtomicU64>,
}

impl Fetch {
    /// Brings one blob into the store, or finds it there. While somebody else brings it this waits.
    /// What arrived before a failure stays for the next try, unless its digest is wrong.
    pub(crate) async fn download(&self, download: Download<'_>) -> Result<()> {
        let descriptor = &download.ticket.descriptor;
        let flight = Flight::join(&self.local.content, &descriptor.digest);
        let turn = flight.turn(|flow| download.ticket.flowing(flow)).await;
        let _connection = self.throttle.connection(self.repository.registry()).await;
        let Some(mut writer) = self.open_ingest(descriptor).await? else {
            self.reporter.exists(descriptor);
            return self.note_source(&descriptor.digest).await;
        };
        match self.fill(&mut *writer, &download, &turn).await {
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
    async fn fill(&self, writer: &mut dyn ContentWriter, download: &Download<'_>, turn: &Turn) -> Result<()> {
        let descriptor = &download.ticket.descriptor;
        let size = descriptor.checked_size().map_err(|e| Error::invalid(e.to_string()))?;
        if writer.offset() > size {
            writer.truncate(0).await?;
        }
        if let Some(data) = inline(descriptor).filter(|_| writer.offset() < size) {
            writer.truncate(0).await?;
            return Ok(writer.write(&data).await?);
        }
        let mut resumed = writer.offset() > 0;
        let mut spout = self.open_flow(download.ticket, size, turn).await;
        let mut elsewhere = None;
        loop {
            let mut into = Into { writer: &mut *writer, bytes: &download.bytes, spout: spout.as_mut() };
            let mut stream = match elsewhere.take() {
                Some(stream) => stream,
                None => {
                    self.ranges(descriptor, &mut into).await?;
                    self.repository.fetch(descriptor, into.writer.offset())?
                }
            };
            into.copy(&mut stream).await?;
            let found = writer.digest();
            if found == descriptor.digest {
                if let Some(spout) = spout {
                    spout.all();
                }
                return Ok(());
            }
            // Whoever read behind us must not take what comes now for what comes next.
            spout = None;
            writer.truncate(0).await?;
            if resumed {
                // The bytes of an earlier try may be to blame: once more from here, all of it.
                resumed = false;
            } else if stream.restart_elsewhere(found.as_str()) {
                elsewhere = Some(stream);
            } else {
                let text = format!("unexpected commit digest {found}, expected {}", descriptor.digest);
                return Err(Error::precondition(format!("{text}: {}: failed precondition", stream.failed())));
            }
        }
    }

    /// Lets the layer be read while it arrives, where the store can.
    async fn open_flow(&self, ticket: &Ticket, size: u64, turn: &Turn) -> Option<Spout> {
        let descriptor = &ticket.descriptor;
        if size < FLOW_FROM || !media_type::is_layer(&descriptor.media_type) {
            return None;
        }
        let file = self.local.content.ingest_file(&self.scope, &ingest_ref(descriptor)).await.ok()??;
        let (spout, flow) = flow(file, size);
        let flow = Arc::new(flow);
        turn.publish(Arc::clone(&flow));
        ticket.flowing(flow);
        Some(spout)
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

/// The content that the descriptor carries itself, if it is what the descriptor says.
pub(crate) fn inline(descriptor: &Descriptor) -> Option<Vec<u8>> {
    let text = descriptor.data.as_ref()?;
    let data = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
    (data.len() as i64 == descriptor.size && descriptor.digest.verifies(&data)).then_some(data)
}
