//! What an image or a host is: the OCI platform.
use serde::{Deserialize, Serialize};
/// What an image or host is.
#[derive(Clone, Debug, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// Processor architecture, in Go's names.
    #[serde(default, deserialize_with = "crate::oci::null_is_default")]
    pub architecture: String,
    /// Operating system, in Go's names.
    #[serde(default, deserialize_with = "crate::oci::null_is_default")]
    pub os: String,
    /// Version of the operating system.
    #[serde(
        rename = "os.version",
        default,
        deserialize_with = "crate::oci::null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub os_version: String,
    /// Features that the operating system must have.
    #[serde(
        rename = "os.features",
        default,
        deserialize_with = "crate::oci::null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub os_features: Vec<String>,
    /// Variant of the architecture.
    #[serde(
        default,
        deserialize_with = "crate::oci::null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub variant: String,
}

impl Platform {
    /// A platform without os version and features; the variant may be empty.
    pub fn new(os: impl Into<String>, architecture: impl Into<String>, variant: impl Into<String>) -> Self {
        Platform {
            os: os.into(),
            architecture: architecture.into(),
            variant: variant.into(),
            ..Platform::default()
        }
    }
}
