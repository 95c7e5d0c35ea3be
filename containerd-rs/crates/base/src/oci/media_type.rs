//! Media types of image parts, and what they say about the bytes.
#![allow(missing_docs)] // the constants are what their values say

pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
pub const OCI_LAYER_FOREIGN: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar";
pub const OCI_LAYER_FOREIGN_GZIP: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
pub const OCI_LAYER_FOREIGN_ZSTD: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd";
pub const OCI_LAYER_ENCRYPTED: &str = "application/vnd.oci.image.layer.v1.tar+encrypted";
pub const OCI_LAYER_GZIP_ENCRYPTED: &str = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted";
pub const OCI_EMPTY: &str = "application/vnd.oci.empty.v1+json";
pub const OCI_LAYOUT: &str = "application/vnd.oci.layout.header.v1+json";
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub const DOCKER_SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
pub const DOCKER_LAYER_ZSTD: &str = "application/vnd.docker.image.rootfs.diff.tar.zstd";
pub const DOCKER_LAYER_FOREIGN: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar";
pub const DOCKER_LAYER_FOREIGN_GZIP: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
pub const EROFS_LAYER: &str = "application/vnd.erofs.layer.v1";
pub const IN_TOTO: &str = "application/vnd.in-toto+json";
pub const CHECKPOINT: &str = "application/vnd.containerd.container.criu.checkpoint.criu.tar";
pub const CHECKPOINT_PRE_DUMP: &str = "application/vnd.containerd.container.criu.checkpoint.predump.tar";
pub const CHECKPOINT_RESOURCE: &str = "application/vnd.containerd.container.resource.tar";
pub const CHECKPOINT_RW: &str = "application/vnd.containerd.container.rw.tar";
pub const CHECKPOINT_CONFIG: &str = "application/vnd.containerd.container.checkpoint.config.v1+proto";
pub const CHECKPOINT_OPTIONS: &str = "application/vnd.containerd.container.checkpoint.options.v1+proto";
pub const CHECKPOINT_RUNTIME_NAME: &str = "application/vnd.containerd.container.checkpoint.runtime.name";
pub const CHECKPOINT_RUNTIME_OPTIONS: &str =
    "application/vnd.containerd.container.checkpoint.runtime.options+proto";

/// How the bytes of a layer are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// A plain tar.
    None,
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
}

/// An index or Docker manifest list.
pub fn is_index(mt: &str) -> bool {
    matches!(mt, OCI_INDEX | DOCKER_INDEX)
}

/// An image manifest, OCI or Docker schema 2.
pub fn is_manifest(mt: &str) -> bool {
    matches!(mt, OCI_MANIFEST | DOCKER_MANIFEST)
}

/// An image config.
pub fn is_config(mt: &str) -> bool {
    matches!(mt, OCI_CONFIG | DOCKER_CONFIG)
}

/// An image config, or that of a checkpoint image.
pub fn is_known_config(mt: &str) -> bool {
    is_config(mt) || matches!(mt, CHECKPOINT | CHECKPOINT_CONFIG)
}

/// A layer, with any number of `+` suffixes.
pub fn is_layer(mt: &str) -> bool {
    mt.starts_with("application/vnd.oci.image.layer.")
        || matches!(
            base(mt),
            DOCKER_LAYER
                | DOCKER_LAYER_GZIP
                | DOCKER_LAYER_ZSTD
                | DOCKER_LAYER_FOREIGN
                | DOCKER_LAYER_FOREIGN_GZIP
                | EROFS_LAYER
        )
}

/// Docker's types, which have no annotations.
pub fn is_docker(mt: &str) -> bool {
    mt.starts_with("application/vnd.docker.")
}

/// A layer that must not be pushed, only fetched from its urls.
pub fn is_non_distributable(mt: &str) -> bool {
    mt.starts_with("application/vnd.oci.image.layer.nondistributable.")
        || mt.starts_with("application/vnd.docker.image.rootfs.foreign.")
}

/// An in-toto attestation.
pub fn is_attestation(mt: &str) -> bool {
    mt == IN_TOTO
}

/// An encrypted layer.
pub fn is_encrypted(mt: &str) -> bool {
    suffixes(mt).any(|s| s == "encrypted")
}

/// Packing of a tar layer as its type says it. `None`: not a tar layer, or wrapped in something that
/// has to be taken off first (encryption).
///
/// Docker's plain tar type has been used for gzip too, so for those types look at the bytes as well:
/// [`may_be_compressed`].
pub fn compression(mt: &str) -> Option<Compression> {
    if is_encrypted(mt) {
        return None;
    }
    let last = suffixes(mt).last();
    match (base(mt), last) {
        (DOCKER_LAYER | DOCKER_LAYER_FOREIGN, None) => Some(Compression::None),
        (DOCKER_LAYER_GZIP | DOCKER_LAYER_FOREIGN_GZIP, None) => Some(Compression::Gzip),
        (DOCKER_LAYER_ZSTD, None) => Some(Compression::Zstd),
        (OCI_LAYER | OCI_LAYER_FOREIGN, None) => Some(Compression::None),
        (OCI_LAYER | OCI_LAYER_FOREIGN, Some("gzip")) => Some(Compression::Gzip),
        (OCI_LAYER | OCI_LAYER_FOREIGN, Some("zstd")) => Some(Compression::Zstd),
        _ => None,
    }
}

/// Types that say "tar" but have been used for compressed bytes.
pub fn may_be_compressed(mt: &str) -> bool {
    matches!(mt, DOCKER_LAYER | DOCKER_LAYER_FOREIGN)
}

/// The type before any `+`.
pub fn base(mt: &str) -> &str {
    mt.split_once('+').map_or(mt, |(base, _)| base)
}

fn suffixes(mt: &str) -> impl Iterator<Item = &str> {
    mt.split('+').skip(1)
}

/// The label on a parent that keeps one child: a key to use as it is (`config`), or a prefix that
/// ends in a dot and wants a number (or, for a referrer, its digest).
pub fn child_label(mt: &str, is_referrer: bool) -> &'static str {
    use crate::labels::gc;
    if is_referrer {
        "containerd.io/gc.ref.content.referrer.sha256."
    } else if is_known_config(mt) {
        gc::REF_CONTENT_CONFIG
    } else if is_manifest(mt) {
        gc::REF_CONTENT_MANIFEST
    } else if is_layer(mt) {
        gc::REF_CONTENT_LAYER
    } else {
        "containerd.io/gc.ref.content."
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::gc;

    #[test]
    fn packing() {
        for (mt, want) in [
            (OCI_LAYER, Some(Compression::None)),
            (OCI_LAYER_GZIP, Some(Compression::Gzip)),
            (OCI_LAYER_ZSTD, Some(Compression::Zstd)),
            (OCI_LAYER_FOREIGN_GZIP, Some(Compression::Gzip)),
            (DOCKER_LAYER, Some(Compression::None)),
            (DOCKER_LAYER_GZIP, Some(Compression::Gzip)),
            (DOCKER_LAYER_ZSTD, Some(Compression::Zstd)),
            (DOCKER_LAYER_FOREIGN_GZIP, Some(Compression::Gzip)),
            (OCI_LAYER_ENCRYPTED, None),
            (OCI_LAYER_GZIP_ENCRYPTED, None),
            ("application/vnd.docker.image.rootfs.diff.tar.gzip+encrypted", None),
            ("application/vnd.oci.image.layer.v1.tar+xz", None),
            (EROFS_LAYER, None),
            (OCI_CONFIG, None),
            ("", None),
        ] {
            assert_eq!(compression(mt), want, "{mt}");
        }
        assert!(may_be_compressed(DOCKER_LAYER) && !may_be_compressed(OCI_LAYER));
    }

    #[test]
    fn classes() {
        for mt in [
            OCI_LAYER_GZIP_ENCRYPTED,
            DOCKER_LAYER_FOREIGN,
            EROFS_LAYER,
            "application/vnd.erofs.layer.v1+zstd",
            OCI_LAYER_FOREIGN_ZSTD,
        ] {
            assert!(is_layer(mt), "{mt}");
            assert_eq!(child_label(mt, false), gc::REF_CONTENT_LAYER);
        }
        assert!(is_index(DOCKER_INDEX) && is_index(OCI_INDEX) && !is_index(OCI_MANIFEST));
        assert!(is_manifest(DOCKER_MANIFEST) && !is_manifest(DOCKER_SCHEMA1));
        assert!(is_non_distributable(DOCKER_LAYER_FOREIGN_GZIP) && !is_non_distributable(OCI_LAYER));
        assert_eq!(child_label(DOCKER_CONFIG, false), gc::REF_CONTENT_CONFIG);
        assert_eq!(child_label(OCI_MANIFEST, false), gc::REF_CONTENT_MANIFEST);
        assert_eq!(child_label(OCI_MANIFEST, true), "containerd.io/gc.ref.content.referrer.sha256.");
        assert_eq!(child_label(OCI_INDEX, false), "containerd.io/gc.ref.content.");
    }
}
