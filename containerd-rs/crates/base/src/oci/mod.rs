//! Shapes of OCI image-spec and Docker schema 2 documents, only to read them.
//!
//! What is stored and sent is always the original bytes. Unknown fields are ignored and null stands
//! for empty, as registries and tools send both. How many bytes may be parsed is the caller's limit
//! ([`MAX_DOCUMENT`] is a good one).

pub mod classify;
mod config;
mod manifest;
pub mod media_type;

pub use classify::{ClassifyError, Document, classify};
pub use config::{ContainerConfig, History, ImageConfig, RootFs};
pub use manifest::{Descriptor, Index, Manifest};

use crate::digest::{Digest, Hasher};

/// Most bytes of a manifest, index or config that are worth parsing.
pub const MAX_DOCUMENT: u64 = 20 << 20;

/// Annotations that containerd reads or writes.
pub mod annotation {
    /// Full image name, in archives.
    pub const IMAGE_NAME: &str = "io.containerd.image.name";
    /// Tag or name, in archives.
    pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
    /// When the image was made.
    pub const CREATED: &str = "org.opencontainers.image.created";
    /// Prefix of copied distribution source labels.
    pub const DISTRIBUTION_SOURCE: &str = "containerd.io/distribution.source.";
    /// The manifest that a referrer is about.
    pub const MANIFEST_SUBJECT: &str = "io.containerd.manifest.subject";
    /// BuildKit's mark on an attestation manifest.
    pub const DOCKER_REFERENCE_TYPE: &str = "vnd.docker.reference.type";
}

/// The chain id of a stack of layers, bottom first: the diff id of one, else sha256 of
/// "parent-chain diff-id". No layers: `None`.
pub fn chain_id(diff_ids: &[Digest]) -> Option<Digest> {
    chain_ids(diff_ids).pop()
}

/// The chain id of every prefix of the stack: one for each layer.
pub fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff in diff_ids {
        let next = match chain.last() {
            None => diff.clone(),
            Some(parent) => {
                let mut hasher = Hasher::default();
                hasher.update(parent.as_str().as_bytes());
                hasher.update(b" ");
                hasher.update(diff.as_str().as_bytes());
                hasher.finish()
            }
        };
        chain.push(next);
    }
    chain
}

/// null reads as the default, like a missing field.
pub(crate) fn null_is_default<'de, D, T>(d: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: serde::Deserialize<'de> + Default,
{
    Ok(<Option<T> as serde::Deserialize>::deserialize(d)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn chain_is_the_specs() {
        let [a, b, c] = ["a", "b", "c"].map(Digest::sha256);
        assert_eq!(chain_id(&[]), None);
        assert_eq!(chain_id(std::slice::from_ref(&a)), Some(a.clone()));
        let ab = Digest::sha256(format!("{a} {b}"));
        let abc = Digest::sha256(format!("{ab} {c}"));
        assert_eq!(chain_ids(&[a.clone(), b, c]), [a, ab, abc]);
    }
}
