//! The namespace header: missing, malformed or too long, for every RPC that needs it.

use futures_util::future::BoxFuture;
use integration::rpc::{Rpc, case, newer_contract};
use protos::api::{
    containers as c, content as ct, diff, events, images as im, leases as l, sandbox as sb, snapshots as s,
    tasks as t, transfer,
};
use tonic::{Code, Status};

use crate::making::{LAYER, MANIFEST, all, any, descriptor, stat, unknown, write};

type Call = fn(Rpc) -> BoxFuture<'static, Result<(), Status>>;

macro_rules! unary {
    ($service:ident.$method:ident($request:expr)) => {
        |rpc| Box::pin(async move { rpc.$service().$method($request).await.map(drop) })
    };
}

macro_rules! stream {
    ($service:ident.$method:ident($request:expr)) => {
        |rpc| Box::pin(async move { all(rpc.$service().$method($request).await).await.map(drop) })
    };
}

fn container() -> Option<c::Container> {
    let runtime = Some(c::container::Runtime { name: "r".into(), options: None });
    Some(c::Container { id: "x".into(), runtime, spec: any("s", b"{}"), ..Default::default() })
}

fn image() -> Option<im::Image> {
    Some(im::Image {
        name: "x".into(),
        target: Some(descriptor(MANIFEST, unknown(), 1)),
        ..Default::default()
    })
}

fn content_info() -> Option<ct::Info> {
    Some(ct::Info { digest: unknown(), ..Default::default() })
}

fn sandbox() -> Option<protos::api::types::Sandbox> {
    let runtime = Some(protos::api::types::sandbox::Runtime { name: "r".into(), options: None });
    Some(protos::api::types::Sandbox { sandbox_id: "x".into(), runtime, ..Default::default() })
}

fn resource() -> Option<l::Resource> {
    Some(l::Resource { id: "r".into(), r#type: "ingests".into() })
}

fn x() -> String {
    "x".to_owned()
}

fn overlay() -> String {
    "overlayfs".to_owned()
}

const METADATA: &[(&str, Call)] = &[
    ("containers.Get", unary!(containers.get(c::GetContainerRequest { id: x() }))),
    ("containers.List", unary!(containers.list(c::ListContainersRequest::default()))),
    ("containers.ListStream", stream!(containers.list_stream(c::ListContainersRequest::default()))),
    ("containers.Create", unary!(containers.create(c::CreateContainerRequest { container: container() }))),
    (
        "containers.Update",
        unary!(containers.update(c::UpdateContainerRequest { container: container(), update_mask: None })),
    ),
    ("containers.Delete", unary!(containers.delete(c::DeleteContainerRequest { id: x() }))),
    ("content.Info", unary!(content.info(ct::InfoRequest { digest: unknown() }))),
    ("content.Update", unary!(content.update(ct::UpdateRequest { info: content_info(), update_mask: None }))),
    ("content.List", stream!(content.list(ct::ListContentRequest::default()))),
    ("content.Delete", unary!(content.delete(ct::DeleteContentRequest { digest: unknown() }))),
    ("content.Read", stream!(content.read(ct::ReadContentRequest { digest: unknown(), offset: 0, size: 0 }))),
    ("content.Status", unary!(content.status(ct::StatusRequest { r#ref: x() }))),
    ("content.ListStatuses", unary!(content.list_statuses(ct::ListStatusesRequest::default()))),
    ("content.Write", |rpc| Box::pin(async move { write(&rpc, vec![stat("x")]).await.map(drop) })),
    ("content.Abort", unary!(content.abort(ct::AbortRequest { r#ref: x() }))),
    ("images.Get", unary!(images.get(im::GetImageRequest { name: x() }))),
    ("images.List", unary!(images.list(im::ListImagesRequest::default()))),
    (
        "images.Create",
        unary!(images.create(im::CreateImageRequest { image: image(), source_date_epoch: None })),
    ),
    (
        "images.Update",
        unary!(images.update(im::UpdateImageRequest {
            image: image(),
            update_mask: None,
            source_date_epoch: None
        })),
    ),
    ("images.Delete", unary!(images.delete(im::DeleteImageRequest { name: x(), sync: false, target: None }))),
    ("leases.Create", unary!(leases.create(l::CreateRequest { id: x(), ..Default::default() }))),
    ("leases.Delete", unary!(leases.delete(l::DeleteRequest { id: x(), sync: false }))),
    ("leases.List", unary!(leases.list(l::ListRequest::default()))),
    (
        "leases.AddResource",
        unary!(leases.add_resource(l::AddResourceRequest { id: x(), resource: resource() })),
    ),
    (
        "leases.DeleteResource",
        unary!(leases.delete_resource(l::DeleteResourceRequest { id: x(), resource: resource() })),
    ),
    ("leases.ListResources", unary!(leases.list_resources(l::ListResourcesRequest { id: x() }))),
    ("sandbox.Store.Create", unary!(sandboxes.create(sb::StoreCreateRequest { sandbox: sandbox() }))),
    (
        "sandbox.Store.Update",
        unary!(sandboxes.update(sb::StoreUpdateRequest { sandbox: sandbox(), fields: vec![] })),
    ),
    ("sandbox.Store.Delete", unary!(sandboxes.delete(sb::StoreDeleteRequest { sandbox_id: x() }))),
    ("sandbox.Store.List", unary!(sandboxes.list(sb::StoreListRequest::default()))),
    ("sandbox.Store.Get", unary!(sandboxes.get(sb::StoreGetRequest { sandbox_id: x() }))),
];

const SNAPSHOTS_AND_MORE: &[(&str, Call)] = &[
    (
        "snapshots.Prepare",
        unary!(snapshots.prepare(s::PrepareSnapshotRequest {
            snapshotter: overlay(),
            key: x(),
            ..Default::default()
        })),
    ),
    (
        "snapshots.View",
        unary!(snapshots.view(s::ViewSnapshotRequest {
            snapshotter: overlay(),
            key: x(),
            ..Default::default()
        })),
    ),
    ("snapshots.Mounts", unary!(snapshots.mounts(s::MountsRequest { snapshotter: overlay(), key: x() }))),
    (
        "snapshots.Commit",
        unary!(snapshots.commit(s::CommitSnapshotRequest {
            snapshotter: overlay(),
            name: x(),
            key: x(),
            ..Default::default()
        })),
    ),
    (
        "snapshots.Remove",
        unary!(snapshots.remove(s::RemoveSnapshotRequest { snapshotter: overlay(), key: x() })),
    ),
    ("snapshots.Stat", unary!(snapshots.stat(s::StatSnapshotRequest { snapshotter: overlay(), key: x() }))),
    (
        "snapshots.Update",
        unary!(snapshots.update(s::UpdateSnapshotRequest {
            snapshotter: overlay(),
            info: Some(s::Info { name: x(), ..Default::default() }),
            update_mask: None
        })),
    ),
    (
        "snapshots.List",
        stream!(snapshots.list(s::ListSnapshotsRequest { snapshotter: overlay(), filters: vec![] })),
    ),
    ("snapshots.Usage", unary!(snapshots.usage(s::UsageRequest { snapshotter: overlay(), key: x() }))),
    (
        "diff.Apply",
        unary!(
            diff.apply(diff::ApplyRequest {
                diff: Some(descriptor(LAYER, unknown(), 1)),
                ..Default::default()
            })
        ),
    ),
    (
        "events.Publish",
        unary!(events.publish(events::PublishRequest { topic: "/x".into(), event: any("x", b"") })),
    ),
    ("transfer.Transfer", |rpc| {
        Box::pin(async move {
            let store = |name: &str| {
                Some(protos::api::Any::pack(&protos::api::types_transfer::ImageStore {
                    name: name.into(),
                    ..Default::default()
                }))
            };
            rpc.transfer()
                .transfer(transfer::TransferRequest {
                    source: store("x"),
                    destination: store("y"),
                    options: None,
                })
                .await
                .map(drop)
        })
    }),
    ("tasks.Create", unary!(tasks.create(t::CreateTaskRequest { container_id: x(), ..Default::default() }))),
    ("tasks.Start", unary!(tasks.start(t::StartRequest { container_id: x(), ..Default::default() }))),
    ("tasks.Delete", unary!(tasks.delete(t::DeleteTaskRequest { container_id: x() }))),
    (
        "tasks.DeleteProcess",
        unary!(tasks.delete_process(t::DeleteProcessRequest { container_id: x(), exec_id: x() })),
    ),
    ("tasks.Get", unary!(tasks.get(t::GetRequest { container_id: x(), ..Default::default() }))),
    ("tasks.List", unary!(tasks.list(t::ListTasksRequest::default()))),
    ("tasks.Kill", unary!(tasks.kill(t::KillRequest { container_id: x(), signal: 9, ..Default::default() }))),
    (
        "tasks.Exec",
        unary!(tasks.exec(t::ExecProcessRequest {
            container_id: x(),
            exec_id: x(),
            spec: any("x", b"{}"),
            ..Default::default()
        })),
    ),
    (
        "tasks.ResizePty",
        unary!(tasks.resize_pty(t::ResizePtyRequest { container_id: x(), ..Default::default() })),
    ),
    (
        "tasks.CloseIO",
        unary!(tasks.close_io(t::CloseIoRequest { container_id: x(), stdin: true, ..Default::default() })),
    ),
    ("tasks.Pause", unary!(tasks.pause(t::PauseTaskRequest { container_id: x() }))),
    ("tasks.Resume", unary!(tasks.resume(t::ResumeTaskRequest { container_id: x() }))),
    ("tasks.ListPids", unary!(tasks.list_pids(t::ListPidsRequest { container_id: x() }))),
    (
        "tasks.Checkpoint",
        unary!(tasks.checkpoint(t::CheckpointTaskRequest { container_id: x(), ..Default::default() })),
    ),
    ("tasks.Update", unary!(tasks.update(t::UpdateTaskRequest { container_id: x(), ..Default::default() }))),
    ("tasks.Metrics", unary!(tasks.metrics(t::MetricsRequest::default()))),
    ("tasks.Wait", unary!(tasks.wait(t::WaitRequest { container_id: x(), ..Default::default() }))),
];

#[test]
fn namespace_header() {
    newer_contract("headers", async |_| {
        let mut cases = Vec::new();
        for (name, call) in METADATA.iter().chain(SNAPSHOTS_AND_MORE) {
            let call = *call;
            let clumsy = matches!(*name, "snapshots.List" | "tasks.Metrics");
            for (how, namespace, code, words) in [
                ("without a namespace", None, Code::FailedPrecondition, "namespace is required"),
                (
                    "with an empty namespace",
                    Some(String::new()),
                    Code::FailedPrecondition,
                    "namespace is required",
                ),
                (
                    "in a malformed namespace",
                    Some("a/b".into()),
                    Code::InvalidArgument,
                    "identifier \"a/b\" must match ^[A-Za-z0-9]+",
                ),
                (
                    "in a namespace of 77 bytes",
                    Some("x".repeat(77)),
                    Code::InvalidArgument,
                    "greater than maximum length (76 characters)",
                ),
            ] {
                let wanted = if clumsy { Code::Unknown } else { code };
                let made = case(format!("{name} {how}"), wanted, words, move |rpc: Rpc| {
                    call(namespace.map_or_else(|| rpc.nowhere(), |n| rpc.within(&n)))
                });
                cases.push(if clumsy {
                    made.ours(code, words, "the original forgets to give the code of its error")
                } else {
                    made
                });
            }
        }
        Ok(cases)
    });
}
