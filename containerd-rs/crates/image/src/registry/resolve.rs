//! From a name to a descriptor.

use base::oci::media_type;
use base::{Descriptor, Digest};
use http::{HeaderValue, Method, StatusCode, header};

use super::answer::Answer;
use super::error::{Attempt, Failure, RegistryError};
use super::hosts::Capabilities;
use super::request::Host;
use super::resolver::{MAX_MANIFEST_SIZE, Repository};

/// Asked for on resolve, in the original's order.
const ACCEPT: &str = "application/vnd.docker.distribution.manifest.v2+json, \
application/vnd.docker.distribution.manifest.list.v2+json, \
application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, */*";

/// What a name stands for.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The reference that was resolved.
    pub name: String,
    /// Digest, size and media type of its manifest or index.
    pub descriptor: Descriptor,
}

impl Repository {
    /// Asks the hosts, in order, what the reference stands for. A digest in the reference is taken as
    /// it is; a tag is only asked of hosts that may resolve. Cancel-safe.
    pub async fn resolve(&self) -> Result<Resolved, RegistryError> {
        if self.object.is_empty() {
            return Err(RegistryError::Reference {
                reference: self.reference.clone(),
                problem: "object required".to_owned(),
            });
        }
        let digest = self.digest()?;
        let hosts = match digest {
            Some(_) => self.hosts_for("resolve", Capabilities::PULL)?,
            None => self.hosts_for("resolve", Capabilities::PULL.with(Capabilities::RESOLVE))?,
        };
        let object = digest.as_ref().map_or(self.object.as_str(), Digest::as_str);
        let mut attempts = Vec::new();
        // Some registries serve old manifests as blobs only; a digest makes that safe.
        let kinds: &[&str] = if digest.is_some() { &["manifests", "blobs"] } else { &["manifests"] };
        for kind in kinds {
            if attempts.iter().any(|a: &Attempt| !matches!(a.failure, Failure::NotFound)) {
                break;
            }
            attempts.clear();
            for (n, host) in hosts.iter().enumerate() {
                let last = n + 1 == hosts.len();
                let path = self.path(kind, object);
                match self.resolve_at(host, &path, digest.as_ref(), last).await {
                    Ok(descriptor) => {
                        return Ok(Resolved { name: self.reference.clone(), descriptor });
                    }
                    Err(failure) => {
                        tracing::info!(host = host.config.host, %failure, "{}", if last { "resolve failed" } else { "trying next host" });
                        attempts.push(Attempt { host: host.config.host.clone(), failure });
                    }
                }
            }
        }
        Err(RegistryError::Hosts { subject: self.reference.clone(), attempts })
    }

    /// The digest in the reference.
    fn digest(&self) -> Result<Option<Digest>, RegistryError> {
        let Some((_, text)) = self.object.split_once('@') else { return Ok(None) };
        Digest::parse(text).map(Some).map_err(|e| RegistryError::Reference {
            reference: self.reference.clone(),
            problem: base::chain(&e),
        })
    }

    async fn resolve_at(
        &self,
        host: &Host,
        path: &str,
        digest: Option<&Digest>,
        last: bool,
    ) -> Result<Descriptor, Failure> {
        let mut answer = self.manifest_call(host, Method::HEAD, path, last).await?;
        if answer.status == StatusCode::FORBIDDEN && answer.method == Method::HEAD {
            // The reason stands in the body, which a HEAD does not have.
            answer = self.manifest_call(host, Method::GET, path, false).await?;
        }
        if !answer.status.is_success() {
            return Err(answer.into_failure().await);
        }
        let announced = match answer.headers.get("docker-content-digest").map(HeaderValue::to_str) {
            Some(Ok(text)) if !text.is_empty() => Some(Digest::parse(text).map_err(|e| {
                answer.bad(format!("{text:?} in header not a valid digest: {}", base::chain(&e)))
            })?),
            _ => None,
        };
        let size = answer.content_length().filter(|s| *s > 0);
        let known =
            media_type::is_manifest(answer.content_type()) || media_type::is_index(answer.content_type());
        match (digest.cloned().or(announced.clone()), size) {
            (Some(digest), Some(size)) if known && answer.method == Method::HEAD => {
                limit(size)?;
                Ok(descriptor(answer.content_type(), digest, size))
            }
            _ => {
                if answer.method == Method::HEAD {
                    answer = self.manifest_call(host, Method::GET, path, true).await?;
                    if !answer.status.is_success() {
                        return Err(answer.into_failure().await);
                    }
                }
                from_body(&mut answer, digest.or(announced.as_ref())).await
            }
        }
    }

    async fn manifest_call(
        &self,
        host: &Host,
        method: Method,
        path: &str,
        last: bool,
    ) -> Result<Answer, Failure> {
        let accept = self.shared.accept.as_ref().and_then(|v| v.to_str().ok()).unwrap_or(ACCEPT);
        host.call(method, path, &self.scopes(false))?
            .header(header::ACCEPT, accept)
            .last_host(last)
            .send()
            .await
    }
}

fn limit(size: u64) -> Result<(), Failure> {
    match size > MAX_MANIFEST_SIZE {
        true => Err(Failure::TooLarge { size, limit: MAX_MANIFEST_SIZE }),
        false => Ok(()),
    }
}

/// Reads the manifest itself, for registries that tell too little in the headers.
async fn from_body(answer: &mut Answer, expected: Option<&Digest>) -> Result<Descriptor, Failure> {
    limit(answer.content_length().unwrap_or(0))?;
    let body = answer
        .read(MAX_MANIFEST_SIZE as usize)
        .await?
        .ok_or(Failure::TooLarge { size: MAX_MANIFEST_SIZE + 1, limit: MAX_MANIFEST_SIZE })?;
    let digest = match expected {
        Some(expected) => {
            let mut hasher = base::Hasher::new(expected.algorithm());
            hasher.update(&body);
            let found = hasher.finish();
            if found != *expected {
                return Err(answer.bad(format!("unexpected digest {found}, expected {expected}")));
            }
            found
        }
        None => Digest::sha256(&body),
    };
    let kind = match answer.content_type() {
        // What old registries send for anything, schema 1 among it.
        "" | "application/octet-stream" | "text/plain" | "application/json" => media_type_in(&body),
        kind => Some(kind.to_owned()),
    };
    match kind {
        Some(kind) => Ok(descriptor(&kind, digest, body.len() as u64)),
        None => Err(answer.bad(format!("neither a manifest nor an index but {:?}", answer.content_type()))),
    }
}

/// The media type that a document says of itself.
fn media_type_in(body: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Document {
        #[serde(default)]
        media_type: String,
        #[serde(default)]
        schema_version: i64,
        manifests: Option<serde::de::IgnoredAny>,
        config: Option<serde::de::IgnoredAny>,
        fs_layers: Option<serde::de::IgnoredAny>,
    }
    let document: Document = serde_json::from_slice(body).ok()?;
    if !document.media_type.is_empty() {
        return Some(document.media_type);
    }
    match (document.schema_version, document.manifests, document.config, document.fs_layers) {
        (1, ..) | (_, _, _, Some(_)) => Some(media_type::DOCKER_SCHEMA1.to_owned()),
        (2, Some(_), None, _) => Some(media_type::OCI_INDEX.to_owned()),
        (2, None, Some(_), _) => Some(media_type::OCI_MANIFEST.to_owned()),
        _ => None,
    }
}

fn descriptor(media_type: &str, digest: Digest, size: u64) -> Descriptor {
    Descriptor::new(media_type, digest, size as i64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn documents_tell_what_they_are() {
        for (body, want) in [
            (r#"{"schemaVersion":2,"mediaType":"a/b"}"#, Some("a/b")),
            (r#"{"schemaVersion":2,"manifests":[]}"#, Some(media_type::OCI_INDEX)),
            (r#"{"schemaVersion":2,"config":{},"layers":[]}"#, Some(media_type::OCI_MANIFEST)),
            (r#"{"schemaVersion":1,"fsLayers":[]}"#, Some(media_type::DOCKER_SCHEMA1)),
            (r#"{"schemaVersion":2,"manifests":[],"config":{}}"#, None),
            ("<html>", None),
        ] {
            assert_eq!(media_type_in(body.as_bytes()).as_deref(), want, "{body}");
        }
    }
}
