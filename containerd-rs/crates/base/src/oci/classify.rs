//! What a fetched JSON document is, refusing those that can be read two ways.
//!
//! A document with both the fields of a manifest and those of an index means different things to
//! different readers, so a scanner could be shown one image and the runtime another
//! (GHSA-5j5w-g665-5m35). Go containerd refuses them as well.

use std::fmt;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::media_type::{DOCKER_SCHEMA1, is_index, is_manifest};
use crate::error::{ErrorKind, Kinded};

/// What a document turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Document {
    /// An image manifest.
    Manifest,
    /// An index of manifests.
    Index,
    /// Neither by its type and fields: a config or something unknown.
    Other,
}

/// Why a document is refused.
#[derive(Debug, thiserror::Error)]
pub enum ClassifyError {
    /// Not a JSON object, or with a type that is not text.
    #[error("document is not valid JSON")]
    Json(#[source] serde_json::Error),
    /// Docker schema 1.
    #[error("media-type: schema 1 not supported")]
    Schema1,
    /// Said to be a manifest.
    #[error("media-type: expected manifest but found index ({media_type})")]
    ExpectedManifest {
        /// The type it came under.
        media_type: String,
    },
    /// Said to be an index.
    #[error("media-type: expected index but found manifest ({media_type})")]
    ExpectedIndex {
        /// The type it came under.
        media_type: String,
    },
    /// Has the fields of both, or one of the telling fields twice or in an odd spelling.
    #[error("media-type: document can be read as manifest and as index ({media_type})")]
    Ambiguous {
        /// The type it came under.
        media_type: String,
    },
}

impl Kinded for ClassifyError {
    fn kind(&self) -> ErrorKind {
        match self {
            ClassifyError::Schema1 => ErrorKind::Unimplemented,
            _ => ErrorKind::InvalidArgument,
        }
    }
}

/// The fields that tell what a document is, and whether each is there with a value.
#[derive(Default)]
struct Shape {
    media_type: String,
    config: bool,
    layers: bool,
    manifests: bool,
    fs_layers: bool,
    /// A telling field came twice, or spelt with other capitals: readers differ on what that means.
    unclear: bool,
}

const TELLING: [&str; 5] = ["mediaType", "config", "layers", "manifests", "fsLayers"];

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_map(ShapeVisitor)
    }
}

struct ShapeVisitor;

impl<'de> Visitor<'de> for ShapeVisitor {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Shape, A::Error> {
        let mut shape = Shape::default();
        let mut seen = [false; TELLING.len()];
        while let Some(key) = map.next_key::<String>()? {
            let Some(index) = TELLING.iter().position(|t| t.eq_ignore_ascii_case(&key)) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            shape.unclear |= seen[index] || key != TELLING[index];
            seen[index] = true;
            match index {
                0 => shape.media_type = map.next_value::<Option<String>>()?.unwrap_or_default(),
                _ => {
                    let given = map.next_value::<Option<IgnoredAny>>()?.is_some();
                    match index {
                        1 => shape.config |= given,
                        2 => shape.layers |= given,
                        3 => shape.manifests |= given,
                        _ => shape.fs_layers |= given,
                    }
                }
            }
        }
        Ok(shape)
    }
}

/// Checks that the fields of a document agree with the type it came under (from the descriptor or the
/// Content-Type header; may be empty) and with the type it gives itself, and says what it is.
///
/// Must pass before a manifest or index is parsed, and only for those: it expects JSON.
pub fn classify(bytes: &[u8], media_type: &str) -> Result<Document, ClassifyError> {
    let shape: Shape = serde_json::from_slice(bytes).map_err(ClassifyError::Json)?;
    let inner = shape.media_type.as_str();
    if shape.fs_layers || media_type == DOCKER_SCHEMA1 || inner == DOCKER_SCHEMA1 {
        return Err(ClassifyError::Schema1);
    }
    let like_index = shape.manifests;
    let like_manifest = shape.config || shape.layers;
    let mt = || media_type.to_owned();
    if is_manifest(media_type) && (like_index || is_index(inner)) {
        return Err(ClassifyError::ExpectedManifest { media_type: mt() });
    }
    if is_index(media_type) && (like_manifest || is_manifest(inner)) {
        return Err(ClassifyError::ExpectedIndex { media_type: mt() });
    }
    let ambiguous = shape.unclear
        || (like_index && (like_manifest || is_manifest(inner)))
        || (like_manifest && is_index(inner));
    if ambiguous {
        return Err(ClassifyError::Ambiguous { media_type: mt() });
    }
    Ok(if is_manifest(media_type) || is_manifest(inner) {
        Document::Manifest
    } else if is_index(media_type) || is_index(inner) || like_index {
        Document::Index
    } else if shape.config && shape.layers {
        Document::Manifest
    } else {
        Document::Other
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::super::media_type::{DOCKER_INDEX, DOCKER_MANIFEST, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST};
    use super::*;
    use proptest::prelude::*;

    const MANIFEST: &str = r#"{"schemaVersion":2,"config":{},"layers":[{}]}"#;
    const INDEX: &str = r#"{"schemaVersion":2,"manifests":[{}]}"#;

    #[test]
    fn honest_documents() {
        for (json, mt, want) in [
            (MANIFEST, OCI_MANIFEST, Document::Manifest),
            (MANIFEST, DOCKER_MANIFEST, Document::Manifest),
            (MANIFEST, "", Document::Manifest),
            (INDEX, OCI_INDEX, Document::Index),
            (INDEX, DOCKER_INDEX, Document::Index),
            (INDEX, "", Document::Index),
            (
                r#"{"schemaVersion":2,"config":{},"layers":[],"manifests":null}"#,
                OCI_MANIFEST,
                Document::Manifest,
            ),
            (
                r#"{"schemaVersion":2,"manifests":[{}],"layers":null,"config":null}"#,
                OCI_INDEX,
                Document::Index,
            ),
            (r#"{"manifests":[]}"#, OCI_INDEX, Document::Index),
            (r#"{"config":{"Cmd":["sh"]},"rootfs":{}}"#, OCI_CONFIG, Document::Other),
            ("{}", "", Document::Other),
        ] {
            assert_eq!(classify(json.as_bytes(), mt).unwrap(), want, "{mt} {json}");
        }
    }

    #[test]
    fn two_faced_documents() {
        let both = r#"{"config":{},"layers":[{}],"manifests":[{}]}"#;
        let claims_index = format!(r#"{{"mediaType":"{OCI_INDEX}","config":{{}},"layers":[{{}}]}}"#);
        let claims_manifest = format!(r#"{{"mediaType":"{DOCKER_MANIFEST}","manifests":[{{}}]}}"#);
        let schema1 = r#"{"schemaVersion":1,"fsLayers":[{"blobSum":"x"}]}"#;
        for (json, mt, words) in [
            (both, OCI_MANIFEST, "expected manifest but found index"),
            (both, OCI_INDEX, "expected index but found manifest"),
            (both, "", "as manifest and as index"),
            (
                r#"{"config":{},"layers":[{}],"manifests":[]}"#,
                OCI_MANIFEST,
                "expected manifest but found index",
            ),
            (
                r#"{"config":{},"layers":[{}],"Manifests":[{}]}"#,
                OCI_MANIFEST,
                "expected manifest but found index",
            ),
            (r#"{"config":{},"Layers":[{}],"layers":[{}]}"#, OCI_MANIFEST, "as manifest and as index"),
            (r#"{"mediatype":"x","manifests":[{}]}"#, OCI_INDEX, "as manifest and as index"),
            (r#"{"manifests":{"a":1}}"#, OCI_MANIFEST, "expected manifest but found index"),
            (MANIFEST, OCI_INDEX, "expected index but found manifest"),
            (INDEX, DOCKER_MANIFEST, "expected manifest but found index"),
            (&claims_index, OCI_MANIFEST, "expected manifest but found index"),
            (&claims_manifest, OCI_INDEX, "expected index but found manifest"),
            (&claims_index, "", "as manifest and as index"),
            (&claims_manifest, "application/json", "as manifest and as index"),
            (schema1, "", "schema 1 not supported"),
            (MANIFEST, DOCKER_SCHEMA1, "schema 1 not supported"),
            (r#"{"layers":[{}],"layers":[]}"#, OCI_MANIFEST, "as manifest and as index"),
            (r#"{"mediaType":7}"#, OCI_INDEX, "not valid JSON"),
            ("[]x", "", "not valid JSON"),
            ("", "", "not valid JSON"),
        ] {
            let e = classify(json.as_bytes(), mt).unwrap_err();
            assert!(e.to_string().contains(words), "{mt} {json}: {e}");
        }
        assert_eq!(classify(schema1.as_bytes(), "").unwrap_err().kind(), ErrorKind::Unimplemented);
    }

    proptest! {
        #![proptest_config(crate::seeded())]

        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = classify(&bytes, OCI_MANIFEST);
        }
    }
}
