//! From an image's name to its manifest, config and chain of layers.

use base::oci::{self, Document, ImageConfig, Index, Manifest, media_type};
use base::platform::Matcher;
use base::{Descriptor, Digest};
use protos::api::images::{GetImageRequest, Image};
use protos::api::types;

use super::{Client, blob};
use crate::error::{Answered, Error, Result};

/// Indexes may point at indexes, but not deeper than this.
const MAX_DEPTH: usize = 4;

/// One platform's image, as far as it is needed to run it.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The manifest of the platform.
    pub manifest: Manifest,
    /// The config blob's digest: what labels of an unpacked image are put on.
    pub config_digest: Digest,
    /// The config, parsed.
    pub config: ImageConfig,
}

impl Resolved {
    /// Name of the committed snapshot that holds all layers; empty for an image without any.
    pub fn chain_id(&self) -> String {
        oci::chain_id(&self.config.rootfs.diff_ids).map(|d| d.to_string()).unwrap_or_default()
    }
}

/// The record of an image. Missing: the error says how to pull it.
pub async fn get(client: &Client, name: &str) -> Result<Image> {
    let answer = client.images().get(GetImageRequest { name: name.to_owned() }).await;
    match answer.or_say(format!("cannot get image {name}")) {
        Ok(answer) => {
            answer.image.ok_or_else(|| Error::invalid(format!("the daemon gave no record of image {name}")))
        }
        Err(e) if e.is_not_found() => {
            Err(Error::invalid(format!("image {name} is not here: pull it with: ctr-rs images pull {name}")))
        }
        Err(e) => Err(e),
    }
}

/// The descriptor of an image's root.
pub fn target(image: &Image) -> Result<Descriptor> {
    let target = image.target.as_ref();
    let target = target.ok_or_else(|| Error::invalid(format!("image {} points at nothing", image.name)))?;
    descriptor(target)
}

/// A descriptor from the wire.
pub fn descriptor(wire: &types::Descriptor) -> Result<Descriptor> {
    let digest = Digest::parse(&wire.digest)
        .map_err(|e| Error::refused(format!("digest {:?} of a descriptor", wire.digest), e))?;
    let mut descriptor = Descriptor::new(&wire.media_type, digest, wire.size);
    descriptor.annotations = wire.annotations.clone();
    Ok(descriptor)
}

/// A descriptor for the wire.
pub fn wire(descriptor: &Descriptor) -> types::Descriptor {
    types::Descriptor {
        media_type: descriptor.media_type.clone(),
        digest: descriptor.digest.to_string(),
        size: descriptor.size,
        annotations: descriptor.annotations.clone(),
    }
}

/// Reads an index or manifest and says which of them it is.
pub async fn document(client: &Client, at: &Descriptor) -> Result<(Document, bytes::Bytes)> {
    let bytes = blob::read(client, &at.digest, oci::MAX_DOCUMENT).await?;
    let kind = oci::classify(&bytes, &at.media_type)
        .map_err(|e| Error::refused(format!("content {} cannot be used", at.digest), e))?;
    Ok((kind, bytes))
}

/// Parses a JSON document of the content store.
pub fn parse<T: serde::de::DeserializeOwned>(bytes: &[u8], digest: &Digest) -> Result<T> {
    serde_json::from_slice(bytes)
        .map_err(|source| Error::Json { what: format!("content {digest} cannot be read"), source })
}

/// Finds the best manifest for the platform and reads its config.
pub async fn resolve(client: &Client, target: &Descriptor, platform: &Matcher) -> Result<Resolved> {
    let mut wanted = vec![(target.clone(), 0_usize)];
    let mut missing = None;
    // depth first, best platform first
    while let Some((at, depth)) = wanted.pop() {
        let (kind, bytes) = match document(client, &at).await {
            Ok(read) => read,
            // an index lists manifests of platforms that were not pulled
            Err(e) if e.is_not_found() && depth > 0 => {
                missing = Some(e);
                continue;
            }
            Err(e) => return Err(e),
        };
        match kind {
            Document::Manifest => {
                if let Some(found) = read_config(client, &bytes, &at, platform).await? {
                    return Ok(found);
                }
            }
            Document::Index if depth < MAX_DEPTH => {
                let index: Index = parse(&bytes, &at.digest)?;
                wanted.extend(ranked(index, platform).into_iter().rev().map(|d| (d, depth + 1)));
            }
            _ => {}
        }
    }
    Err(missing.unwrap_or_else(|| {
        let digest = &target.digest;
        Error::invalid(format!(
            "image {digest} has no manifest for this platform: --platform chooses another"
        ))
    }))
}

/// Manifests of an index that can match, the best first.
fn ranked(index: Index, platform: &Matcher) -> Vec<Descriptor> {
    let mut entries: Vec<Descriptor> = index
        .manifests
        .into_iter()
        .filter(|d| media_type::is_index(&d.media_type) || media_type::is_manifest(&d.media_type))
        .filter(|d| d.platform.as_ref().is_none_or(|p| platform.matches(p)))
        .collect();
    entries.sort_by_key(|d| match &d.platform {
        Some(p) => (0, Some(platform.rank(p))),
        None => (1, None),
    });
    entries
}

async fn read_config(
    client: &Client,
    bytes: &[u8],
    at: &Descriptor,
    platform: &Matcher,
) -> Result<Option<Resolved>> {
    let manifest: Manifest = parse(bytes, &at.digest)?;
    if !media_type::is_config(&manifest.config.media_type) {
        return Ok(None);
    }
    let config_digest = manifest.config.digest.clone();
    let config = blob::read(client, &config_digest, oci::MAX_DOCUMENT).await?;
    let config: ImageConfig = parse(&config, &config_digest)?;
    // what the index said about the platform holds; a bare manifest is judged by its config
    let fits = at.platform.is_some() || platform.matches(&config.platform());
    Ok(fits.then_some(Resolved { manifest, config_digest, config }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use base::Platform;

    #[test]
    fn the_best_platform_comes_first_and_others_are_left_out() {
        let entry = |platform: Option<&str>, n: u8| {
            let mut d = Descriptor::new(media_type::OCI_MANIFEST, Digest::sha256([n]), 1);
            d.platform = platform.map(|p| Platform::parse(p).unwrap());
            d
        };
        let index = Index {
            manifests: vec![
                entry(None, 1),
                entry(Some("linux/arm/v7"), 2),
                entry(Some("linux/arm64"), 3),
                entry(Some("windows/amd64"), 4),
            ],
            ..Index::default()
        };
        let matcher = Matcher::only(&Platform::parse("linux/arm64").unwrap());
        let order: Vec<Digest> = ranked(index, &matcher).into_iter().map(|d| d.digest).collect();
        assert_eq!(order, [Digest::sha256([3]), Digest::sha256([2]), Digest::sha256([1])]);
    }
}
