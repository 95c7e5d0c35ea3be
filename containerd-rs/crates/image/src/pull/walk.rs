//! The documents of an image: fetched, checked, labelled; what they lead to becomes the plan.

use std::collections::HashSet;

use base::oci::media_type;
use base::{Descriptor, Digest, Labels, labels};
use bytes::{Bytes, BytesMut};

use super::download::inline;
use super::{Fetch, PullOptions};
use crate::error::{Error, Result};
use crate::manifest::{self, MAX_DEPTH};
use crate::registry::MAX_MANIFEST_SIZE;

/// Documents of one image that are followed.
const MAX_DOCUMENTS: usize = 10_000;

/// What is left to do after the documents.
#[derive(Default)]
pub(crate) struct Plan {
    /// Blobs that are needed whatever is unpacked: configs first.
    pub(crate) blobs: Vec<Descriptor>,
    /// Wanted manifests, with their layers.
    pub(crate) manifests: Vec<(Descriptor, Vec<Descriptor>)>,
}

impl Plan {
    /// Everything that may have to be downloaded, each once.
    pub(crate) fn all(&self) -> Vec<Descriptor> {
        let mut once = HashSet::new();
        let layers = self.manifests.iter().flat_map(|(_, layers)| layers);
        self.blobs.iter().chain(layers).filter(|d| once.insert(d.digest.clone())).cloned().collect()
    }
}

impl Fetch {
    /// Fetches the tree of documents below `target`, as far as the platforms ask for it.
    pub(crate) async fn walk(&self, target: &Descriptor, options: &PullOptions) -> Result<Plan> {
        let mut plan = Plan::default();
        let mut others = Vec::new();
        let mut seen: HashSet<Digest> = HashSet::new();
        let mut pending = vec![(target.clone(), 0)];
        while let Some((descriptor, depth)) = pending.pop() {
            if !seen.insert(descriptor.digest.clone()) {
                continue;
            }
            if depth > MAX_DEPTH || seen.len() > MAX_DOCUMENTS {
                return Err(Error::invalid(format!(
                    "image {} has too many or too deep indexes",
                    target.digest
                )));
            }
            manifest::refuse_schema1(&descriptor)?;
            if !manifest::is_document(&descriptor) {
                others.push(descriptor);
                continue;
            }
            let children = self.document(&descriptor, options).await?;
            self.reporter.children(&descriptor, &children);
            if media_type::is_index(&descriptor.media_type) {
                let wanted = wanted(children, options, depth == 0, target)?;
                pending.extend(wanted.into_iter().rev().map(|child| (child, depth + 1)));
            } else if is_wanted(&descriptor, options) {
                let mut children = children.into_iter();
                plan.blobs.extend(children.next());
                plan.manifests.push((descriptor, children.collect()));
            } else {
                plan.blobs.extend(children.into_iter().next());
            }
        }
        plan.blobs.append(&mut others);
        Ok(plan)
    }

    /// One manifest or index: in the store, checked, with labels that keep its children.
    async fn document(&self, descriptor: &Descriptor, options: &PullOptions) -> Result<Vec<Descriptor>> {
        if descriptor.size as u64 > MAX_MANIFEST_SIZE {
            return Err(Error::invalid(format!(
                "rejecting {} byte manifest {}",
                descriptor.size, descriptor.digest
            )));
        }
        self.reporter.add(descriptor);
        let Some(mut writer) = self.open_ingest(descriptor).await? else {
            return self.present(descriptor, options).await;
        };
        if writer.offset() == descriptor.size as u64 && writer.digest() == descriptor.digest {
            self.commit(&mut *writer, descriptor, Labels::new()).await?;
            return self.present(descriptor, options).await;
        }
        let outcome = async {
            let bytes = self.fetch_document(descriptor).await?;
            let children = manifest::children(descriptor, &bytes)?;
            let labels = options.kept(descriptor, &children);
            writer.truncate(0).await?;
            writer.write(&bytes).await?;
            self.commit(&mut *writer, descriptor, labels).await?;
            Ok(children)
        }
        .await;
        writer.close().await;
        match &outcome {
            Ok(_) => self.reporter.complete(descriptor),
            // Nothing of a document is worth resuming.
            Err(_) => drop(self.local.content.abort(&self.scope, &manifest::ingest_ref(descriptor)).await),
        }
        outcome
    }

    /// A document that is in the store already.
    async fn present(&self, descriptor: &Descriptor, options: &PullOptions) -> Result<Vec<Descriptor>> {
        let content = &*self.local.content;
        let bytes = manifest::read_blob(content, &self.scope, descriptor).await?;
        let children = manifest::children(descriptor, &bytes)?;
        let labels = options.kept(descriptor, &children);
        manifest::add_labels(content, &self.scope, &descriptor.digest, labels).await?;
        self.note_source(&descriptor.digest).await?;
        self.reporter.exists(descriptor);
        Ok(children)
    }

    /// The bytes of a document, with the right digest.
    async fn fetch_document(&self, descriptor: &Descriptor) -> Result<Bytes> {
        if let Some(data) = inline(descriptor) {
            return Ok(data.into());
        }
        let mut stream = self.repository.fetch(descriptor, 0)?;
        loop {
            let mut bytes = BytesMut::new();
            while let Some(chunk) = stream.next().await? {
                bytes.extend_from_slice(&chunk);
            }
            if descriptor.digest.verifies(&bytes) {
                return Ok(bytes.freeze());
            }
            let found = Digest::of(descriptor.digest.algorithm(), &bytes);
            if !stream.restart_elsewhere(found.as_str()) {
                let text = format!("unexpected digest {found}, expected {}", descriptor.digest);
                return Err(Error::precondition(format!("{text}: {}: failed precondition", stream.failed())));
            }
        }
    }
}

impl PullOptions {
    /// The labels of a document that keep its children: not the layers when they are to be discarded.
    fn kept(&self, parent: &Descriptor, children: &[Descriptor]) -> Labels {
        let mut labels = manifest::child_labels(children);
        if self.discard_unpacked_layers
            && !self.unpack.is_empty()
            && media_type::is_manifest(&parent.media_type)
            && is_wanted(parent, self)
        {
            let layer = |key: &str| key.starts_with(labels::gc::REF_CONTENT_LAYER);
            labels.retain(|key, _| !layer(key));
        }
        labels
    }
}

fn is_wanted(descriptor: &Descriptor, options: &PullOptions) -> bool {
    descriptor.platform.as_ref().is_none_or(|p| options.platforms.matches(p))
}

/// The children of an index that are to be fetched.
fn wanted(
    children: Vec<Descriptor>,
    options: &PullOptions,
    is_root: bool,
    target: &Descriptor,
) -> Result<Vec<Descriptor>> {
    let had_any = !children.is_empty();
    let matching = children.iter().filter(|d| is_wanted(d, options)).count();
    if is_root && had_any && matching == 0 {
        return Err(Error::not_found(format!(
            "no match for platform in manifest {}: not found",
            target.digest
        )));
    }
    let mut wanted = match options.all_metadata {
        true => children,
        false => children.into_iter().filter(|d| is_wanted(d, options)).collect(),
    };
    if options.manifest_limit > 0 {
        wanted.sort_by(|a, b| match (&a.platform, &b.platform) {
            (Some(a), Some(b)) => options.platforms.rank(a).cmp(&options.platforms.rank(b)),
            (a, b) => b.is_some().cmp(&a.is_some()),
        });
        wanted.truncate(options.manifest_limit);
    }
    Ok(wanted)
}
