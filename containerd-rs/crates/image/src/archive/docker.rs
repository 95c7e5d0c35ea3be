//! What `docker save` writes: `manifest.json`, configs, and layers under names of its own.

use std::collections::HashMap;

use base::filter::FilterSet;
use base::oci::{Index, annotation, media_type};
use base::{Descriptor, Digest, Labels, Reference, labels};
use serde_json::json;
use store::WriterOptions;

use super::compressed;
use super::import::Contents;
use super::{DOCKER_FILE, layout_name};
use crate::error::{Error, Result};
use crate::manifest;

/// Images of one archive.
const MAX_IMAGES: usize = 10_000;
/// Layers of one image.
const MAX_LAYERS: usize = 1_000;

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    #[serde(default)]
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Option<Vec<String>>,
}

/// Makes manifests and an OCI index from `manifest.json`, stores them, and gives the index.
pub(super) async fn index(contents: &Contents<'_>, compress: bool) -> Result<Descriptor> {
    let bytes = contents.small.get(DOCKER_FILE).ok_or_else(|| Error::invalid("unrecognized image format"))?;
    let saved: Vec<Saved> = serde_json::from_slice(bytes).map_err(|e| Error::json(DOCKER_FILE, e))?;
    if saved.len() > MAX_IMAGES {
        return Err(Error::invalid(format!("{DOCKER_FILE} names more than {MAX_IMAGES} images")));
    }
    let packed = packed_layers(contents).await?;
    let mut index = Index { schema_version: 2, ..Index::default() };
    for image in saved {
        let descriptor = store_manifest(contents, &image, &packed, compress).await?;
        let tags = image.repo_tags.unwrap_or_default();
        if tags.is_empty() {
            index.manifests.push(descriptor.clone());
        }
        for tag in tags {
            let name = Reference::parse_normalized(&tag)
                .map_err(|e| Error::invalid(format!("normalize image ref {tag:?}: {}", base::chain(&e))))?
                .to_string();
            let mut named = descriptor.clone();
            named.annotations.insert(annotation::REF_NAME.to_owned(), layout_name(&name).to_owned());
            named.annotations.insert(annotation::IMAGE_NAME.to_owned(), name);
            index.manifests.push(named);
        }
    }
    let bytes = serde_json::to_vec(&index).map_err(|e| Error::json("index", e))?;
    store_document(contents, media_type::OCI_INDEX, &bytes).await
}

async fn store_manifest(
    contents: &Contents<'_>,
    image: &Saved,
    packed: &HashMap<Digest, (Digest, u64)>,
    compress: bool,
) -> Result<Descriptor> {
    let (digest, size) = contents
        .find(&image.config)
        .ok_or_else(|| Error::not_found(format!("image config {:?} not found", image.config)))?;
    let config = Descriptor::new(media_type::DOCKER_CONFIG, digest, size as i64);
    let files = image.layers.as_deref().unwrap_or_default();
    if files.len() > MAX_LAYERS {
        return Err(Error::invalid(format!("image with more than {MAX_LAYERS} layers")));
    }
    let mut layers = Vec::with_capacity(files.len());
    for file in files {
        let (digest, size) =
            contents.find(file).ok_or_else(|| Error::not_found(format!("layer {file:?} not found")))?;
        layers.push(layer(contents, digest, size, packed, compress).await?);
    }
    let document = json!({
        "schemaVersion": 2,
        "mediaType": media_type::DOCKER_MANIFEST,
        "config": config,
        "layers": layers,
    });
    let bytes = serde_json::to_vec(&document).map_err(|e| Error::json("manifest", e))?;
    let mut descriptor = store_document(contents, media_type::DOCKER_MANIFEST, &bytes).await?;
    let platform = manifest::config_platform(&*contents.local.content, contents.scope, &config).await?;
    descriptor.platform = (!platform.os.is_empty() || !platform.architecture.is_empty()).then_some(platform);
    Ok(descriptor)
}

/// Compressed blobs of the namespace, by the digest of what is inside.
async fn packed_layers(contents: &Contents<'_>) -> Result<HashMap<Digest, (Digest, u64)>> {
    let filter = format!("labels.{:?}", labels::UNCOMPRESSED);
    let filter = FilterSet::parse(&[filter]).map_err(|e| Error::invalid(base::chain(&e)))?;
    let known = contents.local.content.list(contents.scope, &filter).await?;
    Ok(known
        .into_iter()
        .filter_map(|info| {
            let inside = Digest::parse(info.labels.get(labels::UNCOMPRESSED)?).ok()?;
            Some((inside, (info.digest, info.size)))
        })
        .collect())
}

async fn layer(
    contents: &Contents<'_>,
    digest: Digest,
    size: u64,
    packed: &HashMap<Digest, (Digest, u64)>,
    compress: bool,
) -> Result<Descriptor> {
    let (mut digest, mut size) = packed.get(&digest).cloned().unwrap_or((digest, size));
    let blob = contents.local.content.open(contents.scope, &digest).await?;
    let head = blob.chunk(0, 4).await?;
    let media_type = match &head[..] {
        [0x1f, 0x8b, ..] => media_type::DOCKER_LAYER_GZIP,
        [0x28, 0xb5, 0x2f, 0xfd] => media_type::DOCKER_LAYER_ZSTD,
        _ if compress => {
            (digest, size) = compressed::store_gzip(contents, &digest, &blob).await?;
            media_type::DOCKER_LAYER_GZIP
        }
        _ => media_type::DOCKER_LAYER,
    };
    Ok(Descriptor::new(media_type, digest, size as i64))
}

async fn store_document(contents: &Contents<'_>, media_type: &str, bytes: &[u8]) -> Result<Descriptor> {
    let digest = Digest::sha256(bytes);
    let size = bytes.len() as u64;
    let options = WriterOptions::new(format!("manifest-{digest}")).expect(digest.clone(), size);
    match contents.local.content.writer(contents.scope, options).await {
        Ok(mut writer) => {
            writer.truncate(0).await?;
            writer.write(bytes).await?;
            match writer.commit(size, Some(&digest), Labels::new()).await {
                Err(e) if !e.is_already_exists() => return Err(e.into()),
                _ => {}
            }
        }
        Err(e) if e.is_already_exists() => {}
        Err(e) => return Err(e.into()),
    }
    Ok(Descriptor::new(media_type, digest, size as i64))
}
