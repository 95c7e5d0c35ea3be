//! Writes the difference of two sets of mounts into the content store.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use base::oci::media_type;
use base::{Algorithm, Descriptor, Digest, ErrorKind, Hasher, Kinded, Mount, Scope, labels};
use rustix::fs::{Mode, OFlags};
use store::{ContentWriter, WriterOptions};
use sys::mount::TempMount;
use tokio::sync::mpsc;

use super::Walking;
use crate::differ::CompareOptions;
use crate::error::{Error, Result, blocking};
use crate::layer::{Trees, write_difference};

/// Bytes handed to the content store at a time.
const CHUNK: usize = 256 * 1024;
/// Chunks on their way.
const DEPTH: usize = 4;
/// Levels of the encoders: gzip's and zstd's defaults.
const GZIP_LEVEL: u32 = 6;
const ZSTD_LEVEL: i32 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    None,
    Gzip,
    Zstd,
}

pub(super) async fn compare(
    differ: &Walking,
    scope: &Scope,
    lower: &[Mount],
    upper: &[Mount],
    mut options: CompareOptions,
) -> Result<Descriptor> {
    if options.media_type.is_empty() {
        options.media_type = media_type::OCI_LAYER_GZIP.to_owned();
    }
    let packing = packing(&options.media_type)?;
    let fresh = options.reference.is_empty();
    if fresh {
        options.reference = unique_reference();
    }
    let mut writer = differ
        .content
        .writer(scope, WriterOptions::new(options.reference.clone()))
        .await
        .map_err(|e| Error::from(e).during("failed to open writer"))?;
    let (lower, upper) = (Made::of(differ, lower).await?, Made::of(differ, &read_only(upper)).await?);
    let walk = Walk {
        lower: lower.mounts.clone(),
        upper: upper.mounts.clone(),
        tmp_dir: differ.workers.options().tmp_dir.clone(),
        packing,
        latest: options.source_date_epoch.map(seconds),
    };
    let written = write_layer(&mut *writer, walk, &options).await;
    lower.close().await;
    upper.close().await;
    match written {
        Ok(written) => describe(differ, scope, written, options.media_type).await,
        Err(e) => {
            writer.close().await;
            if fresh && let Err(e) = differ.content.abort(scope, &options.reference).await {
                let error = base::chain(&e);
                tracing::warn!(reference = options.reference, error, "failed to delete diff upload");
            }
            Err(e)
        }
    }
}

/// Mounts that can be mounted as they are, and what that took.
struct Made {
    mounts: Vec<Mount>,
    below: Option<mounts::Temporary>,
}

impl Made {
    async fn of(differ: &Walking, mounts: &[Mount]) -> Result<Self> {
        let below = match &differ.mounts {
            Some(manager) => manager.temporary(mounts).await?,
            None => None,
        };
        let mounts = below.as_ref().map_or(mounts, |below| below.mounts()).to_vec();
        Ok(Made { mounts, below })
    }

    async fn close(self) {
        if let Some(below) = self.below
            && let Err(e) = below.close().await
        {
            tracing::warn!(error = %base::chain(&e), "mounts of a comparison stay until the next clean-up");
        }
    }
}

/// A writable image may be mounted elsewhere: a second mount of it must not write.
fn read_only(mounts: &[Mount]) -> Vec<Mount> {
    let mut mounts = mounts.to_vec();
    for mount in mounts.iter_mut().filter(|m| m.fstype.starts_with("mkfs/")) {
        mount.options.retain(|o| o != "rw");
        mount.options.extend(["ro".to_owned(), "noload".to_owned()]);
    }
    mounts
}

/// A layer in the content store.
struct Written {
    digest: Digest,
    /// For compressed ones: the digest of the plain tar.
    diff_id: Option<Digest>,
}

/// Writes and commits.
async fn write_layer(
    writer: &mut dyn ContentWriter,
    walk: Walk,
    options: &CompareOptions,
) -> Result<Written> {
    if writer.offset() > 0 {
        writer.truncate(0).await?;
    }
    let (chunks, mut written) = mpsc::channel(DEPTH);
    let compressed = walk.packing != Packing::None;
    // Owns the mounts: they go when the walk has ended, however this future ends.
    let walking =
        tokio::spawn(blocking(move || walk.run(chunks).map_err(|e| e.during("failed to write diff"))));
    while let Some(chunk) = written.recv().await {
        writer.write(&chunk).await?;
    }
    let diff_id = walking.await.map_err(Error::Task)??;
    let diff_id = compressed.then_some(diff_id);
    let mut labels = options.labels.clone();
    if let Some(diff_id) = &diff_id {
        labels.insert(labels::UNCOMPRESSED.into(), diff_id.to_string());
    }
    let digest = writer.digest();
    match writer.commit(0, Some(&digest), labels).await {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => Err(Error::from(e).during("failed to commit")),
        _ => Ok(Written { digest, diff_id }),
    }
}

/// The descriptor; and the label on a blob that was there before without it.
async fn describe(
    differ: &Walking,
    scope: &Scope,
    written: Written,
    media_type: String,
) -> Result<Descriptor> {
    let mut info = differ.content.info(scope, &written.digest).await?;
    if let Some(diff_id) = written.diff_id
        && !info.labels.contains_key(labels::UNCOMPRESSED)
    {
        info.labels.insert(labels::UNCOMPRESSED.into(), diff_id.to_string());
        let mask = [format!("labels.{}", labels::UNCOMPRESSED)];
        info = differ.content.update(scope, info, &mask).await?;
    }
    let size = i64::try_from(info.size);
    let size = size.map_err(|_| Error::refused(ErrorKind::OutOfRange, "layer size out of range"))?;
    Ok(Descriptor::new(media_type, written.digest, size))
}

fn packing(media_type: &str) -> Result<Packing> {
    match media_type {
        media_type::OCI_LAYER => Ok(Packing::None),
        media_type::OCI_LAYER_GZIP => Ok(Packing::Gzip),
        media_type::OCI_LAYER_ZSTD => Ok(Packing::Zstd),
        other => {
            let message = format!("unsupported diff media type: {other}");
            Err(Error::refused(ErrorKind::Unimplemented, message))
        }
    }
}

fn unique_reference() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("diff-{}-{}", now.as_nanos(), NEXT.fetch_add(1, Ordering::Relaxed))
}

static NEXT: AtomicU64 = AtomicU64::new(0);

fn seconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX))
}

/// The blocking part.
struct Walk {
    lower: Vec<Mount>,
    upper: Vec<Mount>,
    tmp_dir: PathBuf,
    packing: Packing,
    latest: Option<i64>,
}

impl Walk {
    /// Mounts, walks, packs; gives the digest of the plain tar.
    fn run(self, chunks: mpsc::Sender<Vec<u8>>) -> Result<Digest> {
        sys::fs::ensure_dir(&self.tmp_dir, 0o700)?;
        let lower = TempMount::new(&self.lower, &self.tmp_dir)?;
        let upper = TempMount::read_only(&self.upper, &self.tmp_dir)?;
        let touched = touched_by(&self.lower, &self.upper).and_then(|path| open_dir(Path::new(path)).ok());
        let trees = Trees { lower: open_dir(lower.path())?, upper: open_dir(upper.path())?, touched };
        let written = self.write(trees, chunks);
        // Both go, whatever became of the walk.
        let closed = upper.close().and(lower.close());
        let digest = written.map_err(|e| Error::io("read the difference in", &self.tmp_dir, e))?;
        closed?;
        Ok(digest)
    }

    fn write(&self, trees: Trees, chunks: mpsc::Sender<Vec<u8>>) -> io::Result<Digest> {
        let mut sink = Chunks { chunks, buffer: Vec::with_capacity(CHUNK) };
        let mut hasher = Hasher::new(Algorithm::Sha256);
        match self.packing {
            Packing::None => write_difference(trees, Hashing(&mut sink, &mut hasher), self.latest)?,
            Packing::Gzip => {
                // No name, time or system: the same layer gives the same bytes everywhere.
                let builder = flate2::GzBuilder::new().operating_system(255);
                let mut gzip = builder.write(&mut sink, flate2::Compression::new(GZIP_LEVEL));
                write_difference(trees, Hashing(&mut gzip, &mut hasher), self.latest)?;
                gzip.finish()?;
            }
            Packing::Zstd => {
                let mut zstd = zstd::stream::write::Encoder::new(&mut sink, ZSTD_LEVEL)?;
                write_difference(trees, Hashing(&mut zstd, &mut hasher), self.latest)?;
                zstd.finish()?;
            }
        }
        sink.flush()?;
        Ok(hasher.finish())
    }
}

fn open_dir(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|e| Error::io("open", path, e))
}

/// The upper directory, when `upper` is an overlay over exactly what `lower` shows: then nothing
/// outside that directory can differ.
fn touched_by<'a>(lower: &[Mount], upper: &'a [Mount]) -> Option<&'a str> {
    let ([lower], [upper]) = (lower, upper) else { return None };
    let option = |mount: &'a Mount, key: &str| mount.options.iter().find_map(|o| o.strip_prefix(key));
    if upper.fstype != "overlay" || !upper.target.is_empty() || !lower.target.is_empty() {
        return None;
    }
    let layers = option(upper, "lowerdir=")?;
    let shows_the_same = match lower.fstype.as_str() {
        "bind" => lower.source == layers,
        "overlay" => {
            let has = |key: &str| lower.options.iter().find_map(|o| o.strip_prefix(key).map(str::to_owned));
            has("upperdir=").is_none() && has("lowerdir=").as_deref() == Some(layers)
        }
        _ => false,
    };
    if shows_the_same { option(upper, "upperdir=") } else { None }
}

/// Hashes what goes through.
struct Hashing<'a, W>(&'a mut W, &'a mut Hasher);

impl<W: Write> Write for Hashing<'_, W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write_all(buf)?;
        self.1.update(buf);
        Ok(buf.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Hands chunks to the task that writes them.
struct Chunks {
    chunks: mpsc::Sender<Vec<u8>>,
    buffer: Vec<u8>,
}

impl Write for Chunks {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = buf.len().min(CHUNK - self.buffer.len());
        self.buffer.extend_from_slice(&buf[..n]);
        if self.buffer.len() == CHUNK {
            self.flush()?;
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let full = std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK));
        self.chunks.blocking_send(full).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}
