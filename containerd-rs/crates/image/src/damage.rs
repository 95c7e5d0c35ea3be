//! Content of the store whose bytes are not those of its digest: it is set aside, so that it can be
//! fetched again. Sizes are compared whenever a blob is opened; all bytes are, where something reads
//! them anyway, and where nothing could be made of them.

use std::collections::HashSet;

use base::{Descriptor, Digest, ErrorKind, Kinded, Scope};
use store::ContentStore;

use crate::error::Error;
use crate::manifest::{self, MAX_DOCUMENTS};

/// Has the store set a blob aside whose bytes turned out to be the wrong ones; the error to go on with.
pub(crate) async fn damaged(content: &dyn ContentStore, scope: &Scope, digest: &Digest) -> Error {
    if let Err(e) = content.audit(scope, digest).await {
        tracing::warn!(%digest, error = base::chain(&e), "damaged content cannot be set aside");
    }
    let text = format!("content {digest} is damaged: it was set aside and has to be fetched again");
    Error::refused(ErrorKind::DataLoss, text)
}

/// After a failure of `kind` to make something of these blobs: whether one of them is to blame. It is
/// set aside then, and the error to go on with says so. Reads every byte of them.
pub async fn blame(
    content: &dyn ContentStore,
    scope: &Scope,
    blobs: &[Descriptor],
    kind: ErrorKind,
) -> Option<Error> {
    let about_bytes = matches!(
        kind,
        ErrorKind::InvalidArgument
            | ErrorKind::FailedPrecondition
            | ErrorKind::OutOfRange
            | ErrorKind::DataLoss
            | ErrorKind::Internal
            | ErrorKind::Unknown
    );
    for blob in blobs.iter().filter(|_| about_bytes) {
        if let Ok(false) = content.audit(scope, &blob.digest).await {
            return Some(damaged(content, scope, &blob.digest).await);
        }
    }
    None
}

/// [`blame`] for whatever of an image is here; `error` itself when nothing of it is damaged.
pub(crate) async fn blame_image(
    content: &dyn ContentStore,
    scope: &Scope,
    image: &Descriptor,
    error: Error,
) -> Error {
    let (mut seen, mut pending, mut blobs) = (HashSet::new(), vec![image.clone()], Vec::new());
    while let Some(descriptor) = pending.pop() {
        if seen.len() > MAX_DOCUMENTS || !seen.insert(descriptor.digest.clone()) {
            continue;
        }
        match manifest::is_document(&descriptor) {
            // What is not here is not damaged.
            true => pending
                .extend(manifest::stored_children(content, scope, &descriptor).await.unwrap_or_default()),
            false => blobs.push(descriptor),
        }
    }
    blame(content, scope, &blobs, error.kind()).await.unwrap_or(error)
}
