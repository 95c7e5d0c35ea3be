//! The EROFS differ: layers straight into images, without a tree in between.
//!
//! A tar goes, unpacked, through `mkfs.erofs --tar`; an image that is a layer already is copied. It works on what the EROFS
//! snapshotter prepared only; everything else, and making layers, is left to the next differ.

mod make;

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base::oci::media_type;
use base::{Algorithm, Descriptor, Digest, ErrorKind, Hasher, Mount, Scope};
use bytes::Bytes;
use store::{Blob, ContentStore};
use tokio::sync::mpsc;

use super::image;
use crate::differ::{ApplyOptions, CompareOptions, Differ, Progress};
use crate::error::{Error, Result, blocking};
use crate::worker::{Packing, plain};

/// Tells that a directory is one that this differ may put an image into.
pub(crate) const MARK: &str = ".erofslayer";

/// Bytes of a blob that are read at a time.
const CHUNK: usize = 1 << 20;
/// Chunks on their way.
const DEPTH: usize = 4;

/// Settings, as in the config table of the plugin.
#[derive(Debug, Clone, Default)]
pub struct ErofsDifferOptions {
    /// Arguments for `mkfs.erofs`.
    pub mkfs_options: Vec<String>,
    /// Index tars instead of converting them: the image is the index with the tar behind it.
    pub enable_tar_index: bool,
}

/// The EROFS differ.
#[derive(Clone)]
pub struct ErofsDiffer {
    content: Arc<dyn ContentStore>,
    options: Arc<ErofsDifferOptions>,
}

impl ErofsDiffer {
    /// A differ on `content`. See [`supported`].
    pub fn new(content: Arc<dyn ContentStore>, options: ErofsDifferOptions) -> Self {
        ErofsDiffer { content, options: Arc::new(options) }
    }
}

/// Whether `mkfs.erofs` is here and reads tars (erofs-utils 1.7). Blocks.
///
/// # Errors
/// A failed precondition, with the words for the plugin list, when not.
pub fn supported() -> Result<()> {
    let help = sys::program::run("mkfs.erofs", &["--help"], Duration::from_secs(30)).map_err(|e| {
        Error::precondition(format!("failed to check mkfs.erofs availability: {}", base::chain(&e)))
    })?;
    match help.contains("--tar=") {
        true => Ok(()),
        false => Err(Error::precondition(
            "mkfs.erofs does not support tar mode (--tar option), disabling erofs differ",
        )),
    }
}

#[async_trait]
impl Differ for ErofsDiffer {
    async fn apply(
        &self,
        scope: &Scope,
        layer: &Descriptor,
        mounts: &[Mount],
        options: ApplyOptions,
    ) -> Result<Descriptor> {
        let form = Form::of(&layer.media_type)?;
        let directory = layer_directory(mounts).ok_or_else(|| {
            Error::refused(ErrorKind::Unimplemented, "mount layer type must be erofs-layer")
        })?;
        let blob = self
            .content
            .open(scope, &layer.digest)
            .await
            .map_err(|e| Error::from(e).during("failed to get reader from content store"))?;
        let (feeder, chunks) = mpsc::channel(DEPTH);
        let make = Make {
            form,
            directory,
            blob: layer.digest.clone(),
            options: Arc::clone(&self.options),
            sync: options.sync_fs,
        };
        let made = tokio::spawn(blocking(move || make.run(Chunks { chunks, current: Bytes::new() })));
        feed(&blob, feeder, options.progress.as_ref()).await;
        let (digest, size) = made.await.map_err(Error::Task)??;
        let size = i64::try_from(size);
        let size = size.map_err(|_| Error::refused(ErrorKind::OutOfRange, "layer size out of range"))?;
        let media_type = if form.is_image { media_type::EROFS_LAYER } else { media_type::OCI_LAYER };
        Ok(Descriptor::new(media_type, digest, size))
    }

    /// What an active snapshot has over its parent is walked like any other's.
    async fn compare(&self, _: &Scope, _: &[Mount], _: &[Mount], _: CompareOptions) -> Result<Descriptor> {
        Err(Error::refused(ErrorKind::Unimplemented, "the erofs differ does not make layers"))
    }
}

/// What the bytes of a layer are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Form {
    /// An EROFS image, not a tar.
    is_image: bool,
    packing: Packing,
}

impl Form {
    fn of(media_type: &str) -> Result<Self> {
        match media_type.strip_prefix(media_type::EROFS_LAYER) {
            Some("") => Ok(Form { is_image: true, packing: Packing::Plain }),
            Some("+zstd") => Ok(Form { is_image: true, packing: Packing::Detect }),
            Some(other) => Err(Error::refused(
                ErrorKind::Unimplemented,
                format!("unsupported erofs layer suffix: {}", other.trim_start_matches('+')),
            )),
            None => Ok(Form { is_image: false, packing: crate::walking::packing(media_type)? }),
        }
    }
}

/// The directory of the snapshot behind these mounts, when the EROFS snapshotter prepared it.
pub(crate) fn layer_directory(mounts: &[Mount]) -> Option<PathBuf> {
    let (first, last) = (mounts.first()?, mounts.last()?);
    let value = |key: &str| last.options.iter().find_map(|o| o.strip_prefix(key));
    let path = match last.fstype.rsplit('/').next()? {
        _ if first.fstype.starts_with("mkfs/") => &first.source,
        "bind" | "erofs" => &last.source,
        "overlay" => match value("upperdir=") {
            Some(upper) => upper,
            None => value("lowerdir=").map(|_| &first.source)?,
        },
        _ => return None,
    };
    let directory = Path::new(path).parent()?;
    directory.join(MARK).exists().then(|| directory.to_owned())
}

/// Ends early when nobody reads any more: whoever read knows why.
async fn feed(blob: &Blob, feeder: mpsc::Sender<io::Result<Bytes>>, progress: Option<&Progress>) {
    let mut at = 0;
    while at < blob.size() {
        let chunk = blob.chunk(at, CHUNK).await;
        let (length, chunk) = match chunk {
            Ok(chunk) if chunk.is_empty() => return,
            Ok(chunk) => (chunk.len() as u64, Ok(chunk)),
            Err(e) => (blob.size(), Err(io::Error::other(base::chain(&e)))),
        };
        if feeder.send(chunk).await.is_err() {
            return;
        }
        at += length;
        if let Some(progress) = progress {
            progress(at.min(blob.size()));
        }
    }
}

/// The other end of [`feed`].
struct Chunks {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl Read for Chunks {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.chunks.blocking_recv() {
                Some(chunk) => self.current = chunk?,
                None => return Ok(0),
            }
        }
        let n = buf.len().min(self.current.len());
        buf[..n].copy_from_slice(&self.current.split_to(n));
        Ok(n)
    }
}

/// One image to be made.
struct Make {
    form: Form,
    directory: PathBuf,
    blob: Digest,
    options: Arc<ErofsDifferOptions>,
    sync: bool,
}

impl Make {
    /// Digest and size of the plain bytes. Never a part of an image: made beside, then renamed.
    fn run(self, chunks: Chunks) -> Result<(Digest, u64)> {
        let read_failed = |e| Error::io("read layer for", &self.directory, e);
        let source = plain(chunks, self.form.packing).map_err(read_failed)?;
        let mut source = Hashing { source, hasher: Hasher::new(Algorithm::Sha256), size: 0 };
        let fresh = self.directory.join("layer.new");
        let made = match (self.form.is_image, self.options.enable_tar_index) {
            (true, _) => make::copied(&mut source, &fresh),
            (false, true) => make::indexed(&mut source, &fresh, &self.options.mkfs_options, &self.uuid()),
            (false, false) => make::converted(&mut source, &fresh, &self.options.mkfs_options, &self.uuid()),
        };
        let made = made.and_then(|()| self.put(&fresh));
        if made.is_err() {
            let _ = std::fs::remove_file(&fresh);
        }
        made?;
        Ok((source.hasher.finish(), source.size))
    }

    fn put(&self, fresh: &Path) -> Result<()> {
        if self.sync {
            sys::fs::syncfs(&self.directory)?;
        }
        std::fs::rename(fresh, image(&self.directory)).map_err(|e| Error::io("rename", fresh, e))
    }

    /// The same layer makes the same image everywhere.
    fn uuid(&self) -> String {
        let digest = Digest::sha256(format!("erofs:blobs/{}", self.blob).as_bytes());
        let hex = digest.hex();
        // Version 8: made by rules of our own.
        format!("{}-{}-8{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32])
    }
}

/// Hashes and counts what goes through.
struct Hashing<'a> {
    source: Box<dyn Read + Send + 'a>,
    hasher: Hasher,
    size: u64,
}

impl Read for Hashing<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.source.read(buf)?;
        self.hasher.update(&buf[..n]);
        self.size += n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use base::Kinded;

    use super::*;

    #[test]
    fn forms() {
        let form = |t: &str| Form::of(t).map(|f| (f.is_image, f.packing)).map_err(|e| e.kind());
        assert_eq!(form("application/vnd.erofs.layer.v1"), Ok((true, Packing::Plain)));
        assert_eq!(form("application/vnd.erofs.layer.v1+zstd"), Ok((true, Packing::Detect)));
        assert_eq!(form("application/vnd.erofs.layer.v1+gzip"), Err(ErrorKind::Unimplemented));
        assert_eq!(form(media_type::OCI_LAYER_GZIP), Ok((false, Packing::Detect)));
        assert_eq!(form("text/plain"), Err(ErrorKind::Unimplemented));
    }

    #[test]
    fn whose_mounts_these_are() {
        let dir = tempfile::tempdir().unwrap();
        let (ours, other) = (dir.path().join("1"), dir.path().join("2"));
        std::fs::create_dir_all(ours.join("fs")).unwrap();
        std::fs::create_dir_all(other.join("fs")).unwrap();
        std::fs::write(ours.join(MARK), "").unwrap();
        let path = |d: &Path, name: &str| d.join(name).display().to_string();
        let bind = |d: &Path| Mount::new("bind", path(d, "fs"), vec!["rw".into()]);
        let overlay = |d: &Path| {
            let options = vec![format!("upperdir={}", path(d, "fs")), "lowerdir={{ mount 0 }}".into()];
            Mount::new("format/mkdir/overlay", "overlay", options)
        };
        let erofs = Mount::new("erofs", path(&ours, "layer.erofs"), vec![]);
        let block = Mount::new("mkfs/ext4", path(&ours, "rwlayer.img"), vec![]);
        let inner = Mount::new("format/mkdir/bind", "{{ mount 0 }}/upper", vec![]);
        let of = |mounts: &[Mount]| layer_directory(mounts);
        for mounts in
            [vec![bind(&ours)], vec![erofs.clone()], vec![erofs.clone(), overlay(&ours)], vec![block, inner]]
        {
            assert_eq!(of(&mounts), Some(ours.clone()), "{mounts:?}");
        }
        for mounts in [vec![], vec![bind(&other)], vec![erofs, overlay(&other)]] {
            assert_eq!(of(&mounts), None, "{mounts:?}");
        }
    }
}
