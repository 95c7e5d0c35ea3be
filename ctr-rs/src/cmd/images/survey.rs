//! What an image is made of, as far as it is in the content store.

use std::collections::BTreeSet;

use base::oci::{Document, ImageConfig, Index, Manifest, media_type};
use base::platform::Matcher;
use base::{Descriptor, Digest};
use protos::api::content::InfoRequest;

use crate::client::image::{document, parse};
use crate::client::{Client, blob};
use crate::error::{Answered, Result};

/// Most manifests of one image that are looked at.
const MAX_MANIFESTS: usize = 256;

/// The parts of one image.
#[derive(Debug, Default)]
pub struct Survey {
    /// Platforms of the manifests that are here.
    pub platforms: BTreeSet<String>,
    /// What running it on the platform that was asked for needs: index, manifest, config, layers.
    pub required: Vec<Descriptor>,
    /// Whether a manifest of that platform is here, so that `required` is complete.
    pub available: bool,
}

impl Survey {
    /// Bytes of what is required.
    pub fn size(&self) -> i64 {
        self.required.iter().map(|d| d.size.max(0)).sum()
    }
}

/// Looks at the image with this root. Content that is not here is no error.
pub async fn survey(client: &Client, target: &Descriptor, platform: &Matcher) -> Result<Survey> {
    let mut survey = Survey::default();
    let mut wanted = vec![target.clone()];
    let mut best = None;
    let mut looked_at = 0;
    while let Some(at) = wanted.pop() {
        looked_at += 1;
        if looked_at > MAX_MANIFESTS {
            break;
        }
        let (kind, bytes) = match document(client, &at).await {
            Ok(read) => read,
            Err(e) if e.is_not_found() => {
                if media_type::is_index(&at.media_type) {
                    survey.required.push(at);
                }
                continue;
            }
            Err(e) => return Err(e),
        };
        match kind {
            Document::Index => {
                let index: Index = parse(&bytes, &at.digest)?;
                survey.required.push(at);
                let manifests = index.manifests.into_iter();
                wanted.extend(manifests.filter(|d| !d.annotations.contains_key("vnd.docker.reference.type")));
            }
            Document::Manifest => {
                let manifest: Manifest = parse(&bytes, &at.digest)?;
                let Some(found) = platform_of(client, &at, &manifest).await? else { continue };
                survey.platforms.insert(found.format());
                let rank = platform.rank(&found);
                let better = best.as_ref().is_none_or(|(have, _, _)| rank < *have);
                if platform.matches(&found) && better {
                    best = Some((rank, at, manifest));
                }
            }
            Document::Other => {}
        }
    }
    if let Some((_, at, manifest)) = best {
        survey.available = true;
        survey.required.push(at);
        survey.required.push(manifest.config);
        survey.required.extend(manifest.layers);
    }
    Ok(survey)
}

/// The index says it; else the config. `None`: nothing that runs.
async fn platform_of(
    client: &Client,
    at: &Descriptor,
    manifest: &Manifest,
) -> Result<Option<base::Platform>> {
    if let Some(platform) = &at.platform {
        return Ok((platform.os != "unknown").then(|| platform.normalize()));
    }
    if !media_type::is_config(&manifest.config.media_type) {
        return Ok(None);
    }
    match blob::read(client, &manifest.config.digest, base::oci::MAX_DOCUMENT).await {
        Ok(bytes) => {
            let config: ImageConfig = parse(&bytes, &manifest.config.digest)?;
            Ok(Some(config.platform().normalize()))
        }
        Err(e) if e.is_not_found() => Ok(None),
        Err(e) => Err(e),
    }
}

/// Whether a blob is here.
pub async fn is_here(client: &Client, digest: &Digest) -> Result<bool> {
    let request = InfoRequest { digest: digest.to_string() };
    match client.content().info(request).await.or_say(format!("cannot look for content {digest}")) {
        Ok(_) => Ok(true),
        Err(e) if e.is_not_found() => Ok(false),
        Err(e) => Err(e),
    }
}
