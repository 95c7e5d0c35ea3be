//! An archive into the store.
//!
//! The archive is an attacker's: digests are computed, not believed; documents are capped; names are
//! given only where the destination lets the archive do so.

use std::collections::{HashMap, HashSet};
use std::io;

use base::oci::{self, Index, media_type};
use base::platform::Matcher;
use base::{Algorithm, Descriptor, Digest, Labels, Scope};
use bytes::Bytes;
use store::{ContentWriter, Image, WriterOptions};
use tokio::sync::mpsc;

use super::reader::{self, Piece};
use super::{DOCKER_FILE, INDEX_FILE, LAYOUT_FILE, LAYOUT_VERSION, docker};
use crate::error::{Error, Result};
use crate::manifest::{self, MAX_DEPTH};
use crate::pull::Arrivals;
use crate::stop::Stop;
use crate::throttle::Throttle;
use crate::transfer::{Destination, Local, Progress, ProgressSink, Reporter, TransferLease, store_images};
use crate::unpack::{Unpack, UnpackTarget};

/// Documents of one archive that are followed.
const MAX_DOCUMENTS: usize = 10_000;

/// How to import.
#[derive(Clone)]
pub struct ImportOptions {
    /// Names of what is imported: `name` for the archive's index as a whole, prefixes for the images
    /// in it. Without any, content is kept only as long as a lease or label holds it.
    pub destination: Destination,
    /// The platforms whose manifests must be complete.
    pub platforms: Matcher,
    /// Layers that come uncompressed (`docker save`) are stored as gzip.
    pub compress: bool,
    /// Where to unpack it to.
    pub unpack: Vec<UnpackTarget>,
    /// Limits that this import shares with other transfers.
    pub throttle: Throttle,
    /// Who is told about the progress.
    pub progress: Option<ProgressSink>,
}

impl Default for ImportOptions {
    fn default() -> ImportOptions {
        ImportOptions {
            destination: Destination::default(),
            platforms: Matcher::all(),
            compress: false,
            unpack: Vec::new(),
            throttle: Throttle::default(),
            progress: None,
        }
    }
}

/// What came of an import.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The archive's index, stored as a blob.
    pub index: Descriptor,
    /// Its manifests, in its order.
    pub manifests: Vec<Descriptor>,
    /// The image records that were made.
    pub images: Vec<Image>,
}

/// Reads an archive (OCI layout, or as `docker save` writes it; plain, gzip or zstd) from `source`.
///
/// Cancel-safe: nothing is named before all is there.
///
/// # Errors
/// InvalidArgument for what is no image archive or a damaged one; FailedPrecondition for a blob that
/// is not what its name says; NotFound for a document that the archive lacks.
pub async fn import(
    local: &Local,
    scope: &Scope,
    source: mpsc::Receiver<io::Result<Bytes>>,
    options: ImportOptions,
) -> Result<Imported> {
    let lease = TransferLease::take(&local.meta, scope).await?;
    let (reporter, telling) = Reporter::start(options.progress.clone(), "", "importing");
    reporter.say(Progress::event("Importing"));
    let outcome = run(local, &lease.scope, source, &options, &reporter).await;
    if outcome.is_ok() {
        reporter.say_last(Progress::event("Completed import"));
    }
    lease.release(false).await;
    reporter.finish(telling).await;
    outcome
}

async fn run(
    local: &Local,
    scope: &Scope,
    source: mpsc::Receiver<io::Result<Bytes>>,
    options: &ImportOptions,
    reporter: &Reporter,
) -> Result<Imported> {
    let mut contents =
        Contents { local, scope, blobs: HashMap::new(), links: HashMap::new(), small: HashMap::new() };
    contents.take_in(source).await?;
    let index = match contents.small.contains_key(LAYOUT_FILE) {
        true => contents.layout()?,
        false => docker::index(&contents, options.compress).await?,
    };
    let bytes = manifest::read_blob(&*local.content, scope, &index).await?;
    oci::classify(&bytes, media_type::OCI_INDEX)
        .map_err(|source| Error::Document { digest: index.digest.clone(), source })?;
    let manifests =
        serde_json::from_slice::<Index>(&bytes).map_err(|e| Error::json(INDEX_FILE, e))?.manifests;

    let wanted = walk(local, scope, &index, &options.platforms).await?;
    for target in &options.unpack {
        let work = Unpack {
            local: local.clone(),
            scope: scope.clone(),
            target: target.clone(),
            arrivals: Arrivals::all_here(),
            reporter: reporter.clone(),
            throttle: options.throttle.clone(),
            stop: Stop::new(),
        };
        if let Some(chosen) = work.choose(wanted.clone()).await? {
            work.run(&chosen).await?;
        }
    }

    let mut names = vec![(index.clone(), options.destination.names(&index))];
    names.extend(manifests.iter().map(|m| (m.clone(), options.destination.names_in_archive(m))));
    let mut images = Vec::new();
    for (target, names) in names {
        for image in store_images(&local.meta, scope, names, &target).await? {
            reporter.say_last(Progress::of("saved", &image.name, &image.target));
            images.push(image);
        }
    }
    Ok(Imported { index, manifests, images })
}

/// Labels the documents below `index` and gives the manifests of the wanted platforms.
async fn walk(
    local: &Local,
    scope: &Scope,
    index: &Descriptor,
    platforms: &Matcher,
) -> Result<Vec<Descriptor>> {
    let content = &*local.content;
    let mut seen: HashSet<Digest> = HashSet::new();
    let mut found = Vec::new();
    let mut pending = vec![(index.clone(), 0)];
    while let Some((descriptor, depth)) = pending.pop() {
        if !manifest::is_document(&descriptor) || !seen.insert(descriptor.digest.clone()) {
            continue;
        }
        if depth > MAX_DEPTH || seen.len() > MAX_DOCUMENTS {
            return Err(Error::invalid("archive has too many or too deep indexes"));
        }
        let children = manifest::stored_children(content, scope, &descriptor).await?;
        manifest::add_labels(content, scope, &descriptor.digest, manifest::child_labels(&children)).await?;
        if media_type::is_manifest(&descriptor.media_type) {
            found.push(descriptor);
            continue;
        }
        let wanted =
            children.into_iter().filter(|d| d.platform.as_ref().is_none_or(|p| platforms.matches(p)));
        let wanted: Vec<_> = wanted.map(|child| (child, depth + 1)).collect();
        pending.extend(wanted.into_iter().rev());
    }
    if found.is_empty() {
        return Err(Error::not_found("no image in the archive matches the platforms: not found"));
    }
    Ok(found)
}

/// What an archive had in it.
pub(super) struct Contents<'a> {
    pub(super) local: &'a Local,
    pub(super) scope: &'a Scope,
    /// Digest and size of each file, by its cleaned path.
    blobs: HashMap<String, (Digest, u64)>,
    links: HashMap<String, String>,
    /// The files that are read here and now.
    pub(super) small: HashMap<&'static str, Vec<u8>>,
}

impl Contents<'_> {
    /// Digest and size of a file, through links. Links in a circle lead nowhere.
    pub(super) fn find(&self, path: &str) -> Option<(Digest, u64)> {
        let mut path = reader::clean(path);
        for _ in 0..16 {
            match self.blobs.get(&path) {
                Some(found) => return Some(found.clone()),
                None => path = self.links.get(&path)?.clone(),
            }
        }
        None
    }

    async fn take_in(&mut self, source: mpsc::Receiver<io::Result<Bytes>>) -> Result<()> {
        let mut pieces = reader::start(source);
        let mut open = Open::Nothing;
        while let Some(piece) = pieces.recv().await {
            let piece = piece.map_err(|e| Error::archive("read image archive", e));
            match piece {
                Ok(Piece::Data(data)) => match self.feed(&mut open, &data).await {
                    Ok(()) => continue,
                    Err(e) => return Err(self.give_up(open, e).await),
                },
                Err(e) => return Err(self.give_up(open, e).await),
                Ok(Piece::File { name, size }) => {
                    self.close(std::mem::replace(&mut open, Open::Nothing)).await?;
                    open = self.open(name, size).await?;
                }
                Ok(Piece::Link { name, target }) => {
                    self.close(std::mem::replace(&mut open, Open::Nothing)).await?;
                    self.links.insert(name, target);
                }
            }
        }
        self.close(open).await
    }

    async fn open(&self, name: String, size: u64) -> Result<Open> {
        for small in [LAYOUT_FILE, DOCKER_FILE] {
            if name == small {
                if size > oci::MAX_DOCUMENT {
                    return Err(Error::invalid(format!(
                        "{small} of {size} bytes is larger than {}",
                        oci::MAX_DOCUMENT
                    )));
                }
                return Ok(Open::Small { name: small, bytes: Vec::new() });
            }
        }
        let expected = digest_in(&name);
        // Nobody else writes to this ingest, whatever the archive calls its files.
        let reference = format!("import-{:016x}-{}", rand::random::<u64>(), Digest::sha256(&name).hex());
        let options = WriterOptions { reference: reference.clone(), expected: expected.clone(), total: size };
        match self.local.content.writer(self.scope, options).await {
            Ok(mut writer) => {
                writer.truncate(0).await?;
                Ok(Open::Blob { name, size, expected, reference, writer })
            }
            Err(e) if e.is_already_exists() => Ok(Open::Present { name, size, digest: expected }),
            Err(e) => Err(e.into()),
        }
    }

    async fn feed(&mut self, open: &mut Open, data: &[u8]) -> Result<()> {
        match open {
            Open::Small { bytes, .. } => bytes.extend_from_slice(data),
            Open::Blob { writer, .. } => writer.write(data).await?,
            Open::Present { .. } | Open::Nothing => {}
        }
        Ok(())
    }

    async fn close(&mut self, open: Open) -> Result<()> {
        match open {
            Open::Nothing => {}
            Open::Small { name, bytes } => drop(self.small.insert(name, bytes)),
            Open::Present { name, size, digest } => {
                self.blobs.extend(digest.map(|d| (name, (d, size))));
            }
            Open::Blob { name, size, expected, reference, mut writer } => {
                let digest = writer.digest();
                if let Some(expected) = expected.filter(|e| *e != digest) {
                    let e = Error::precondition(format!(
                        "{name} in the archive has digest {digest}, not {expected}: failed precondition"
                    ));
                    drop(writer);
                    let _ = self.local.content.abort(self.scope, &reference).await;
                    return Err(e);
                }
                match writer.commit(size, Some(&digest), Labels::new()).await {
                    Err(e) if !e.is_already_exists() => {
                        return Err(Error::from(e).during(format!("failed to ingest {name:?}")));
                    }
                    _ => drop(self.blobs.insert(name, (digest, size))),
                }
            }
        }
        Ok(())
    }

    /// Drops what a failed import was writing.
    async fn give_up(&self, open: Open, e: Error) -> Error {
        if let Open::Blob { reference, writer, .. } = open {
            writer.close().await;
            let _ = self.local.content.abort(self.scope, &reference).await;
        }
        e
    }

    /// The index of an OCI layout.
    fn layout(&self) -> Result<Descriptor> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Layout {
            #[serde(default)]
            image_layout_version: String,
        }
        let bytes = self.small.get(LAYOUT_FILE).map(Vec::as_slice).unwrap_or_default();
        let layout: Layout = serde_json::from_slice(bytes).map_err(|e| Error::json(LAYOUT_FILE, e))?;
        if layout.image_layout_version != LAYOUT_VERSION {
            return Err(Error::invalid(format!("unsupported OCI version {}", layout.image_layout_version)));
        }
        let (digest, size) = self
            .find(INDEX_FILE)
            .ok_or_else(|| Error::invalid(format!("missing index.json in OCI layout {LAYOUT_VERSION}")))?;
        Ok(Descriptor::new(media_type::OCI_INDEX, digest, size as i64))
    }
}

/// A file of the archive that is being read.
enum Open {
    Nothing,
    Small {
        name: &'static str,
        bytes: Vec<u8>,
    },
    /// The store has it.
    Present {
        name: String,
        size: u64,
        digest: Option<Digest>,
    },
    Blob {
        name: String,
        size: u64,
        expected: Option<Digest>,
        reference: String,
        writer: Box<dyn ContentWriter>,
    },
}

/// The digest that a path of an OCI layout promises.
fn digest_in(path: &str) -> Option<Digest> {
    let (algorithm, hex) = path.strip_prefix("blobs/")?.split_once('/')?;
    let algorithm = [Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512]
        .into_iter()
        .find(|a| a.as_str() == algorithm)?;
    Digest::from_hex(algorithm, hex).ok()
}
