//! The image config.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::IgnoredAny;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::null_is_default;
use crate::digest::Digest;
use crate::platform::Platform;

/// An image config as image-spec and Docker have it.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ImageConfig {
    /// RFC 3339 time of making, kept as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who made it.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// Processor architecture, in Go's names.
    #[serde(default, deserialize_with = "null_is_default")]
    pub architecture: String,
    /// Operating system, in Go's names.
    #[serde(default, deserialize_with = "null_is_default")]
    pub os: String,
    /// Variant of the architecture.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub variant: String,
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
    /// Defaults of containers made from the image.
    #[serde(default, deserialize_with = "null_is_default")]
    pub config: ContainerConfig,
    /// Layers.
    #[serde(default, deserialize_with = "null_is_default")]
    pub rootfs: RootFs,
    /// How the layers came to be.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<History>,
}

impl ImageConfig {
    /// What the image runs on.
    pub fn platform(&self) -> Platform {
        Platform {
            os: self.os.clone(),
            architecture: self.architecture.clone(),
            variant: self.variant.clone(),
            os_version: self.os_version.clone(),
            os_features: self.os_features.clone(),
        }
    }
}

/// Layers of an image by the digests of their uncompressed tars.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type", default, deserialize_with = "null_is_default")]
    pub kind: String,
    /// Bottom first.
    #[serde(default, deserialize_with = "null_is_default")]
    pub diff_ids: Vec<Digest>,
}

/// One step of making an image.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct History {
    /// RFC 3339 time, kept as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The command.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    /// Who.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// Free text.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// The step made no layer.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

/// Defaults of containers made from an image. Written by whoever made the image: check before use.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerConfig {
    /// User (and group) to run as; see [`crate::user`].
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// `port/protocol`.
    #[serde(
        default,
        deserialize_with = "read_set",
        serialize_with = "write_set",
        skip_serializing_if = "BTreeSet::is_empty"
    )]
    pub exposed_ports: BTreeSet<String>,
    /// `NAME=value`.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Program and first arguments.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// Arguments, or the program when there is no entrypoint.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// Paths that should be volumes.
    #[serde(
        default,
        deserialize_with = "read_set",
        serialize_with = "write_set",
        skip_serializing_if = "BTreeSet::is_empty"
    )]
    pub volumes: BTreeSet<String>,
    /// Directory to start in.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// Labels; reserved ones must not be copied onward.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Signal that asks the program to stop.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// Windows: arguments are already escaped.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "std::ops::Not::not")]
    pub args_escaped: bool,
}

/// A JSON object used as a set: `{"a": {}}`.
fn read_set<'de, D: Deserializer<'de>>(d: D) -> Result<BTreeSet<String>, D::Error> {
    let map: Option<BTreeMap<String, IgnoredAny>> = Option::deserialize(d)?;
    Ok(map.unwrap_or_default().into_keys().collect())
}

fn write_set<S: Serializer>(set: &BTreeSet<String>, s: S) -> Result<S::Ok, S::Error> {
    let mut map = s.serialize_map(Some(set.len()))?;
    for key in set {
        map.serialize_entry(key, &BTreeMap::<(), ()>::new())?;
    }
    map.end()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn reads_a_docker_config() {
        let d = Digest::sha256("layer");
        let json = format!(
            r#"{{"architecture":"arm64","variant":"v8","os":"linux","os.version":null,"docker_version":"20.10","container":"abc",
            "config":{{"Hostname":"","User":"1000:1000","ExposedPorts":{{"80/tcp":{{}}}},"Env":["PATH=/bin"],"Cmd":["sh"],
                "Entrypoint":null,"Volumes":null,"WorkingDir":"/w","Labels":{{"a":"b"}},"OnBuild":null,"StopSignal":"SIGQUIT","Healthcheck":{{"Test":["x"]}}}},
            "rootfs":{{"type":"layers","diff_ids":["{d}"]}},"history":[{{"created":"2024-01-01T00:00:00Z","created_by":"x","empty_layer":true}}]}}"#
        );
        let c: ImageConfig = serde_json::from_str(&json).unwrap();
        assert_eq!(c.platform(), Platform::new("linux", "arm64", "v8"));
        assert_eq!(c.config.user, "1000:1000");
        assert!(c.config.exposed_ports.contains("80/tcp"));
        assert!(c.config.entrypoint.is_empty() && c.config.volumes.is_empty());
        assert_eq!(c.config.stop_signal, "SIGQUIT");
        assert_eq!(c.rootfs.diff_ids, [d]);
        assert!(c.history[0].empty_layer);
        let again: ImageConfig = serde_json::from_str(&serde_json::to_string(&c).unwrap()).unwrap();
        assert_eq!(again, c);
    }

    #[test]
    fn empty_and_null_everything() {
        for json in [
            "{}",
            r#"{"config":null,"rootfs":null,"history":null,"os":null}"#,
            r#"{"rootfs":{"diff_ids":null}}"#,
        ] {
            assert_eq!(serde_json::from_str::<ImageConfig>(json).unwrap(), ImageConfig::default(), "{json}");
        }
        assert!(
            serde_json::from_str::<ImageConfig>(r#"{"rootfs":{"diff_ids":["sha256:../../etc"]}}"#).is_err()
        );
    }
}
