//! Manifests and indexes: reading them from the store, their children, and what keeps those alive.

use std::collections::BTreeMap;

use base::oci::{self, Document, ImageConfig, Index, Manifest, annotation, media_type};
use base::platform::Matcher;
use base::{Descriptor, Digest, Labels, Platform, Scope};
use bytes::Bytes;
use store::ContentStore;

use crate::damage::damaged;
use crate::error::{Error, Result};

/// Indexes in indexes are followed so deep.
pub const MAX_DEPTH: usize = 8;

/// Documents of one image that are followed.
pub(crate) const MAX_DOCUMENTS: usize = 10_000;

/// Whether this is a manifest or an index.
pub fn is_document(descriptor: &Descriptor) -> bool {
    media_type::is_manifest(&descriptor.media_type) || media_type::is_index(&descriptor.media_type)
}

/// Refuses Docker schema 1, as the transfer service words it.
pub(crate) fn refuse_schema1(descriptor: &Descriptor) -> Result<()> {
    match descriptor.media_type == media_type::DOCKER_SCHEMA1 {
        true => Err(Error::invalid("schema 1 image manifests are no longer supported: invalid argument")),
        false => Ok(()),
    }
}

/// Reads a blob into memory, at most [`oci::MAX_DOCUMENT`] bytes.
///
/// # Errors
/// NotFound; DataLoss for bytes that are not those of the digest: the store has set them aside.
pub async fn read_blob(content: &dyn ContentStore, scope: &Scope, descriptor: &Descriptor) -> Result<Bytes> {
    let bytes = content.open(scope, &descriptor.digest).await?.read_all(oci::MAX_DOCUMENT).await?;
    match descriptor.digest.verifies(&bytes) {
        true => Ok(bytes),
        false => Err(damaged(content, scope, &descriptor.digest).await),
    }
}

/// What a manifest or index names, in its order: config, layers; or manifests. Nothing for any other
/// type.
///
/// # Errors
/// A document that is not what its descriptor says, or can be read in two ways.
pub fn children(descriptor: &Descriptor, bytes: &[u8]) -> Result<Vec<Descriptor>> {
    if !is_document(descriptor) {
        return Ok(Vec::new());
    }
    let found = oci::classify(bytes, &descriptor.media_type)
        .map_err(|source| Error::Document { digest: descriptor.digest.clone(), source })?;
    match found {
        Document::Index => Ok(parse::<Index>(descriptor, bytes)?.manifests),
        Document::Manifest => {
            let manifest: Manifest = parse(descriptor, bytes)?;
            Ok(std::iter::once(manifest.config).chain(manifest.layers).collect())
        }
        Document::Other => {
            Err(Error::invalid(format!("{} is neither a manifest nor an index", descriptor.digest)))
        }
    }
}

fn parse<T: serde::de::DeserializeOwned>(descriptor: &Descriptor, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes)
        .map_err(|e| Error::json(format!("{} {}", descriptor.media_type, descriptor.digest), e))
}

/// [`children`] of a document in the store.
pub async fn stored_children(
    content: &dyn ContentStore,
    scope: &Scope,
    descriptor: &Descriptor,
) -> Result<Vec<Descriptor>> {
    match is_document(descriptor) {
        true => children(descriptor, &read_blob(content, scope, descriptor).await?),
        false => Ok(Vec::new()),
    }
}

/// The labels on a parent that keep its children from the garbage collector.
pub fn child_labels(children: &[Descriptor]) -> Labels {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut labels = Labels::new();
    for child in children {
        let referrer = child.annotations.contains_key(annotation::MANIFEST_SUBJECT);
        let key = media_type::child_label(&child.media_type, referrer);
        let n = counts.entry(key).or_default();
        let full = match key {
            key if key.ends_with(".sha256.") => format!("{key}{}", &child.digest.hex()[..12]),
            key if key.ends_with('.') || *n > 0 => format!("{key}{n}"),
            key => key.to_owned(),
        };
        *n += 1;
        labels.insert(full, child.digest.to_string());
    }
    labels
}

/// Sets the labels on a blob that it lacks.
pub(crate) async fn add_labels(
    content: &dyn ContentStore,
    scope: &Scope,
    digest: &Digest,
    labels: Labels,
) -> Result<()> {
    let mut info = content.info(scope, digest).await?;
    let missing: Labels = labels.into_iter().filter(|(k, v)| info.labels.get(k) != Some(v)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mask: Vec<String> = missing.keys().map(|k| format!("labels.{k}")).collect();
    info.labels.extend(missing);
    content.update(scope, info, &mask).await?;
    Ok(())
}

/// The manifest for a platform below `target`: the best match of an index, or the manifest itself.
/// A descriptor without a platform is judged by its config.
///
/// # Errors
/// NotFound when nothing matches or a document is missing.
pub async fn select_manifest(
    content: &dyn ContentStore,
    scope: &Scope,
    target: &Descriptor,
    matcher: &Matcher,
) -> Result<(Descriptor, Manifest)> {
    let mut current = target.clone();
    for _ in 0..MAX_DEPTH {
        if media_type::is_manifest(&current.media_type) {
            let manifest = read_manifest(content, scope, &current).await?;
            if current.digest != target.digest && current.platform.is_none() {
                let platform = config_platform(content, scope, &manifest.config).await?;
                if !matcher.matches(&platform) {
                    break;
                }
            }
            return Ok((current, manifest));
        }
        if !media_type::is_index(&current.media_type) {
            let text =
                format!("unexpected media type {} for {}: not found", current.media_type, current.digest);
            return Err(Error::not_found(text));
        }
        let all = stored_children(content, scope, &current).await?;
        match best_first(all, matcher).into_iter().next() {
            Some(best) => current = best,
            None => break,
        }
    }
    Err(Error::not_found(format!("no match for platform in manifest {}: not found", target.digest)))
}

/// Those that match, or name no platform, the best first and those without platform last.
pub fn best_first(children: Vec<Descriptor>, matcher: &Matcher) -> Vec<Descriptor> {
    let mut fit: Vec<Descriptor> =
        children.into_iter().filter(|d| d.platform.as_ref().is_none_or(|p| matcher.matches(p))).collect();
    fit.sort_by(|a, b| match (&a.platform, &b.platform) {
        (Some(a), Some(b)) => matcher.rank(a).cmp(&matcher.rank(b)),
        (a, b) => b.is_some().cmp(&a.is_some()),
    });
    fit
}

/// Reads and checks one manifest.
pub async fn read_manifest(
    content: &dyn ContentStore,
    scope: &Scope,
    descriptor: &Descriptor,
) -> Result<Manifest> {
    let bytes = read_blob(content, scope, descriptor).await?;
    oci::classify(&bytes, &descriptor.media_type)
        .map_err(|source| Error::Document { digest: descriptor.digest.clone(), source })?;
    parse(descriptor, &bytes)
}

/// Reads an image config.
pub async fn read_config(
    content: &dyn ContentStore,
    scope: &Scope,
    config: &Descriptor,
) -> Result<ImageConfig> {
    let bytes = read_blob(content, scope, config).await?;
    serde_json::from_slice(&bytes).map_err(|e| Error::json(format!("image config {}", config.digest), e))
}

/// The platform that an image config says it is for.
pub async fn config_platform(
    content: &dyn ContentStore,
    scope: &Scope,
    config: &Descriptor,
) -> Result<Platform> {
    Ok(read_config(content, scope, config).await?.platform().normalize())
}

/// The config of the image for a platform.
pub async fn config(
    content: &dyn ContentStore,
    scope: &Scope,
    target: &Descriptor,
    matcher: &Matcher,
) -> Result<Descriptor> {
    Ok(select_manifest(content, scope, target, matcher).await?.1.config)
}

/// The digests of the uncompressed layers of the image for a platform, lowest first.
pub async fn diff_ids(
    content: &dyn ContentStore,
    scope: &Scope,
    target: &Descriptor,
    matcher: &Matcher,
) -> Result<Vec<Digest>> {
    let config = config(content, scope, target, matcher).await?;
    Ok(read_config(content, scope, &config).await?.rootfs.diff_ids)
}

/// The name of an ingest that fetches this descriptor. Clients know these names.
pub fn ingest_ref(descriptor: &Descriptor) -> String {
    let kind = match descriptor.media_type.as_str() {
        mt if media_type::is_manifest(mt) => "manifest",
        mt if media_type::is_index(mt) => "index",
        mt if media_type::is_layer(mt) => "layer",
        mt if media_type::is_known_config(mt) => "config",
        mt if media_type::is_attestation(mt) => "attestation",
        _ => "unknown",
    };
    match descriptor.annotations.get(annotation::REF_NAME) {
        Some(name) => format!("{kind}-{name}@{}", descriptor.digest),
        None => format!("{kind}-{}", descriptor.digest),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn descriptor(media_type: &str, name: &str) -> Descriptor {
        Descriptor::new(media_type, Digest::sha256(name), 1)
    }

    #[test]
    fn labels_count_per_kind() {
        let mut referrer = descriptor(media_type::OCI_MANIFEST, "r");
        referrer.annotations.insert(annotation::MANIFEST_SUBJECT.to_owned(), "x".to_owned());
        let all = [
            descriptor(media_type::OCI_CONFIG, "c"),
            descriptor(media_type::OCI_LAYER_GZIP, "l0"),
            descriptor(media_type::DOCKER_LAYER_GZIP, "l1"),
            descriptor(media_type::OCI_MANIFEST, "m0"),
            descriptor(media_type::OCI_INDEX, "i"),
            descriptor(media_type::OCI_CONFIG, "c1"),
            referrer.clone(),
        ];
        let labels = child_labels(&all);
        let want = [
            ("containerd.io/gc.ref.content.config", "c"),
            ("containerd.io/gc.ref.content.l.0", "l0"),
            ("containerd.io/gc.ref.content.l.1", "l1"),
            ("containerd.io/gc.ref.content.m.0", "m0"),
            ("containerd.io/gc.ref.content.0", "i"),
            ("containerd.io/gc.ref.content.config1", "c1"),
        ];
        for (key, name) in want {
            assert_eq!(labels.get(key), Some(&Digest::sha256(name).to_string()), "{key}");
        }
        let key = format!("containerd.io/gc.ref.content.referrer.sha256.{}", &referrer.digest.hex()[..12]);
        assert!(labels.contains_key(&key), "{labels:?}");
        assert_eq!(labels.len(), all.len());
    }

    #[test]
    fn children_of_hostile_documents() {
        let index = descriptor(media_type::OCI_INDEX, "x");
        let manifest = descriptor(media_type::OCI_MANIFEST, "x");
        let config = format!(r#"{{"digest":"{}","size":1}}"#, index.digest);
        let both =
            format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{config}],"manifests":[{config}]}}"#);
        for d in [&index, &manifest] {
            assert!(children(d, both.as_bytes()).is_err());
            assert!(children(d, b"[]").is_err());
            assert!(children(d, b"{").is_err());
        }
        let good = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{config},{config}]}}"#);
        assert_eq!(children(&manifest, good.as_bytes()).unwrap().len(), 3);
        assert!(children(&index, good.as_bytes()).is_err());
        assert!(children(&descriptor(media_type::OCI_LAYER, "x"), b"\0").unwrap().is_empty());
    }

    #[test]
    fn best_platform_first() {
        let mut all = Vec::new();
        for platform in ["linux/arm/v6", "linux/arm64", "linux/amd64", "linux/arm/v7"] {
            let mut d = descriptor(media_type::OCI_MANIFEST, platform);
            d.platform = Some(Platform::parse(platform).unwrap());
            all.push(d);
        }
        all.insert(0, descriptor(media_type::OCI_MANIFEST, "none"));
        let matcher = Matcher::only(&Platform::parse("linux/arm64").unwrap());
        let names: Vec<String> = best_first(all, &matcher)
            .iter()
            .map(|d| d.platform.as_ref().map_or("none".to_owned(), Platform::format))
            .collect();
        assert_eq!(names, ["linux/arm64", "linux/arm/v7", "linux/arm/v6", "none"]);
    }

    #[test]
    fn ingest_names() {
        let d = descriptor(media_type::DOCKER_LAYER_GZIP, "x");
        assert_eq!(ingest_ref(&d), format!("layer-{}", d.digest));
        let d = descriptor("text/html", "x");
        assert_eq!(ingest_ref(&d), format!("unknown-{}", d.digest));
    }
}
