//! What an image or a host is: the OCI platform, its specifiers (`linux/arm64/v8`) and which
//! platforms run on which.
//!
//! Follows containerd's platforms module, so that this side and its Go clients always choose the
//! same manifest of an index.

mod host;
mod matcher;
mod specifier;
mod windows;

pub use host::{amd64_level, arm_variant};
pub use matcher::{Matcher, Rank};
pub use specifier::PlatformError;

use serde::{Deserialize, Serialize};

use crate::oci::null_is_default;

/// What an image is for, or what a host is. Empty text: not given.
#[derive(Clone, Debug, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// Processor architecture, in Go's names.
    #[serde(default, deserialize_with = "null_is_default")]
    pub architecture: String,
    /// Operating system, in Go's names.
    #[serde(default, deserialize_with = "null_is_default")]
    pub os: String,
    /// Version of the operating system.
    #[serde(
        rename = "os.version",
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub os_version: String,
    /// Features that the operating system must have.
    #[serde(
        rename = "os.features",
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub os_features: Vec<String>,
    /// Variant of the architecture.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
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

    /// The canonical form: `x86_64` is `amd64`, `arm64/v8` is `arm64`, no OS is this host's.
    #[must_use]
    pub fn normalize(&self) -> Self {
        let (architecture, variant) = normalize_arch(&self.architecture, &self.variant);
        let mut os_features = self.os_features.clone();
        os_features.sort();
        os_features.dedup();
        Platform {
            os: normalize_os(&self.os),
            architecture,
            variant,
            os_version: self.os_version.clone(),
            os_features,
        }
    }

    /// The same on another architecture and variant.
    fn with_arch(&self, architecture: &str, variant: impl Into<String>) -> Self {
        Platform { architecture: architecture.to_owned(), variant: variant.into(), ..self.clone() }
    }
}

fn normalize_os(os: &str) -> String {
    match os.to_lowercase().as_str() {
        "" => host::OS.to_owned(),
        "macos" => "darwin".to_owned(),
        other => other.to_owned(),
    }
}

fn normalize_arch(architecture: &str, variant: &str) -> (String, String) {
    let (architecture, variant) = (architecture.to_lowercase(), variant.to_lowercase());
    let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
        ("i386", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64" | "amd64", v) => ("amd64", v),
        ("aarch64" | "arm64", "8" | "v8" | "v8.0") => ("arm64", ""),
        ("aarch64" | "arm64", "9" | "9.0" | "v9.0") => ("arm64", "v9"),
        ("aarch64" | "arm64", v) => ("arm64", v),
        ("armhf", _) => ("arm", "v7"),
        ("armel", _) => ("arm", "v6"),
        ("arm", "" | "7") => ("arm", "v7"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "6") => ("arm", "v6"),
        ("arm", "8") => ("arm", "v8"),
        (a, v) => (a, v),
    };
    (architecture.to_owned(), variant.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_forms() {
        for (arch, variant, want_arch, want_variant) in [
            ("AARCH64", "v8", "arm64", ""),
            ("arm64", "8", "arm64", ""),
            ("arm64", "v8.0", "arm64", ""),
            ("arm64", "v8.2", "arm64", "v8.2"),
            ("arm64", "9.0", "arm64", "v9"),
            ("x86_64", "", "amd64", ""),
            ("x86-64", "v3", "amd64", "v3"),
            ("amd64", "V1", "amd64", ""),
            ("i386", "x", "386", ""),
            ("armhf", "", "arm", "v7"),
            ("armel", "", "arm", "v6"),
            ("arm", "", "arm", "v7"),
            ("arm", "5", "arm", "v5"),
            ("arm", "v6", "arm", "v6"),
            ("riscv64", "", "riscv64", ""),
            ("unknown", "", "unknown", ""),
        ] {
            let p = Platform::new("Linux", arch, variant).normalize();
            assert_eq!(p, Platform::new("linux", want_arch, want_variant), "{arch}/{variant}");
            assert_eq!(p.normalize(), p);
        }
        assert_eq!(Platform::new("macOS", "arm64", "").normalize().os, "darwin");
        assert_eq!(Platform::default().normalize().os, "linux");
        let mut p = Platform::new("linux", "amd64", "");
        p.os_features = ["b", "a", "b"].map(str::to_owned).to_vec();
        assert_eq!(p.normalize().os_features, ["a", "b"]);
    }
}
