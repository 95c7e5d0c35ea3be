//! Sources and destinations of a transfer, from the messages that name them.

use base::platform::Matcher;
use image::transfer::{Destination, ExtraReference};
use protos::api::Any;
use protos::api::types::Platform;
use protos::api::types_transfer::{ImageExportStream, ImageImportStream, ImageStore, OciRegistry};
use tonic::Status;

use crate::convert::platform_in;
use crate::status::{invalid, refuse};

/// One end of a transfer.
pub(super) enum End {
    Registry(OciRegistry),
    Store(ImageStore),
    Import(ImageImportStream),
    Export(ImageExportStream),
}

impl End {
    pub(super) fn name(&self) -> &'static str {
        match self {
            End::Registry(_) => "registry",
            End::Store(_) => "image store",
            End::Import(_) => "archive import stream",
            End::Export(_) => "archive export stream",
        }
    }
}

/// What an Any says; `which` end it is goes into the error.
pub(super) fn end(any: Option<Any>, which: &str) -> Result<End, Status> {
    let any = any.ok_or_else(|| invalid(format!("transfer {which} must be set")))?;
    let malformed = |e| invalid(format!("transfer {which}: {}", base::chain(&e)));
    if any.is::<OciRegistry>() {
        return any.unpack().map(End::Registry).map_err(malformed);
    }
    if any.is::<ImageStore>() {
        return any.unpack().map(End::Store).map_err(malformed);
    }
    if any.is::<ImageImportStream>() {
        return any.unpack().map(End::Import).map_err(malformed);
    }
    if any.is::<ImageExportStream>() {
        return any.unpack().map(End::Export).map_err(malformed);
    }
    let text = format!("transfer {which} of type {:?} is not supported", any.type_url);
    Err(refuse(base::ErrorKind::Unimplemented, text))
}

/// The names that the result gets. An image store without a name takes `fallback`.
pub(super) fn destination(to: &ImageStore, fallback: &str) -> Destination {
    let mut destination = Destination::named(if to.name.is_empty() { fallback } else { &to.name });
    destination.labels = to.labels.clone();
    let extra = |r: &protos::api::types_transfer::ImageReference| ExtraReference {
        name: r.name.clone(),
        is_prefix: r.is_prefix,
        allow_overwrite: r.allow_overwrite,
        add_digest: r.add_digest,
        skip_named_digest: r.skip_named_digest,
    };
    destination.extra_references = to.extra_references.iter().map(extra).collect();
    destination
}

/// No platforms: all of them.
pub(super) fn platforms(platforms: Vec<Platform>) -> Matcher {
    if platforms.is_empty() {
        return Matcher::all();
    }
    let platforms: Vec<base::Platform> = platforms.into_iter().map(platform_in).collect();
    Matcher::any(&platforms)
}

/// What an archive is made of: no platforms stand for this machine's own, since others' layers are often not here; of several the
/// first is the best.
pub(super) fn export_platforms(platforms: Vec<Platform>) -> Matcher {
    if platforms.is_empty() {
        return Matcher::only_strict(&base::Platform::host());
    }
    let platforms: Vec<base::Platform> = platforms.into_iter().map(platform_in).collect();
    Matcher::ordered(&platforms)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn an_export_without_platforms_is_this_machines_alone() {
        let host = base::Platform::host();
        let matcher = export_platforms(Vec::new());
        assert!(matcher.matches(&host));
        assert!(!matcher.matches(&base::Platform::new("linux", "s390x", "")));
        assert!(!matcher.matches(&base::Platform::new("linux", "386", "")));
    }
}
