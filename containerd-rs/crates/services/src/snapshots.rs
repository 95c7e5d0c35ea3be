//! `containerd.services.snapshots.v1.Snapshots`

use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::Stream;
use protos::api::events_types as ev;
use protos::api::snapshots::snapshots_server::Snapshots;
use protos::api::snapshots::*;
use snapshot::CommitOptions;
use tonic::{Request, Response, Status};

use crate::convert::{filters, mask, mounts_out, timestamp};
use crate::parts::Parts;
use crate::request::scope;
use crate::status::{invalid, status, to_the_end};

pub(crate) struct Service(pub(crate) Arc<Parts>);

type Result<T> = std::result::Result<Response<T>, Status>;

const BATCH: usize = 100;

fn info_out(info: snapshot::Info) -> Info {
    let kind = match info.kind {
        snapshot::Kind::View => Kind::View,
        snapshot::Kind::Active => Kind::Active,
        snapshot::Kind::Committed => Kind::Committed,
    };
    Info {
        name: info.name,
        parent: info.parent,
        kind: kind.into(),
        created_at: Some(timestamp(info.created_at)),
        updated_at: Some(timestamp(info.updated_at)),
        labels: info.labels,
    }
}

#[tonic::async_trait]
impl Snapshots for Service {
    async fn prepare(&self, request: Request<PrepareSnapshotRequest>) -> Result<PrepareSnapshotResponse> {
        let scope = scope(&request)?;
        let r = request.into_inner();
        let snapshots = self.0.snapshotter(&r.snapshotter)?;
        let parts = Arc::clone(&self.0);
        to_the_end(async move {
            let mounts = snapshots.prepare(&scope, &r.key, &r.parent, r.labels).await.map_err(status)?;
            let event = ev::SnapshotPrepare { key: r.key, parent: r.parent, snapshotter: r.snapshotter };
            parts.publish(&scope.namespace, "/snapshot/prepare", &event);
            Ok(Response::new(PrepareSnapshotResponse { mounts: mounts_out(mounts) }))
        })
        .await
    }

    async fn view(&self, request: Request<ViewSnapshotRequest>) -> Result<ViewSnapshotResponse> {
        let scope = scope(&request)?;
        let r = request.into_inner();
        let snapshots = self.0.snapshotter(&r.snapshotter)?;
        to_the_end(async move {
            let mounts = snapshots.view(&scope, &r.key, &r.parent, r.labels).await.map_err(status)?;
            Ok(Response::new(ViewSnapshotResponse { mounts: mounts_out(mounts) }))
        })
        .await
    }

    async fn mounts(&self, request: Request<MountsRequest>) -> Result<MountsResponse> {
        let scope = scope(&request)?;
        let r = request.get_ref();
        let mounts = self.0.snapshotter(&r.snapshotter)?.mounts(&scope, &r.key).await.map_err(status)?;
        Ok(Response::new(MountsResponse { mounts: mounts_out(mounts) }))
    }

    async fn commit(&self, request: Request<CommitSnapshotRequest>) -> Result<()> {
        let scope = scope(&request)?;
        let r = request.into_inner();
        let snapshots = self.0.snapshotter(&r.snapshotter)?;
        let parts = Arc::clone(&self.0);
        to_the_end(async move {
            let options = CommitOptions { labels: r.labels, parent: r.parent };
            snapshots.commit(&scope, &r.name, &r.key, options).await.map_err(status)?;
            let event = ev::SnapshotCommit { key: r.key, name: r.name, snapshotter: r.snapshotter };
            parts.publish(&scope.namespace, "/snapshot/commit", &event);
            Ok(Response::new(()))
        })
        .await
    }

    async fn remove(&self, request: Request<RemoveSnapshotRequest>) -> Result<()> {
        let scope = scope(&request)?;
        let r = request.into_inner();
        let snapshots = self.0.snapshotter(&r.snapshotter)?;
        let parts = Arc::clone(&self.0);
        to_the_end(async move {
            snapshots.remove(&scope, &r.key).await.map_err(status)?;
            let event = ev::SnapshotRemove { key: r.key, snapshotter: r.snapshotter };
            parts.publish(&scope.namespace, "/snapshot/remove", &event);
            Ok(Response::new(()))
        })
        .await
    }

    async fn stat(&self, request: Request<StatSnapshotRequest>) -> Result<StatSnapshotResponse> {
        let scope = scope(&request)?;
        let r = request.get_ref();
        let info = self.0.snapshotter(&r.snapshotter)?.stat(&scope, &r.key).await.map_err(status)?;
        Ok(Response::new(StatSnapshotResponse { info: Some(info_out(info)) }))
    }

    async fn update(&self, request: Request<UpdateSnapshotRequest>) -> Result<UpdateSnapshotResponse> {
        let scope = scope(&request)?;
        let UpdateSnapshotRequest { snapshotter, info, update_mask } = request.into_inner();
        let info = info.ok_or_else(|| invalid("info must be set"))?;
        let snapshots = self.0.snapshotter(&snapshotter)?;
        to_the_end(async move {
            let now = SystemTime::UNIX_EPOCH;
            // Only labels can change; the rest is filled in by the store.
            let wanted = snapshot::Info {
                kind: snapshot::Kind::Active,
                name: info.name,
                parent: info.parent,
                labels: info.labels,
                created_at: now,
                updated_at: now,
            };
            let updated = snapshots.update(&scope, wanted, &mask(update_mask)).await.map_err(status)?;
            Ok(Response::new(UpdateSnapshotResponse { info: Some(info_out(updated)) }))
        })
        .await
    }

    type ListStream = Pin<Box<dyn Stream<Item = std::result::Result<ListSnapshotsResponse, Status>> + Send>>;

    async fn list(&self, request: Request<ListSnapshotsRequest>) -> Result<Self::ListStream> {
        let scope = scope(&request)?;
        let r = request.get_ref();
        let filters = filters(&r.filters)?;
        let found = self.0.snapshotter(&r.snapshotter)?.walk(&scope, &filters).await.map_err(status)?;
        let mut all: Vec<Info> = found.into_iter().map(info_out).collect();
        let mut batches = Vec::new();
        while !all.is_empty() {
            let rest = all.split_off(all.len().min(BATCH));
            batches.push(Ok(ListSnapshotsResponse { info: std::mem::replace(&mut all, rest) }));
        }
        Ok(Response::new(Box::pin(futures_util::stream::iter(batches))))
    }

    async fn usage(&self, request: Request<UsageRequest>) -> Result<UsageResponse> {
        let scope = scope(&request)?;
        let r = request.get_ref();
        let usage = self.0.snapshotter(&r.snapshotter)?.usage(&scope, &r.key).await.map_err(status)?;
        Ok(Response::new(UsageResponse { size: usage.size, inodes: usage.inodes }))
    }

    async fn cleanup(&self, request: Request<CleanupRequest>) -> Result<()> {
        // Any namespace may ask: what is cleaned up belongs to none.
        scope(&request)?;
        let snapshots = self.0.snapshotter(&request.get_ref().snapshotter)?;
        to_the_end(async move {
            snapshots.cleanup().await.map_err(status)?;
            Ok(Response::new(()))
        })
        .await
    }
}
