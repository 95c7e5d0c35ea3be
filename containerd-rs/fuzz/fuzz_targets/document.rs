//! Manifests, indexes and configs: whatever is accepted has one meaning, and its children can be named.
#![no_main]

use base::oci::{Document, ImageConfig, Index, Manifest, classify, media_type};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut accepted = false;
    for mt in [
        media_type::OCI_MANIFEST,
        media_type::OCI_INDEX,
        media_type::DOCKER_MANIFEST,
        media_type::DOCKER_INDEX,
        "",
    ] {
        #[cfg(feature = "images")]
        children(mt, bytes);
        accepted |= matches!(classify(bytes, mt), Ok(Document::Manifest | Document::Index));
    }
    if accepted && let Ok(value) = serde_json::from_slice::<serde_json::Value>(bytes) {
        let has = |key: &str| value[key].as_array().is_some_and(|a| !a.is_empty());
        assert!(!(has("manifests") && has("layers")), "a manifest and an index");
    }
    if let Ok(config) = std::str::from_utf8(bytes).map_err(drop).and_then(|text| read::<ImageConfig>(text)) {
        let _chain = base::oci::chain_ids(&config.rootfs.diff_ids);
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _index = read::<Index>(text);
        let _manifest = read::<Manifest>(text);
    }
});

fn read<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, ()> {
    serde_json::from_str(text).map_err(drop)
}

#[cfg(feature = "images")]
fn children(mt: &str, bytes: &[u8]) {
    let descriptor = base::Descriptor::new(mt, base::Digest::sha256(bytes), bytes.len() as i64);
    if let Ok(children) = image::manifest::children(&descriptor, bytes) {
        let _labels = image::manifest::child_labels(&children);
    }
}
