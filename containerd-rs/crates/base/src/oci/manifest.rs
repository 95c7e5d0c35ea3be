//! Descriptor, manifest and index.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::null_is_default;
use crate::digest::Digest;
use crate::error::Error;
use crate::platform::Platform;

/// Points at a blob: its type, digest and size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the blob is.
    #[serde(default, deserialize_with = "null_is_default")]
    pub media_type: String,
    /// Digest of the blob's bytes.
    pub digest: Digest,
    /// Bytes of the blob; negative numbers occur in hostile documents: see [`Descriptor::checked_size`].
    #[serde(default)]
    pub size: i64,
    /// Where else the blob can be had (foreign layers).
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Free key-value pairs.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The blob itself in base64; only to be used after checking digest and size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// What the image below runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Type of an artifact that is not an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

impl Descriptor {
    /// A descriptor with nothing but the three things that every one has.
    pub fn new(media_type: impl Into<String>, digest: Digest, size: i64) -> Self {
        Descriptor {
            media_type: media_type.into(),
            digest,
            size,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
            data: None,
            platform: None,
            artifact_type: None,
        }
    }

    /// The size when it is zero or more.
    pub fn checked_size(&self) -> Result<u64, Error> {
        u64::try_from(self.size)
            .map_err(|_| Error::invalid(format!("descriptor {} has size {}", self.digest, self.size)))
    }
}

/// An image manifest, OCI or Docker schema 2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    #[serde(default)]
    pub schema_version: u32,
    /// Type of this document; OCI documents may leave it out.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// Type of an artifact that is not an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The image config.
    pub config: Descriptor,
    /// Layers, bottom first.
    #[serde(default, deserialize_with = "null_is_default")]
    pub layers: Vec<Descriptor>,
    /// The manifest that this one is about (referrers).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Free key-value pairs.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// An image index, or Docker's manifest list.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    #[serde(default)]
    pub schema_version: u32,
    /// Type of this document; OCI documents may leave it out.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// Type of an artifact that is not an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Manifests or further indexes.
    #[serde(default, deserialize_with = "null_is_default")]
    pub manifests: Vec<Descriptor>,
    /// The manifest that this index is about (referrers).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Free key-value pairs.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn nulls_and_unknown_fields_are_fine() {
        let d = Digest::sha256("x");
        let json = format!(
            r#"{{"schemaVersion":2,"mediaType":null,"new":{{"a":[1]}},"config":{{"mediaType":"c","digest":"{d}","size":3,"urls":null,
               "annotations":null,"platform":null}},"layers":null,"annotations":null}}"#
        );
        let m: Manifest = serde_json::from_str(&json).unwrap();
        assert_eq!(m.config, Descriptor::new("c", d.clone(), 3));
        assert!(m.layers.is_empty() && m.annotations.is_empty() && m.subject.is_none());
        let i: Index = serde_json::from_str(r#"{"schemaVersion":2,"manifests":null}"#).unwrap();
        assert!(i.manifests.is_empty());
    }

    #[test]
    fn written_like_the_spec() {
        let d = Digest::sha256("x");
        let mut desc = Descriptor::new("t", d.clone(), 1);
        assert_eq!(
            serde_json::to_string(&desc).unwrap(),
            format!(r#"{{"mediaType":"t","digest":"{d}","size":1}}"#)
        );
        desc.platform = Some(Platform::new("linux", "arm64", "v8"));
        assert_eq!(
            serde_json::to_string(&desc).unwrap(),
            format!(
                r#"{{"mediaType":"t","digest":"{d}","size":1,"platform":{{"architecture":"arm64","os":"linux","variant":"v8"}}}}"#
            )
        );
    }

    #[test]
    fn sizes_below_zero_are_refused_on_use() {
        let desc = Descriptor::new("t", Digest::sha256("x"), -1);
        assert!(desc.checked_size().is_err());
        assert_eq!(Descriptor::new("t", Digest::sha256("x"), 7).checked_size().unwrap(), 7);
    }
}
