//! A value whose type is named by a URL, kept as bytes, and the URLs that Go containerd registers.

use bytes::Bytes;

/// A typed blob: what `google.protobuf.Any` carries, kept byte for byte.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Any {
    /// Names the type of `value`.
    pub type_url: String,
    /// The encoded message: protobuf, or JSON for types that are not protobuf.
    pub value: Bytes,
}

impl Any {
    /// Puts a type name on encoded bytes.
    pub fn new(type_url: impl Into<String>, value: impl Into<Bytes>) -> Self {
        Any { type_url: type_url.into(), value: value.into() }
    }

    /// Neither a type nor a value.
    pub fn is_empty(&self) -> bool {
        self.type_url.is_empty() && self.value.is_empty()
    }

    /// Whether this holds the message `name` ("containerd.events.TaskExit"), with or without a
    /// `type.googleapis.com/` prefix.
    pub fn is(&self, name: &str) -> bool {
        self.type_url == name || self.type_url.strip_suffix(name).is_some_and(|p| p.ends_with('/'))
    }
}

/// URLs of the OCI types that Go containerd sends as JSON (typeurl.Register with
/// `types.containerd.io/opencontainers/<spec>/<major>/<type>`).
pub mod type_url {
    /// runtime-spec `Spec`.
    pub const SPEC: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";
    /// runtime-spec `Process`.
    pub const PROCESS: &str = "types.containerd.io/opencontainers/runtime-spec/1/Process";
    /// runtime-spec `LinuxResources`.
    pub const LINUX_RESOURCES: &str = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";
    /// runtime-spec `WindowsResources`.
    pub const WINDOWS_RESOURCES: &str = "types.containerd.io/opencontainers/runtime-spec/1/WindowsResources";
    /// image-spec `Descriptor`.
    pub const DESCRIPTOR: &str = "types.containerd.io/opencontainers/image-spec/1/Descriptor";
    /// runtime-spec features, in the `runtimeinfo` answer.
    pub const FEATURES: &str = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_with_and_without_prefix() {
        for url in ["containerd.events.TaskExit", "type.googleapis.com/containerd.events.TaskExit"] {
            assert!(Any::new(url, "").is("containerd.events.TaskExit"), "{url}");
        }
        for url in ["xcontainerd.events.TaskExit", "containerd.events.TaskExit2", "TaskExit", ""] {
            assert!(!Any::new(url, "").is("containerd.events.TaskExit"), "{url}");
        }
    }
}
