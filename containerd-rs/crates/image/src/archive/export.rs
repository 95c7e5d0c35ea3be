//! Images as an OCI layout that `docker load` reads as well.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use base::oci::{Index, Manifest, annotation, media_type};
use base::platform::Matcher;
use base::{Descriptor, Digest, ErrorKind, Kinded, Reference, Scope};
use bytes::Bytes;
use tokio::sync::mpsc;

use super::writer::Writer;
use super::{DOCKER_FILE, INDEX_FILE, LAYOUT_FILE, LAYOUT_VERSION, layout_name};
use crate::damage;
use crate::error::{Error, Result};
use crate::manifest::{self, MAX_DEPTH};
use crate::transfer::{Local, Progress, ProgressSink, Reporter, TransferLease};

/// What to export.
#[derive(Clone)]
pub struct ExportOptions {
    /// Names of the images.
    pub images: Vec<String>,
    /// The platform of an index that goes along, and that `docker load` gets to see.
    pub platforms: Matcher,
    /// All platforms go along.
    pub all_platforms: bool,
    /// No file for `docker load`.
    pub skip_docker_manifest: bool,
    /// Layers that their makers do not want to be passed on stay out.
    pub skip_non_distributable: bool,
    /// Who is told about the progress.
    pub progress: Option<ProgressSink>,
}

impl ExportOptions {
    /// Exports images for this host's platform.
    pub fn new(images: impl IntoIterator<Item = String>) -> ExportOptions {
        ExportOptions {
            images: images.into_iter().collect(),
            platforms: Matcher::host_default(),
            all_platforms: false,
            skip_docker_manifest: false,
            skip_non_distributable: false,
            progress: None,
        }
    }
}

/// Writes the archive into `sink`, entries sorted by name and without times, so that the same images
/// give the same bytes. Dropping the future stops it.
///
/// # Errors
/// NotFound for an image, a platform or content that is not here; DataLoss for content that is not
/// what it was; Canceled when the other end of `sink` is gone.
pub async fn export(
    local: &Local,
    scope: &Scope,
    sink: mpsc::Sender<Bytes>,
    options: ExportOptions,
) -> Result<()> {
    let lease = TransferLease::take(&local.meta, scope).await?;
    let (reporter, telling) = Reporter::start(options.progress.clone(), "", "exporting");
    reporter.say(Progress::event("Exporting"));
    let outcome = run(local, &lease.scope, sink, &options).await;
    if outcome.is_ok() {
        reporter.say_last(Progress::event("Completed export"));
    }
    lease.release(false).await;
    reporter.finish(telling).await;
    outcome
}

async fn run(local: &Local, scope: &Scope, sink: mpsc::Sender<Bytes>, options: &ExportOptions) -> Result<()> {
    let mut export = Export { local, scope, options, blobs: BTreeMap::new(), docker: Vec::new() };
    let mut targets = Vec::new();
    for name in &options.images {
        let image = local.meta.images().get(&scope.namespace, name)?;
        let mut target = image.target;
        target.annotations.insert(annotation::IMAGE_NAME.to_owned(), name.clone());
        target.annotations.insert(annotation::REF_NAME.to_owned(), layout_name(name).to_owned());
        let info = local.content.info(scope, &target.digest).await?;
        let sources = info.labels.into_iter().filter(|(k, _)| k.starts_with(annotation::DISTRIBUTION_SOURCE));
        target.annotations.extend(sources);
        export.add(&target, name).await?;
        targets.push(target);
    }
    if targets.is_empty() {
        return Err(Error::not_found("no images to export: not found"));
    }
    export.write(Writer::new(sink), targets).await
}

/// A manifest as `docker load` sees it.
struct DockerImage {
    manifest: Descriptor,
    names: Vec<String>,
}

struct Export<'a> {
    local: &'a Local,
    scope: &'a Scope,
    options: &'a ExportOptions,
    /// By name in the archive.
    blobs: BTreeMap<String, Descriptor>,
    docker: Vec<DockerImage>,
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().as_str(), digest.hex())
}

impl Export<'_> {
    /// Collects what belongs to one image.
    async fn add(&mut self, target: &Descriptor, name: &str) -> Result<()> {
        let content = &*self.local.content;
        if media_type::is_manifest(&target.media_type) {
            self.collect(target).await?;
            self.for_docker(target, name);
            return Ok(());
        }
        if !media_type::is_index(&target.media_type) {
            return Err(Error::invalid("only manifests may be exported: invalid argument"));
        }
        let children = manifest::stored_children(content, self.scope, target).await?;
        self.blobs.insert(blob_name(&target.digest), target.clone());
        let wanted = manifest::best_first(children.clone(), &self.options.platforms);
        for child in if self.options.all_platforms { &children } else { &wanted } {
            self.collect(child).await?;
        }
        match wanted.first() {
            Some(best) => self.for_docker(best, name),
            None => return Err(Error::not_found("no manifest found for platform: not found")),
        }
        Ok(())
    }

    fn for_docker(&mut self, manifest: &Descriptor, name: &str) {
        match self.docker.iter_mut().find(|d| d.manifest.digest == manifest.digest) {
            Some(known) => known.names.push(name.to_owned()),
            None => {
                self.docker.push(DockerImage { manifest: manifest.clone(), names: vec![name.to_owned()] })
            }
        }
    }

    /// A descriptor and everything below it.
    async fn collect(&mut self, root: &Descriptor) -> Result<()> {
        let mut seen: HashSet<Digest> = HashSet::new();
        let mut pending = vec![(root.clone(), 0)];
        while let Some((descriptor, depth)) = pending.pop() {
            if depth > MAX_DEPTH + 2 {
                return Err(Error::invalid(format!("image {} has too deep indexes", root.digest)));
            }
            if !seen.insert(descriptor.digest.clone())
                || (self.options.skip_non_distributable
                    && media_type::is_non_distributable(&descriptor.media_type))
            {
                continue;
            }
            let children = manifest::stored_children(&*self.local.content, self.scope, &descriptor).await?;
            pending.extend(children.into_iter().map(|child| (child, depth + 1)));
            self.blobs.insert(blob_name(&descriptor.digest), descriptor);
        }
        Ok(())
    }

    /// Writes everything in the order of the names.
    async fn write(&self, writer: Writer, targets: Vec<Descriptor>) -> Result<()> {
        let index = Index {
            schema_version: 2,
            media_type: media_type::OCI_INDEX.to_owned(),
            manifests: targets,
            ..Index::default()
        };
        let index = serde_json::to_vec(&index).map_err(|e| Error::json("index.json", e))?;
        let docker = self.docker_file().await?;
        let directories: BTreeSet<&str> =
            self.blobs.values().map(|d| d.digest.algorithm().as_str()).collect();
        writer.directory("blobs/").await?;
        for algorithm in directories {
            writer.directory(&format!("blobs/{algorithm}/")).await?;
            let prefix = format!("blobs/{algorithm}/");
            for (name, descriptor) in self.blobs.iter().filter(|(name, _)| name.starts_with(&prefix)) {
                let blob = self.local.content.open(self.scope, &descriptor.digest).await?;
                let size = descriptor.checked_size().map_err(|e| Error::invalid(e.to_string()))?;
                match writer.blob(name, &blob, &descriptor.digest, size).await {
                    Err(e) if e.kind() == ErrorKind::DataLoss => {
                        let content = &*self.local.content;
                        return Err(damage::damaged(content, self.scope, &descriptor.digest).await);
                    }
                    done => done?,
                }
            }
        }
        writer.file(INDEX_FILE, 0o644, &index).await?;
        if let Some(docker) = docker {
            writer.file(DOCKER_FILE, 0o644, &docker).await?;
        }
        let layout = format!(r#"{{"imageLayoutVersion":"{LAYOUT_VERSION}"}}"#);
        writer.file(LAYOUT_FILE, 0o444, layout.as_bytes()).await?;
        writer.finish().await
    }

    async fn docker_file(&self) -> Result<Option<Vec<u8>>> {
        if self.options.skip_docker_manifest || self.docker.is_empty() {
            return Ok(None);
        }
        let mut list = Vec::new();
        for image in &self.docker {
            if !media_type::is_manifest(&image.manifest.media_type) {
                continue;
            }
            let manifest: Manifest =
                manifest::read_manifest(&*self.local.content, self.scope, &image.manifest).await?;
            let layers: Vec<String> = manifest.layers.iter().map(|l| blob_name(&l.digest)).collect();
            let tags: Vec<String> = image.names.iter().filter_map(|n| familiar(n)).collect();
            list.push(serde_json::json!({
                "Config": blob_name(&manifest.config.digest),
                "RepoTags": tags,
                "Layers": layers,
            }));
        }
        serde_json::to_vec(&list).map(Some).map_err(|e| Error::json("manifest.json", e))
    }
}

/// The short name that Docker shows; nothing for names that Docker would not take.
fn familiar(name: &str) -> Option<String> {
    let parsed = Reference::parse_normalized(name).ok()?;
    parsed.tag()?;
    Some(parsed.familiar())
}
