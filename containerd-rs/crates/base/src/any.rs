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

/// URLs of types that cross crates. Go containerd sends the OCI ones as JSON, under
/// `types.containerd.io/opencontainers/<spec>/<major>/<type>`; the others are protobuf messages, whose
/// URL is their full name.
pub mod type_url {
    /// runtime-spec `Spec`.
    pub const SPEC: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";
    /// runtime-spec `Process`.
    pub const PROCESS: &str = "types.containerd.io/opencontainers/runtime-spec/1/Process";
    /// runtime-spec `LinuxResources`.
    pub const LINUX_RESOURCES: &str = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";
    /// runtime-spec `WindowsResources`.
    pub const WINDOWS_RESOURCES: &str = "types.containerd.io/opencontainers/runtime-spec/1/WindowsResources";
    /// runtime-spec features, in the `runtimeinfo` answer.
    pub const FEATURES: &str = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";
    /// Options of the runc shim, in protobuf.
    pub const RUNC_OPTIONS: &str = "containerd.runc.v1.Options";
    /// Options of a checkpoint by the runc shim, in protobuf.
    pub const RUNC_CHECKPOINT_OPTIONS: &str = "containerd.runc.v1.CheckpointOptions";
    /// What the runc shim says about a process, in protobuf.
    pub const RUNC_PROCESS_DETAILS: &str = "containerd.runc.v1.ProcessDetails";
    /// Options of any other shim: a config file or its contents, in protobuf.
    pub const RUNTIME_OPTIONS: &str = "runtimeoptions.v1.Options";
    /// Numbers of a cgroup v1 hierarchy, in protobuf.
    pub const CGROUP1_METRICS: &str = "io.containerd.cgroups.v1.Metrics";
    /// Numbers of a cgroup v2 directory, in protobuf.
    pub const CGROUP2_METRICS: &str = "io.containerd.cgroups.v2.Metrics";
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
