//! What refers to a manifest: signatures, attestations, whatever names it as its `subject`.
//!
//! The referrers API of the OCI distribution specification 1.1, and the tag `<algorithm>-<hex>` where
//! a registry does not have it.

use base::oci::{Index, media_type};
use base::{Descriptor, Digest};
use http::{Method, StatusCode, Uri, header};

use super::answer::Answer;
use super::error::{Attempt, Failure, RegistryError};
use super::hosts::Capabilities;
use super::location;
use super::request::Host;
use super::resolver::{MAX_MANIFEST_SIZE, Repository};

/// Pages of one list that are followed.
const MAX_PAGES: usize = 16;
/// Entries of one list that are taken.
const MAX_REFERRERS: usize = 10_000;

impl Repository {
    /// What refers to `subject`: those with one of the artifact types, or all when there are none. An
    /// empty list where the registry knows of nothing. Cancel-safe.
    ///
    /// # Errors
    /// Every host that was tried, when none gave an answer and one failed for another reason than
    /// that it has no list.
    pub async fn referrers(
        &self,
        subject: &Digest,
        artifact_types: &[String],
    ) -> Result<Vec<Descriptor>, RegistryError> {
        // Hosts that may list are asked both ways; without any, those that may resolve know the tag.
        let hosts = self.hosts_for("referrers", Capabilities::REFERRERS).unwrap_or_default();
        let (able, fallback) = match hosts.is_empty() {
            false => (hosts.clone(), hosts),
            true => (Vec::new(), self.hosts_for("referrers", Capabilities::RESOLVE)?),
        };
        let mut attempts = Vec::new();
        let api = self.path("referrers", subject.as_str());
        let tag = self.path("manifests", &subject.as_str().replacen(':', "-", 1));
        let ways = able.iter().map(|h| (h, &api)).chain(fallback.iter().map(|h| (h, &tag)));
        for (host, path) in ways {
            let types: &[String] = if path == &api { artifact_types } else { &[] };
            match self.list_at(host, path, types).await {
                Ok(mut found) => {
                    found.retain(|d| {
                        let kind = d.artifact_type.as_deref().unwrap_or_default();
                        artifact_types.is_empty() || artifact_types.iter().any(|t| t == kind)
                    });
                    return Ok(found);
                }
                Err(failure) => {
                    tracing::debug!(host = host.config.host, %failure, path, "no list of referrers");
                    attempts.push(Attempt { host: host.config.host.clone(), failure });
                }
            }
        }
        match attempts.iter().all(|a| matches!(a.failure, Failure::NotFound)) {
            true => Ok(Vec::new()),
            false => Err(RegistryError::Hosts { subject: format!("referrers of {subject}"), attempts }),
        }
    }

    /// All pages of one host's list.
    async fn list_at(&self, host: &Host, path: &str, types: &[String]) -> Result<Vec<Descriptor>, Failure> {
        let mut found = Vec::new();
        let mut url = host.url(path)?;
        for kind in types {
            url = location::add_query(&url, "artifactType", kind).unwrap_or(url);
        }
        for _ in 0..MAX_PAGES {
            let call = host.call_url(Method::GET, url, &self.scopes(false));
            let mut answer =
                call.header(header::ACCEPT, media_type::OCI_INDEX).last_host(false).send().await?;
            if answer.status != StatusCode::OK {
                return Err(answer.into_failure().await);
            }
            found.extend(page(&mut answer).await?);
            if found.len() > MAX_REFERRERS {
                return Err(answer.bad(format!("lists more than {MAX_REFERRERS} referrers")));
            }
            match next_page(&answer) {
                Some(next) => url = next,
                None => return Ok(found),
            }
        }
        Err(Failure::BadAnswer {
            url: host.url(path).map(|u| location::redacted(&u)).unwrap_or_default(),
            problem: format!("its list of referrers has more than {MAX_PAGES} pages"),
        })
    }
}

async fn page(answer: &mut Answer) -> Result<Vec<Descriptor>, Failure> {
    let kind = answer.content_type();
    if kind != media_type::OCI_INDEX {
        return Err(answer.bad(format!("a list of referrers that is no index but {kind:?}")));
    }
    let limit = MAX_MANIFEST_SIZE;
    let too_large = |size| Failure::TooLarge { size, limit };
    if let Some(size) = answer.content_length().filter(|size| *size > limit) {
        return Err(too_large(size));
    }
    let body = answer.read(limit as usize).await?.ok_or_else(|| too_large(limit + 1))?;
    let index: Index = serde_json::from_slice(&body)
        .map_err(|e| answer.bad(format!("failed to decode referrers index: {e}")))?;
    Ok(index.manifests)
}

/// Where the `Link` header says that the list goes on; only at the same host.
fn next_page(answer: &Answer) -> Option<Uri> {
    let link = answer.header(header::LINK)?;
    let (target, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
    let next = rest.split(';').any(|p| matches!(p.trim(), "rel=\"next\"" | "rel=next"));
    let url = location::join(&answer.url, target).filter(|_| next)?;
    location::same_host(&answer.url, &url).then_some(url)
}
