//! Unpacking an image from the client: each layer applied to a snapshot of the ones below it, and committed under its chain id.

use std::collections::BTreeMap;

use base::oci::chain_ids;
use base::{Digest, labels};
use protos::api::content::{Info, UpdateRequest};
use protos::api::diff::ApplyRequest;
use protos::api::snapshots::{
    CommitSnapshotRequest, PrepareSnapshotRequest, RemoveSnapshotRequest, StatSnapshotRequest,
};
use protos::api::types::Mount;

use super::image::{Resolved, wire};
use super::{Client, lease};
use crate::error::{Answered, Error, Result};

/// Makes sure that every layer is in the snapshotter. `client` should hold a lease. Layers that are there are left alone.
pub async fn unpack(client: &Client, image: &Resolved, snapshotter: &str, sync_fs: bool) -> Result<()> {
    let diff_ids = &image.config.rootfs.diff_ids;
    if diff_ids.len() != image.manifest.layers.len() {
        return Err(Error::invalid(format!(
            "image config {} names {} layers, its manifest {}",
            image.config_digest,
            diff_ids.len(),
            image.manifest.layers.len()
        )));
    }
    let chain = chain_ids(diff_ids);
    let mut parent = String::new();
    for (at, name) in chain.iter().enumerate() {
        let layer =
            Layer { snapshotter, name: name.as_str(), parent: &parent, diff_id: &diff_ids[at], sync_fs };
        if !layer.is_there(client).await? {
            layer.apply(client, &image.manifest.layers[at]).await?;
        }
        parent = name.to_string();
    }
    if parent.is_empty() { Ok(()) } else { keep(client, image, snapshotter, &parent).await }
}

struct Layer<'a> {
    snapshotter: &'a str,
    name: &'a str,
    parent: &'a str,
    diff_id: &'a Digest,
    sync_fs: bool,
}

impl Layer<'_> {
    async fn is_there(&self, client: &Client) -> Result<bool> {
        let request = StatSnapshotRequest { snapshotter: self.snapshotter.into(), key: self.name.into() };
        match client.snapshots().stat(request).await.or_say(format!("cannot look for snapshot {}", self.name))
        {
            Ok(_) => Ok(true),
            Err(e) if e.is_not_found() => Ok(false),
            Err(e) => Err(e),
        }
    }

    async fn apply(&self, client: &Client, blob: &base::Descriptor) -> Result<()> {
        let key = format!("{} {}", lease::unique("extract-"), self.name);
        let Some(mounts) = self.prepare(client, &key).await? else { return Ok(()) };
        let done = self.fill(client, blob, &key, mounts).await;
        if done.is_err() {
            let request = RemoveSnapshotRequest { snapshotter: self.snapshotter.into(), key };
            // the failure is what counts; what stays is collected when the lease ends
            let _removed = client.snapshots().remove(request).await;
        }
        done
    }

    /// `None`: the snapshotter had the layer under a reference of its own.
    async fn prepare(&self, client: &Client, key: &str) -> Result<Option<Vec<Mount>>> {
        let request = PrepareSnapshotRequest {
            snapshotter: self.snapshotter.into(),
            key: key.into(),
            parent: self.parent.into(),
            labels: [(labels::snapshot::REF.to_owned(), self.name.to_owned())].into(),
        };
        match client.snapshots().prepare(request).await.or_say(format!("cannot prepare layer {}", self.name))
        {
            Ok(answer) => Ok(Some(answer.mounts)),
            Err(e) if e.is_already_exists() => Ok(None),
            Err(e) => Err(e),
        }
    }

    async fn fill(
        &self,
        client: &Client,
        blob: &base::Descriptor,
        key: &str,
        mounts: Vec<Mount>,
    ) -> Result<()> {
        let what = format!("cannot unpack layer {}", blob.digest);
        let request =
            ApplyRequest { diff: Some(wire(blob)), mounts, payloads: BTreeMap::new(), sync_fs: self.sync_fs };
        let applied = client.diff().apply(request).await.or_say(&what)?.applied.unwrap_or_default();
        if applied.digest != self.diff_id.as_str() {
            let (got, want) = (applied.digest, self.diff_id);
            return Err(Error::invalid(format!("{what}: its content is {got} where the config has {want}")));
        }
        let request = CommitSnapshotRequest {
            snapshotter: self.snapshotter.into(),
            name: self.name.into(),
            key: key.into(),
            labels: BTreeMap::new(),
            parent: String::new(),
        };
        match client.snapshots().commit(request).await.or_say(what) {
            Err(e) if !e.is_already_exists() => Err(e),
            _ => Ok(()),
        }
    }
}

/// Ties the top snapshot to the image's config, so that it lives as long as the image.
async fn keep(client: &Client, image: &Resolved, snapshotter: &str, top: &str) -> Result<()> {
    let label = format!("{}{snapshotter}", labels::gc::REF_SNAPSHOT);
    let info = Info {
        digest: image.config_digest.to_string(),
        labels: [(label.clone(), top.to_owned())].into(),
        ..Info::default()
    };
    let update_mask = Some(prost_types::FieldMask { paths: vec![format!("labels.{label}")] });
    let request = UpdateRequest { info: Some(info), update_mask };
    client.content().update(request).await.or_say(format!("cannot label content {}", image.config_digest))?;
    Ok(())
}
