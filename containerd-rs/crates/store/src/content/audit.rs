//! Looking at every byte of a blob. Damaged ones are set aside, so that the blob can be fetched again.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use base::{Digest, Hasher, Scope};

use super::backend::blocking;
use super::{ContentStore, LocalContent, record};
use crate::error::{Error, Result};

/// Bytes read at a time.
const READ: usize = 256 << 10;

/// What a file is as long as nobody puts another in its place.
type Identity = (u64, u64);

impl LocalContent {
    /// Whether the bytes of a blob are those of its digest. If not, they are set aside and the blob
    /// is dropped in every namespace, unless it was fetched anew meanwhile.
    pub(super) async fn audit_bytes(&self, scope: &Scope, digest: &Digest) -> Result<bool> {
        // Also finds what is missing or cut short.
        self.open(scope, digest).await?;
        let (path, wanted) = (self.backend.blob_path(digest), digest.clone());
        let Some(damaged) = blocking(move || hash(&path, &wanted)).await? else { return Ok(true) };
        let (this, digest) = (self.clone(), digest.clone());
        self.meta
            .write(move |tx| {
                let path = this.backend.blob_path(&digest);
                let name = digest.as_str().to_owned();
                let aside = this.meta.shared.blobs.unless_entered(&name, || match identity(&path) {
                    Ok(found) if found == damaged => this.backend.set_corrupt(&digest),
                    _ => Ok(false),
                });
                if aside.transpose()?.unwrap_or(false) {
                    tracing::warn!(%digest, "bytes of blob are not those of its digest: blob dropped");
                    record::forget(tx, digest.as_str())?;
                    tx.mark_dirty();
                }
                Ok(())
            })
            .await?;
        Ok(false)
    }
}

fn identity(path: &Path) -> io::Result<Identity> {
    std::fs::symlink_metadata(path).map(|m| (m.dev(), m.ino()))
}

/// The file that has the wrong bytes; nothing when they are right.
fn hash(path: &Path, digest: &Digest) -> Result<Option<Identity>> {
    let failed = |e| Error::io("read blob", path, e);
    let mut file = File::open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    let (mut hasher, mut buffer) = (Hasher::new(digest.algorithm()), vec![0; READ]);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => hasher.update(&buffer[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(failed(e)),
        }
    }
    Ok((hasher.finish() != *digest).then_some((meta.dev(), meta.ino())))
}
