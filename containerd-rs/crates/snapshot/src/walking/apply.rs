//! Applies a layer of the content store.

use base::oci::media_type::{self, Compression};
use base::{Descriptor, ErrorKind, Mount, Scope};

use super::Walking;
use super::place::Place;
use crate::differ::ApplyOptions;
use crate::error::{Error, Result};
use crate::layer::Rules;
use crate::overlay::in_user_namespace;
use crate::worker::{Job, Packing};

pub(super) async fn apply(
    differ: &Walking,
    scope: &Scope,
    layer: &Descriptor,
    mounts: &[Mount],
    options: ApplyOptions,
) -> Result<Descriptor> {
    let packing = packing(&layer.media_type)?;
    let blob = differ
        .content
        .open(scope, &layer.digest)
        .await
        .map_err(|e| Error::from(e).during("failed to get reader from content store"))?;
    let workers = &differ.workers;
    let place = Place::of(mounts, &workers.options().tmp_dir).await?;
    let job = Job {
        root: place.root.clone(),
        lowers: place.lowers.clone(),
        rules: Rules {
            whiteouts: place.hiding,
            skip_devices: in_user_namespace(),
            limits: workers.options().limits,
        },
        packing,
        size: blob.size(),
        sync_fs: options.sync_fs,
        memory: workers.options().memory,
    };
    if let Some(progress) = &options.progress {
        progress(0);
    }
    let applied = workers.run(&job, &blob, options.progress.clone()).await;
    let closed = place.close().await;
    let (digest, size) = applied?;
    closed?;
    if let Some(progress) = &options.progress {
        progress(blob.size());
    }
    let size =
        i64::try_from(size).map_err(|_| Error::refused(ErrorKind::OutOfRange, "layer size out of range"))?;
    Ok(Descriptor::new(media_type::OCI_LAYER, digest, size))
}

fn packing(media_type: &str) -> Result<Packing> {
    match media_type::compression(media_type) {
        None => {
            let message = format!("no processor for media-type {media_type:?}");
            Err(Error::refused(ErrorKind::Unimplemented, message))
        }
        Some(Compression::None) if !media_type::may_be_compressed(media_type) => Ok(Packing::Plain),
        // Gzip under a zstd type and the other way round have been seen: the bytes decide.
        Some(_) => Ok(Packing::Detect),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use base::Kinded;

    use super::*;

    #[test]
    fn media_types() {
        for (media_type, wanted) in [
            (media_type::OCI_LAYER, Packing::Plain),
            (media_type::OCI_LAYER_GZIP, Packing::Detect),
            (media_type::OCI_LAYER_ZSTD, Packing::Detect),
            (media_type::DOCKER_LAYER, Packing::Detect),
            (media_type::DOCKER_LAYER_GZIP, Packing::Detect),
        ] {
            assert_eq!(packing(media_type).unwrap(), wanted, "{media_type}");
        }
        for other in ["", "text/plain", media_type::OCI_CONFIG, media_type::OCI_LAYER_GZIP_ENCRYPTED] {
            assert_eq!(packing(other).unwrap_err().kind(), ErrorKind::Unimplemented, "{other}");
        }
    }
}
