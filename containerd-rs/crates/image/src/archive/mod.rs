//! Archives: an image layout in a tar stream, OCI's own and what `docker save` writes.
//!
//! Archives come and go as channels of bytes, so that whoever has the other end may be a file, a
//! pipe or a stream of a client.

mod compressed;
mod docker;
mod export;
mod import;
mod reader;
mod writer;

pub use export::{ExportOptions, export};
pub use import::{ImportOptions, Imported, import};

/// The layout file of an OCI layout.
const LAYOUT_FILE: &str = "oci-layout";
/// The index of an OCI layout.
const INDEX_FILE: &str = "index.json";
/// What `docker load` reads.
const DOCKER_FILE: &str = "manifest.json";
/// The only version of the OCI layout.
const LAYOUT_VERSION: &str = "1.0.0";

/// The name an image has within a layout: its tag, or all of it when it has none.
fn layout_name(image: &str) -> &str {
    let path = image.rfind('/').map_or(0, |slash| slash + 1);
    match image[path..].find([':', '@']) {
        Some(at) if image.as_bytes()[path + at] == b':' => &image[path + at + 1..],
        _ => image,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    #[test]
    fn names_in_layouts() {
        for (image, want) in [
            ("docker.io/library/a:1", "1"),
            ("localhost:5000/a:1", "1"),
            ("localhost:5000/a", "localhost:5000/a"),
            ("r.io/a@sha256:00", "r.io/a@sha256:00"),
            ("r.io/a:1@sha256:00", "1@sha256:00"),
        ] {
            assert_eq!(super::layout_name(image), want);
        }
    }
}
