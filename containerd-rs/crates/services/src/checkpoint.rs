//! Checkpoints of tasks: files of CRIU, either left in a directory of the client's or packed into the content store.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use base::{Digest, Namespace, Scope};
use prost::Message;
use protos::api::runc_options::{CheckpointOptions, Options};
use protos::api::tasks::CheckpointTaskRequest;
use protos::api::types::Descriptor;
use store::WriterOptions;
use tonic::Status;

use crate::convert::{any_in, descriptor_in};
use crate::parts::Parts;
use crate::status::{invalid, refuse, status};

const IMAGE: &str = "application/vnd.containerd.container.criu.checkpoint.criu.tar";
const CONFIG: &str = "application/vnd.containerd.container.checkpoint.config.v1+proto";

/// The directory that the options of a new task ask to be restored from.
pub(crate) fn restore_path(options: Option<&base::Any>) -> Option<PathBuf> {
    let options = options.filter(|o| o.is("containerd.runc.v1.Options"))?;
    let options = Options::decode(&options.value[..]).ok()?;
    (!options.criu_image_path.is_empty()).then(|| PathBuf::from(options.criu_image_path))
}

/// Checkpoint a task. With an image path in the options the files stay there and nothing is stored.
pub(crate) async fn take(
    parts: &Arc<Parts>,
    scope: &Scope,
    request: CheckpointTaskRequest,
) -> Result<Vec<Descriptor>, Status> {
    let container = parts.container(&scope.namespace, &request.container_id)?;
    let options = request.options.map(any_in);
    let given = match &options {
        Some(any) if any.is("containerd.runc.v1.CheckpointOptions") => {
            let parsed = CheckpointOptions::decode(&any.value[..]);
            parsed.map_err(|e| invalid(format!("checkpoint options: {}", base::chain(&e))))?.image_path
        }
        _ => String::new(),
    };
    let namespace = &scope.namespace;
    if !given.is_empty() {
        let dir = Path::new(&given);
        parts
            .runtime
            .checkpoint(namespace, &request.container_id, dir, options.as_ref())
            .await
            .map_err(status)?;
        return Ok(Vec::new());
    }
    let dir = temporary("ctrd-checkpoint")?;
    parts
        .runtime
        .checkpoint(namespace, &request.container_id, dir.path(), options.as_ref())
        .await
        .map_err(status)?;
    let packed = pack(parts, scope, dir.path().to_path_buf()).await?;
    let spec = container.spec.unwrap_or_default();
    let spec = protos::api::Any { type_url: spec.type_url, value: spec.value }.encode_to_vec();
    let reference = format!("checkpoint-config-{}", dir.path().display());
    let written = write(parts, scope, &reference, vec![spec.into()]).await?;
    Ok(vec![packed, descriptor(CONFIG, written)])
}

/// Checkpoints that were unpacked for tasks which were not started yet: a shim reads them when its task is started. Clones are the
/// same.
#[derive(Clone, Default)]
pub(crate) struct Restores(Arc<Mutex<HashMap<(String, String), tempfile::TempDir>>>);

impl Restores {
    /// Keeps the files of a task until [`Restores::forget`].
    pub(crate) fn keep(&self, namespace: &Namespace, id: &str, dir: tempfile::TempDir) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert((namespace.to_string(), id.to_owned()), dir);
    }

    /// Removes them: the task was started, or deleted.
    pub(crate) fn forget(&self, namespace: &Namespace, id: &str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = all.remove(&(namespace.to_string(), id.to_owned()));
        drop(all);
        drop(dir);
    }
}

fn temporary(prefix: &str) -> Result<tempfile::TempDir, Status> {
    tempfile::Builder::new()
        .prefix(prefix)
        .tempdir()
        .map_err(|e| refuse(base::ErrorKind::Unavailable, format!("make a temporary directory: {e}")))
}

fn descriptor(media_type: &str, (digest, size): (Digest, u64)) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        digest: digest.to_string(),
        size: i64::try_from(size).unwrap_or(i64::MAX),
        annotations: Default::default(),
    }
}

/// The directory as a tar in the content store, streamed in chunks.
async fn pack(parts: &Arc<Parts>, scope: &Scope, dir: PathBuf) -> Result<Descriptor, Status> {
    let (send, mut chunks) = tokio::sync::mpsc::channel::<bytes::Bytes>(4);
    let reference = format!("checkpoint-{}", dir.display());
    let packing = tokio::task::spawn_blocking(move || {
        let mut tar = tar::Builder::new(std::io::BufWriter::with_capacity(1 << 20, Chunks(send)));
        tar.follow_symlinks(false);
        tar.append_dir_all(".", &dir)?;
        tar.into_inner()?.flush()
    });
    let options = WriterOptions { reference, expected: None, total: 0 };
    let mut writer = parts.content.writer(scope, options).await.map_err(status)?;
    while let Some(chunk) = chunks.recv().await {
        writer.write(&chunk).await.map_err(status)?;
    }
    let packed = packing.await.map_err(|e| Status::internal(base::chain(&e)))?;
    packed.map_err(|e| refuse(base::ErrorKind::Unknown, format!("pack the checkpoint: {e}")))?;
    Ok(descriptor(IMAGE, commit(writer).await?))
}

struct Chunks(tokio::sync::mpsc::Sender<bytes::Bytes>);

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let chunk = bytes::Bytes::copy_from_slice(bytes);
        self.0.blocking_send(chunk).map_err(|_| std::io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

async fn write(
    parts: &Arc<Parts>,
    scope: &Scope,
    reference: &str,
    chunks: Vec<bytes::Bytes>,
) -> Result<(Digest, u64), Status> {
    let options = WriterOptions { reference: reference.to_owned(), expected: None, total: 0 };
    let mut writer = parts.content.writer(scope, options).await.map_err(status)?;
    for chunk in chunks {
        writer.write(&chunk).await.map_err(status)?;
    }
    commit(writer).await
}

async fn commit(mut writer: Box<dyn store::ContentWriter>) -> Result<(Digest, u64), Status> {
    let (digest, size) = (writer.digest(), writer.offset());
    match writer.commit(0, None, Default::default()).await {
        Err(error) if !error.is_already_exists() => Err(status(error)),
        _ => Ok((digest, size)),
    }
}

/// A checkpoint from the content store as files in a temporary directory; they go when the guard is dropped ([`Restores`] keeps it).
pub(crate) async fn unpack(
    parts: &Arc<Parts>,
    scope: &Scope,
    checkpoint: Descriptor,
) -> Result<tempfile::TempDir, Status> {
    if checkpoint.media_type != IMAGE {
        return Err(refuse(
            base::ErrorKind::Unknown,
            format!("unsupported checkpoint type {:?}", checkpoint.media_type),
        ));
    }
    // Its bytes may come from anywhere, so they are applied as a layer's are: by a worker that sees this directory only.
    let mut archive = descriptor_in(checkpoint)?;
    archive.media_type = base::oci::media_type::OCI_LAYER.to_owned();
    let dir = temporary("ctrd-restore")?;
    let target = base::Mount {
        fstype: "bind".to_owned(),
        source: dir.path().display().to_string(),
        options: vec!["rbind".to_owned(), "rw".to_owned()],
        ..Default::default()
    };
    let differ =
        parts.differs.first().ok_or_else(|| refuse(base::ErrorKind::Unimplemented, "no differ is loaded"))?;
    differ.apply(scope, &archive, &[target], snapshot::ApplyOptions::default()).await.map_err(status)?;
    Ok(dir)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn files_stay_until_their_task_is_started_or_deleted() {
        let (restores, namespace) = (Restores::default(), Namespace::new("n").unwrap());
        let dir = temporary("restores-test").unwrap();
        let path = dir.path().to_path_buf();
        restores.keep(&namespace, "c", dir);
        restores.clone().forget(&namespace, "another");
        restores.forget(&Namespace::new("m").unwrap(), "c");
        assert!(path.exists());
        restores.clone().forget(&namespace, "c");
        assert!(!path.exists());
    }
}
