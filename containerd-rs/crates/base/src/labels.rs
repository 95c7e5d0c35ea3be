//! Labels: their size rule and every key that containerd itself gives a meaning to.

use std::collections::BTreeMap;

use crate::error::{ErrorKind, Kinded};

/// Labels of an object, sorted by key.
pub type Labels = BTreeMap<String, String>;

/// Most bytes of one key and its value together.
pub const MAX_LABEL: usize = 4096;

/// How much of a too long key its error shows, in bytes.
const SHOWN_KEY: usize = 64;

/// A label that is too big.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "label key and value length ({total} bytes) greater than maximum size ({MAX_LABEL} bytes), key: {key}"
)]
pub struct LabelError {
    /// Bytes of key and value.
    pub total: usize,
    /// The key, cut short when long.
    pub key: String,
}

impl Kinded for LabelError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidArgument
    }
}

/// Checks that key and value are together at most 4096 bytes.
pub fn validate_label(key: &str, value: &str) -> Result<(), LabelError> {
    let total = key.len() + value.len();
    if total <= MAX_LABEL {
        return Ok(());
    }
    let shown = key.floor_char_boundary(SHOWN_KEY);
    Err(LabelError { total, key: key[..shown].to_owned() })
}

/// Checks every label.
pub fn validate_labels(labels: &Labels) -> Result<(), LabelError> {
    labels.iter().try_for_each(|(k, v)| validate_label(k, v))
}

/// Keys that only containerd and its CRI part may set: never taken from an image.
pub fn is_reserved(key: &str) -> bool {
    key.starts_with(RESERVED_PREFIX) || key.starts_with(CRI_PREFIX)
}

/// Prefix of containerd's own labels.
pub const RESERVED_PREFIX: &str = "containerd.io/";
/// Prefix of the CRI part's own labels.
pub const CRI_PREFIX: &str = "io.cri-containerd";
/// On compressed blobs: the digest of what is inside.
pub const UNCOMPRESSED: &str = "containerd.io/uncompressed";
/// On a namespace: `true` lets others use its content.
pub const SHARED_NAMESPACE: &str = "containerd.io/namespace.shareable";
/// With `.<host>` at the end: repositories the blob came from, a sorted comma list.
pub const DISTRIBUTION_SOURCE: &str = "containerd.io/distribution.source";

/// The key that says which repositories of `host` hold a blob.
pub fn distribution_source(host: &str) -> String {
    format!("{DISTRIBUTION_SOURCE}.{host}")
}

/// Labels on a namespace that name the defaults of its containers.
pub mod defaults {
    /// Runtime of containers that name none.
    pub const RUNTIME: &str = "containerd.io/defaults/runtime";
    /// Snapshotter of requests that name none.
    pub const SNAPSHOTTER: &str = "containerd.io/defaults/snapshotter";
    /// Sandboxer of sandboxes that name none.
    pub const SANDBOXER: &str = "containerd.io/defaults/sandboxer";
}

/// Labels that garbage collection reads.
pub mod gc {
    /// Keep the object; the value does not matter.
    pub const ROOT: &str = "containerd.io/gc.root";
    /// Every reference label starts with this.
    pub const REF: &str = "containerd.io/gc.ref.";
    /// Keep the digest in the value; alone or with `.X` or `/X`.
    pub const REF_CONTENT: &str = "containerd.io/gc.ref.content";
    /// With `<snapshotter>[/X]`: keep the snapshot in the value.
    pub const REF_SNAPSHOT: &str = "containerd.io/gc.ref.snapshot.";
    /// Keep the image in the value.
    pub const REF_IMAGE: &str = "containerd.io/gc.ref.image";
    /// Config of a manifest.
    pub const REF_CONTENT_CONFIG: &str = "containerd.io/gc.ref.content.config";
    /// With the number of the manifest in its index.
    pub const REF_CONTENT_MANIFEST: &str = "containerd.io/gc.ref.content.m.";
    /// With the number of the layer in its manifest.
    pub const REF_CONTENT_LAYER: &str = "containerd.io/gc.ref.content.l.";
    /// With the algorithm and twelve hex digits of a referrer.
    pub const REF_CONTENT_REFERRER: &str = "containerd.io/gc.ref.content.referrer.";
    /// Keep me while the container in the value exists.
    pub const BACK_REF_CONTAINER: &str = "containerd.io/gc.bref.container";
    /// Keep me while the blob in the value exists.
    pub const BACK_REF_CONTENT: &str = "containerd.io/gc.bref.content";
    /// Keep me while the image in the value exists.
    pub const BACK_REF_IMAGE: &str = "containerd.io/gc.bref.image";
    /// With `<snapshotter>`: keep me while the snapshot in the value exists.
    pub const BACK_REF_SNAPSHOT: &str = "containerd.io/gc.bref.snapshot.";
    /// With `[./]<snapshotter>[/X]`: keep the snapshot while the condition in the value holds.
    pub const COND_SNAPSHOT: &str = "containerd.io/gc.cond.snapshot";
    /// The time that the `usedat` condition is tested against.
    pub const COND_USED_AT: &str = "containerd.io/gc.cond.value-usedat";
    /// RFC 3339 time: from then on not a root (leases, images), until then a root (content, snapshots).
    pub const EXPIRE: &str = "containerd.io/gc.expire";
    /// On a lease: hold only the listed things, do not follow their labels.
    pub const FLAT: &str = "containerd.io/gc.flat";

    /// `containerd.io/gc.ref.snapshot.<snapshotter>`.
    pub fn ref_snapshot(snapshotter: &str) -> String {
        format!("{REF_SNAPSHOT}{snapshotter}")
    }
}

/// Labels on snapshots.
pub mod snapshot {
    /// The committed name that a `Prepare` is on the way to; asks for adoption when it exists.
    pub const REF: &str = "containerd.io/snapshot.ref";
    /// Labels with this prefix are passed down to the backend.
    pub const PREFIX: &str = "containerd.io/snapshot/";
    /// Chain id of the parent.
    pub const PARENT_CHAIN_ID: &str = "containerd.io/snapshot/parent-chain-id";
    /// Diff id of the layer.
    pub const DIFF_ID: &str = "containerd.io/snapshot/diff-id";
    /// `ctr:host:size`.
    pub const UID_MAPPING: &str = "containerd.io/snapshot/uidmapping";
    /// `ctr:host:size`.
    pub const GID_MAPPING: &str = "containerd.io/snapshot/gidmapping";
    /// Where the writable directory of an overlay snapshot is.
    pub const OVERLAY_UPPERDIR: &str = "containerd.io/snapshot/overlay.upperdir";
    /// Type of the file system on the device of a devmapper snapshot.
    pub const DEVMAPPER_FSTYPE: &str = "containerd.io/snapshot/devmapper/fstype";
    /// Image reference, for remote snapshotters.
    pub const IMAGE_REF: &str = "containerd.io/snapshot/cri.image-ref";
    /// Manifest digest, for remote snapshotters.
    pub const MANIFEST_DIGEST: &str = "containerd.io/snapshot/cri.manifest-digest";
    /// Layer digest, for remote snapshotters.
    pub const LAYER_DIGEST: &str = "containerd.io/snapshot/cri.layer-digest";
    /// Layers of the image from this one on, a comma list cut at the label size.
    pub const IMAGE_LAYERS: &str = "containerd.io/snapshot/cri.image-layers";

    /// Whether a label on the namespaced snapshot is also given to the backend.
    pub fn is_passed_down(key: &str) -> bool {
        key == REF || key.starts_with(PREFIX)
    }
}

/// Labels on containers that the restart monitor reads.
pub mod restart {
    /// Wanted state: `running` or `stopped`; only containers with this label are looked at.
    pub const STATUS: &str = "containerd.io/restart.status";
    /// `always`, `no`, `on-failure[:N]`, `unless-stopped`.
    pub const POLICY: &str = "containerd.io/restart.policy";
    /// Restarts so far.
    pub const COUNT: &str = "containerd.io/restart.count";
    /// `true` once a user has stopped it; honoured by `unless-stopped`.
    pub const EXPLICITLY_STOPPED: &str = "containerd.io/restart.explicitly-stopped";
    /// IO of the restarted task.
    pub const LOG_URI: &str = "containerd.io/restart.loguri";
    /// Older form of `LOG_URI`, no longer followed.
    pub const LOG_PATH: &str = "containerd.io/restart.logpath";
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn size_rule() {
        assert_eq!(validate_label(&"k".repeat(2096), &"v".repeat(2000)), Ok(()));
        assert_eq!(validate_label("", ""), Ok(()));
        let e = validate_label(&"k".repeat(2096), &"v".repeat(2001)).unwrap_err();
        assert_eq!(
            e.to_string(),
            format!(
                "label key and value length (4097 bytes) greater than maximum size (4096 bytes), key: {}",
                "k".repeat(64)
            )
        );
        let short = validate_label("key", &"v".repeat(4096)).unwrap_err();
        assert!(short.to_string().ends_with("key: key"));
        // a cut inside a character must not panic
        assert!(validate_label(&"é".repeat(3000), "").unwrap_err().key.len() <= 64);
        assert!(validate_label(&format!("a{}", "é".repeat(3000)), "").unwrap_err().key.len() <= 64);
    }

    #[test]
    fn reserved_keys() {
        for key in [gc::ROOT, restart::STATUS, "io.cri-containerd.kind", "containerd.io/"] {
            assert!(is_reserved(key), "{key}");
        }
        for key in ["", "containerd.io", "io.kubernetes.pod.name", "x.containerd.io/gc.root"] {
            assert!(!is_reserved(key), "{key}");
        }
    }

    #[test]
    fn backend_sees_only_snapshot_labels() {
        assert!(snapshot::is_passed_down(snapshot::REF));
        assert!(snapshot::is_passed_down(snapshot::UID_MAPPING));
        assert!(!snapshot::is_passed_down(gc::ROOT));
        assert!(!snapshot::is_passed_down("containerd.io/snapshot.reference"));
    }
}
