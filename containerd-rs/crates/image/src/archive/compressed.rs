//! A plain layer stored as gzip.

use std::io::Write;

use base::{Digest, Labels, labels};
use flate2::Compression;
use flate2::write::GzEncoder;
use store::{Blob, WriterOptions};

use super::import::Contents;
use crate::error::{Error, Result};

/// Bytes compressed at once.
const CHUNK: usize = 1 << 20;

/// Compresses `blob` (its digest is `plain`) into the store. Gives digest and size of the result,
/// which is labelled with the digest of what is inside.
pub(super) async fn store_gzip(
    contents: &Contents<'_>,
    plain: &Digest,
    blob: &Blob,
) -> Result<(Digest, u64)> {
    let content = &contents.local.content;
    let reference = format!("compress-blob-{:016x}-{}", rand::random::<u64>(), plain.hex());
    let mut writer = content.writer(contents.scope, WriterOptions::new(&reference)).await?;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let mut offset = 0;
    while offset < blob.size() {
        let chunk = blob.chunk(offset, CHUNK).await?;
        if chunk.is_empty() {
            break;
        }
        offset += chunk.len() as u64;
        let packed;
        (encoder, packed) = blocking(move || {
            encoder.write_all(&chunk)?;
            let packed = std::mem::take(encoder.get_mut());
            Ok((encoder, packed))
        })
        .await?;
        writer.write(&packed).await?;
    }
    let rest = blocking(move || encoder.finish()).await?;
    writer.write(&rest).await?;
    let (digest, size) = (writer.digest(), writer.offset());
    let labels = Labels::from([(labels::UNCOMPRESSED.to_owned(), plain.to_string())]);
    match writer.commit(size, Some(&digest), labels).await {
        Err(e) if !e.is_already_exists() => Err(e.into()),
        _ => Ok((digest, size)),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(Error::Task)?
        .map_err(|e| Error::archive("compress layer", e))
}
