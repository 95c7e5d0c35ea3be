//! containerd's gRPC services as a Go client and a Go daemon 2.3.4 spoke them: what the prost types make of it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod recorded;

use prost::Name;
use prost_types::Timestamp;
use protos::api::*;
use recorded::{prost, req, resp};

const BOX: &str = "lab.local/box:1";
const MANIFEST: &str = "sha256:6a24bbce59df161b57e73f88e7c02914363471dd84b363012b3c1771c249c6bb";
const SPEC: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";
const EPOCH: Timestamp = Timestamp { seconds: 1_600_000_000, nanos: 5 };
const SHIM_TIME: Timestamp = Timestamp { seconds: 1_700_000_000, nanos: 123_456_789 };
/// Go's zero time, 0001-01-01.
const NEVER: Timestamp = Timestamp { seconds: -62_135_596_800, nanos: 0 };

fn label(labels: &std::collections::BTreeMap<String, String>) -> Vec<(&str, &str)> {
    labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect()
}

#[test]
fn version() {
    let r: version::VersionResponse = resp("version.v1.Version/Version");
    assert_eq!((r.version.as_str(), r.revision.as_str()), ("v2.3.4", "db8809540e1a"));
}

#[test]
fn introspection() {
    let asked: introspection::PluginsRequest = req("Introspection/Plugins");
    assert_eq!(asked.filters, ["type==io.containerd.snapshotter.v1"]);
    let all = resp::<introspection::PluginsResponse>("Introspection/Plugins").plugins;
    assert!(all.iter().all(|p| p.r#type == "io.containerd.snapshotter.v1"));
    let overlay = all.iter().find(|p| p.id == "overlayfs").unwrap();
    assert!(overlay.init_err.is_none() && overlay.exports["root"].ends_with("snapshotter.v1.overlayfs"));
    assert_eq!(
        (overlay.platforms[0].os.as_str(), overlay.platforms[0].architecture.as_str()),
        ("linux", "amd64")
    );
    let skipped = all.iter().find(|p| p.id == "devmapper").unwrap().init_err.as_ref().unwrap();
    assert_eq!((skipped.code, skipped.message.as_str()), (2, "devmapper not configured: skip plugin"));

    let server: introspection::ServerResponse = resp("Introspection/Server");
    assert_eq!((server.uuid.len(), server.pidns), (36, 4_026_531_836));
    assert_eq!(server.deprecations[0].id, "io.containerd.deprecation/cgroup-v1");
    assert!(server.deprecations[0].last_occurrence.is_some());

    let asked: introspection::PluginInfoRequest = req("Introspection/PluginInfo");
    let request: types::RuntimeRequest = asked.options.unwrap().unpack().unwrap();
    assert_eq!(request.runtime_path, "io.containerd.rec.v2");
    let options: runc_options::Options = request.options.unwrap().unpack().unwrap();
    assert_eq!((options.binary_name.as_str(), options.no_pivot_root), ("runc", true));
    let answer: introspection::PluginInfoResponse = resp("Introspection/PluginInfo");
    assert_eq!(answer.plugin.unwrap().id, "task");
    let info: types::RuntimeInfo = answer.extra.unwrap().unpack().unwrap();
    assert_eq!(
        (info.name.as_str(), info.version.unwrap().version.as_str()),
        ("io.containerd.runc.v2", "v2.3.4")
    );
    assert!(info.features.unwrap().value.starts_with(b"{\"ociVersionMin\""));
}

#[test]
fn namespaces() {
    let create = req::<namespaces::CreateNamespaceRequest>("Namespaces/Create").namespace.unwrap();
    assert_eq!((create.name.as_str(), label(&create.labels)), ("rec", vec![("a", "1")]));
    let update: namespaces::UpdateNamespaceRequest = req("Namespaces/Update");
    assert_eq!(update.update_mask.unwrap().paths, ["labels.b"]);
    let all = resp::<namespaces::ListNamespacesResponse>("Namespaces/List").namespaces;
    assert_eq!(all.iter().map(|n| n.name.as_str()).collect::<Vec<_>>(), ["gone", "rec"]);
    assert_eq!(label(&all[1].labels), [("a", "1"), ("b", "2")]);
    assert_eq!(req::<namespaces::DeleteNamespaceRequest>("Namespaces/Delete").name, "gone");
}

#[test]
fn leases() {
    let made: Vec<leases::CreateResponse> = prost("Leases/Create", "resp");
    assert!(made.iter().all(|l| l.lease.as_ref().unwrap().labels.contains_key("containerd.io/gc.expire")));
    let resource = req::<leases::AddResourceRequest>("Leases/AddResource");
    assert_eq!((resource.id.as_str(), resource.resource.unwrap().id.as_str()), ("lease1", MANIFEST));
    let held = resp::<leases::ListResourcesResponse>("Leases/ListResources").resources;
    assert_eq!((held.len(), held[0].r#type.as_str()), (1, "content"));
    assert_eq!(
        req::<leases::DeleteResourceRequest>("Leases/DeleteResource").resource.unwrap().r#type,
        "content"
    );
    let listed = resp::<leases::ListResponse>("Leases/List").leases.remove(0);
    assert_eq!((listed.id.as_str(), label(&listed.labels)), ("lease1", vec![("containerd.io/gc.flat", "x")]));
    assert!(!req::<leases::DeleteRequest>("Leases/Delete").id.is_empty());
}

#[test]
fn content() {
    use content::WriteAction::{Commit, Stat, Write};
    let sent: Vec<content::WriteContentRequest> = prost("Content/Write", "req");
    assert_eq!(sent.iter().map(|r| r.action()).collect::<Vec<_>>(), [Stat, Write, Commit, Write]);
    assert_eq!(
        (sent[1].r#ref.as_str(), sent[1].total, sent[1].data.as_ref()),
        ("ref-1", 13, b"hello".as_ref())
    );
    assert_eq!(
        (sent[2].offset, sent[2].data.as_ref(), sent[2].labels["k"].as_str()),
        (5, b" from go".as_ref(), "v")
    );
    let got: Vec<content::WriteContentResponse> = prost("Content/Write", "resp");
    assert_eq!(
        got.iter().map(|r| (r.action(), r.offset)).collect::<Vec<_>>(),
        [(Stat, 0), (Write, 5), (Commit, 13), (Write, 1)]
    );
    assert_eq!(got[2].digest, sent[0].expected);

    let status = resp::<content::StatusResponse>("Content/Status").status.unwrap();
    assert_eq!((status.r#ref.as_str(), status.offset, status.total), ("ref-1", 5, 13));
    assert_eq!(resp::<content::ListStatusesResponse>("Content/ListStatuses").statuses, [status]);
    assert_eq!(req::<content::AbortRequest>("Content/Abort").r#ref, "ref-2");

    let info = resp::<content::InfoResponse>("Content/Info").info.unwrap();
    assert_eq!((info.digest.as_str(), info.size), (sent[0].expected.as_str(), 13));
    assert!(info.created_at.is_some() && info.created_at == info.updated_at);
    assert_eq!(req::<content::UpdateRequest>("Content/Update").update_mask.unwrap().paths, ["labels.k"]);
    let updated = resp::<content::UpdateResponse>("Content/Update").info.unwrap();
    assert_eq!(label(&updated.labels), [("containerd.io/gc.root", "now"), ("k", "w")]);
    assert_eq!(resp::<content::ListContentResponse>("Content/List").info, [updated]);
    let read: content::ReadContentRequest = req("Content/Read");
    assert_eq!((read.offset, read.size), (6, 4));
    assert_eq!(resp::<content::ReadContentResponse>("Content/Read").data.as_ref(), b"from");
    assert_eq!(req::<content::DeleteContentRequest>("Content/Delete").digest, info.digest);
}

#[test]
fn images() {
    let found = resp::<images::ListImagesResponse>("Images/List").images.remove(0);
    let target = found.target.unwrap();
    assert_eq!((found.name.as_str(), target.digest.as_str(), target.size), (BOX, MANIFEST, 400));
    assert_eq!(target.annotations["io.containerd.image.name"], BOX);
    let create: images::CreateImageRequest = req("Images/Create");
    assert_eq!(create.source_date_epoch, Some(EPOCH));
    let got = resp::<images::GetImageResponse>("Images/Get").image.unwrap();
    assert_eq!(
        (got.created_at, got.updated_at, label(&got.labels)),
        (Some(EPOCH), Some(EPOCH), vec![("x", "y")])
    );
    assert_eq!(req::<images::UpdateImageRequest>("Images/Update").update_mask.unwrap().paths, ["labels"]);
    let updated = resp::<images::UpdateImageResponse>("Images/Update").image.unwrap();
    assert_eq!((label(&updated.labels), updated.created_at), (vec![("x", "z")], Some(EPOCH)));
    let delete: images::DeleteImageRequest = req("Images/Delete");
    assert_eq!((delete.sync, delete.target.unwrap().digest.as_str()), (true, MANIFEST));
}

#[test]
fn snapshots() {
    let base = resp::<snapshots::StatSnapshotResponse>("Snapshots/Stat").info.unwrap();
    assert_eq!((base.kind(), base.parent.as_str()), (snapshots::Kind::Committed, ""));
    assert_eq!(base.labels["containerd.io/snapshot.ref"], base.name);
    let prepare: snapshots::PrepareSnapshotRequest = req("Snapshots/Prepare");
    assert_eq!(
        (prepare.snapshotter.as_str(), prepare.key.as_str(), &prepare.parent),
        ("overlayfs", "c1", &base.name)
    );
    let mounts = resp::<snapshots::PrepareSnapshotResponse>("Snapshots/Prepare").mounts;
    assert_eq!((mounts.len(), mounts[0].r#type.as_str()), (1, "overlay"));
    for (at, option) in ["workdir=", "upperdir=", "lowerdir=", "index=off"].iter().enumerate() {
        assert!(mounts[0].options[at].starts_with(option), "{:?}", mounts[0].options);
    }
    let view = resp::<snapshots::ViewSnapshotResponse>("Snapshots/View").mounts;
    assert_eq!(
        (view[0].r#type.as_str(), &view[0].options[..]),
        ("bind", &["ro".to_owned(), "rbind".to_owned()][..])
    );
    assert_eq!(resp::<snapshots::MountsResponse>("Snapshots/Mounts").mounts, view);
    let update: snapshots::UpdateSnapshotRequest = req("Snapshots/Update");
    assert_eq!(
        (update.info.unwrap().name.as_str(), &update.update_mask.unwrap().paths[..]),
        ("c1", &["labels.l".to_owned()][..])
    );
    let active = resp::<snapshots::UpdateSnapshotResponse>("Snapshots/Update").info.unwrap();
    assert_eq!((active.kind(), active.labels["l"].as_str()), (snapshots::Kind::Active, "m"));
    assert_eq!(resp::<snapshots::ListSnapshotsResponse>("Snapshots/List").info, [active]);
    let usage: snapshots::UsageResponse = resp("Snapshots/Usage");
    assert_eq!((usage.size, usage.inodes), (2_011_136, 9));
    let commit: snapshots::CommitSnapshotRequest = req("Snapshots/Commit");
    assert_eq!((commit.name.as_str(), commit.key.as_str(), commit.parent.as_str()), ("done", "a1", ""));
    assert_eq!(req::<snapshots::RemoveSnapshotRequest>("Snapshots/Remove").key, "done");
    assert_eq!(req::<snapshots::CleanupRequest>("Snapshots/Cleanup").snapshotter, "overlayfs");
}

#[test]
fn diff() {
    let apply: diff::ApplyRequest = req("Diff/Apply");
    let layer = apply.diff.unwrap();
    assert_eq!((apply.sync_fs, apply.mounts[0].options[0].as_str(), layer.size), (true, "rw", 1_987_584));
    assert_eq!(resp::<diff::ApplyResponse>("Diff/Apply").applied, Some(layer));
    let asked: diff::DiffRequest = req("Diff/Diff");
    assert_eq!((asked.left.len(), asked.right.len(), asked.r#ref.as_str()), (0, 1, "diff-ref"));
    assert_eq!(asked.source_date_epoch, Some(EPOCH));
    let made = resp::<diff::DiffResponse>("Diff/Diff").diff.unwrap();
    assert_eq!((made.media_type, made.size), (asked.media_type, 1_064_470));
}

#[test]
fn mounts() {
    let asked: mounts::ActivateRequest = req("Mounts/Activate");
    assert_eq!((asked.name.as_str(), asked.temporary), ("m1", false));
    assert_eq!(asked.mounts[1].source, "{{ mount 0 }}");
    let info = resp::<mounts::ActivateResponse>("Mounts/Activate").info.unwrap();
    assert_eq!(
        (info.active[0].mount.as_ref().unwrap().r#type.as_str(), info.system[0].r#type.as_str()),
        ("tmpfs", "bind")
    );
    assert_eq!(info.system[0].source, info.active[0].mount_point);
    let again = resp::<mounts::InfoResponse>("Mounts/Info").info.unwrap();
    assert_eq!((&again.system, &again.labels), (&info.system, &info.labels));
    assert_eq!(resp::<mounts::ListMessage>("Mounts/List").info, Some(again));
    assert_eq!(req::<mounts::UpdateRequest>("Mounts/Update").update_mask.unwrap().paths, ["labels"]);
    assert_eq!(req::<mounts::DeactivateRequest>("Mounts/Deactivate").name, "m1");
}

#[test]
fn containers() {
    let sent = req::<containers::CreateContainerRequest>("Containers/Create").container.unwrap();
    let runtime = sent.runtime.clone().unwrap();
    assert_eq!(runtime.name, "io.containerd.rec.v2");
    assert_eq!(runtime.options.unwrap().unpack::<runc_options::Options>().unwrap().binary_name, "runc");
    assert_eq!(sent.spec.as_ref().unwrap().type_url, SPEC);
    assert_eq!(
        (sent.image.as_str(), sent.snapshotter.as_str(), sent.snapshot_key.as_str()),
        (BOX, "overlayfs", "c1")
    );
    let got = resp::<containers::GetContainerResponse>("Containers/Get").container.unwrap();
    assert!(got.created_at.is_some() && got.created_at == got.updated_at);
    assert_eq!((&got.spec, &got.extensions), (&sent.spec, &sent.extensions));
    assert_eq!(got.extensions["ext.one"], Any { type_url: "x/one".into(), value: vec![1, 2, 3].into() });
    assert_eq!(
        resp::<containers::ListContainersResponse>("Containers/List").containers,
        std::slice::from_ref(&got)
    );
    assert_eq!(
        resp::<containers::ListContainerMessage>("Containers/ListStream").container,
        Some(got.clone())
    );
    assert_eq!(
        req::<containers::UpdateContainerRequest>("Containers/Update").update_mask.unwrap().paths,
        ["labels.app"]
    );
    let updated = resp::<containers::UpdateContainerResponse>("Containers/Update").container.unwrap();
    assert_eq!(label(&updated.labels), [("app", "two")]);
    assert!(updated.updated_at != got.updated_at && updated.created_at == got.created_at);
}

#[test]
fn tasks() {
    let create: tasks::CreateTaskRequest = req("Tasks/Create");
    assert_eq!((create.container_id.as_str(), create.rootfs.len(), create.task_api_version), ("c1", 1, 0));
    assert!(create.options.unwrap().is::<runc_options::Options>());
    let pid = resp::<tasks::CreateTaskResponse>("Tasks/Create").pid;
    let process = resp::<tasks::GetResponse>("Tasks/Get").process.unwrap();
    assert_eq!(
        (process.id.as_str(), process.pid, process.status()),
        ("c1", pid, types_task::Status::Running)
    );
    assert_eq!(process.exited_at, Some(NEVER));
    assert_eq!(resp::<tasks::ListTasksResponse>("Tasks/List").tasks, [process]);
    let exec: tasks::ExecProcessRequest = req("Tasks/Exec");
    assert_eq!((exec.exec_id.as_str(), exec.terminal), ("e1", false));
    let starts: Vec<tasks::StartRequest> = prost("Tasks/Start", "req");
    assert_eq!(starts.iter().map(|s| s.exec_id.as_str()).collect::<Vec<_>>(), ["", "e1"]);
    let waits: Vec<tasks::WaitResponse> = prost("Tasks/Wait", "resp");
    assert_eq!(waits.iter().map(|w| w.exit_status).collect::<Vec<_>>(), [7, 137]);
    let gone: tasks::DeleteResponse = resp("Tasks/DeleteProcess");
    assert_eq!((gone.id.as_str(), gone.exit_status, gone.exited_at), ("e1", 7, waits[0].exited_at));
    assert_eq!(resp::<tasks::ListPidsResponse>("Tasks/ListPids").processes[0].pid, pid);
    let metric = resp::<tasks::MetricsResponse>("Tasks/Metrics").metrics.remove(0);
    let metrics: cgroups_v1::Metrics = metric.data.unwrap().unpack().unwrap();
    assert_eq!((metric.id.as_str(), metrics.pids.unwrap().current), ("c1", 1));
    assert_eq!(metrics.memory.unwrap().usage.unwrap().usage, 598_016);
    let resize: tasks::ResizePtyRequest = req("Tasks/ResizePty");
    assert_eq!((resize.width, resize.height), (80, 24));
    assert!(req::<tasks::CloseIoRequest>("Tasks/CloseIO").stdin);
    assert_eq!(label(&req::<tasks::UpdateTaskRequest>("Tasks/Update").annotations), [("an", "no")]);
    let checkpoint = req::<tasks::CheckpointTaskRequest>("Tasks/Checkpoint").options.unwrap();
    assert!(checkpoint.unpack::<runc_options::CheckpointOptions>().unwrap().exit);
    let kill: tasks::KillRequest = req("Tasks/Kill");
    assert_eq!((kill.signal, kill.all, kill.exec_id.as_str()), (9, true, ""));
    let gone: tasks::DeleteResponse = resp("Tasks/Delete");
    assert_eq!((gone.pid, gone.exit_status, gone.id.as_str()), (pid, 137, ""));
}

#[test]
fn sandbox_store_and_controller() {
    let sent = req::<sandbox::StoreCreateRequest>("Store/Create").sandbox.unwrap();
    assert_eq!((sent.sandbox_id.as_str(), sent.sandboxer.as_str()), ("box1", "shim"));
    assert_eq!(sent.runtime.as_ref().unwrap().name, "io.containerd.recbox.v2");
    let got = resp::<sandbox::StoreGetResponse>("Store/Get").sandbox.unwrap();
    assert_eq!((&got.spec, &got.extensions, got.created_at.is_some()), (&sent.spec, &sent.extensions, true));
    assert_eq!(resp::<sandbox::StoreListResponse>("Store/List").list, [got]);
    assert_eq!(req::<sandbox::StoreUpdateRequest>("Store/Update").fields, ["labels"]);
    assert_eq!(
        label(&resp::<sandbox::StoreUpdateResponse>("Store/Update").sandbox.unwrap().labels),
        [("p", "r")]
    );

    let create: sandbox::ControllerCreateRequest = req("Controller/Create");
    assert_eq!((create.sandboxer.as_str(), create.netns_path.as_str()), ("shim", "/proc/1/ns/net"));
    assert_eq!((create.rootfs[0].r#type.as_str(), label(&create.annotations)), ("bind", vec![("aa", "bb")]));
    let start: sandbox::ControllerStartResponse = resp("Controller/Start");
    assert_eq!((start.sandbox_id.as_str(), start.created_at), ("box1", Some(SHIM_TIME)));
    let status: sandbox::ControllerStatusResponse = resp("Controller/Status");
    assert_eq!(
        (status.state.as_str(), status.pid, label(&status.info)),
        ("SANDBOX_READY", start.pid, vec![("hint", "none")])
    );
    assert_eq!(status.extra.unwrap().value.as_ref(), [1, 2]);
    assert_eq!(resp::<sandbox::ControllerMetricsResponse>("Controller/Metrics").metrics.unwrap().id, "box1");
    let update: sandbox::ControllerUpdateRequest = req("Controller/Update");
    assert_eq!((update.sandboxer.as_str(), &update.fields[..]), ("shim", &["labels".to_owned()][..]));
    assert_eq!(req::<sandbox::ControllerStopRequest>("Controller/Stop").timeout_secs, 5);
    let wait: sandbox::ControllerWaitResponse = resp("Controller/Wait");
    assert_eq!((wait.exit_status, wait.exited_at), (137, Some(SHIM_TIME)));
}

#[test]
fn events_of_every_kind() {
    let all: Vec<types::Envelope> = prost("events.v1.Events/Subscribe", "resp");
    let find = |topic: &str| {
        let found = all.iter().find(|e| e.topic == topic).unwrap_or_else(|| panic!("no {topic}"));
        assert!(found.timestamp.is_some() && !found.namespace.is_empty());
        found.event.clone().unwrap()
    };
    let created: events_types::ContainerCreate = find("/containers/create").unpack().unwrap();
    assert_eq!((created.id.as_str(), created.image.as_str()), ("c1", BOX));
    let updated: events_types::ContainerUpdate = find("/containers/update").unpack().unwrap();
    assert_eq!((updated.snapshot_key.as_str(), label(&updated.labels)), ("c1", vec![("app", "two")]));
    assert_eq!(find("/containers/delete").unpack::<events_types::ContainerDelete>().unwrap().id, "c1");
    assert_eq!(find("/content/create").unpack::<events_types::ContentCreate>().unwrap().size, 336);
    assert!(find("/content/delete").is::<events_types::ContentDelete>());
    assert_eq!(find("/images/create").unpack::<images::ImageCreate>().unwrap().name, BOX);
    assert_eq!(label(&find("/images/update").unpack::<images::ImageUpdate>().unwrap().labels), [("x", "z")]);
    assert_eq!(find("/images/delete").unpack::<images::ImageDelete>().unwrap().name, "lab.local/copy:1");
    assert_eq!(find("/namespaces/create").unpack::<events_types::NamespaceCreate>().unwrap().name, "rec");
    assert_eq!(
        find("/namespaces/update").unpack::<events_types::NamespaceUpdate>().unwrap().labels["b"],
        "2"
    );
    assert_eq!(find("/namespaces/delete").unpack::<events_types::NamespaceDelete>().unwrap().name, "gone");
    let prepared: events_types::SnapshotPrepare = find("/snapshot/prepare").unpack().unwrap();
    let committed: events_types::SnapshotCommit = find("/snapshot/commit").unpack().unwrap();
    assert_eq!((prepared.key.as_str(), prepared.snapshotter.as_str()), (committed.key.as_str(), "overlayfs"));
    assert_eq!(find("/snapshot/remove").unpack::<events_types::SnapshotRemove>().unwrap().key, "done");
    assert_eq!(find("/sandboxes/create").unpack::<events_types::SandboxCreate>().unwrap().sandbox_id, "box1");
    assert_eq!(find("/sandboxes/start").unpack::<events_types::SandboxStart>().unwrap().sandbox_id, "box1");
    let exit: events_types::SandboxExit = find("/sandboxes/exit").unpack().unwrap();
    assert_eq!((exit.exit_status, exit.exited_at), (137, Some(SHIM_TIME)));
    let exit: events_types::TaskExit = find("/tasks/exit").unpack().unwrap();
    assert_eq!((exit.container_id.as_str(), exit.id.as_str(), exit.exit_status), ("c1", "e1", 7));
    assert_eq!(find("/tasks/delete").unpack::<events_types::TaskDelete>().unwrap().exit_status, 137);
    assert_eq!(find("/tasks/oom").unpack::<events_types::TaskOom>().unwrap().container_id, "c9");
    assert_eq!(find("/tasks/exec-added").unpack::<events_types::TaskExecAdded>().unwrap().exec_id, "e1");
    assert_ne!(find("/tasks/exec-started").unpack::<events_types::TaskExecStarted>().unwrap().pid, 0);
    assert!(
        find("/tasks/paused").is::<events_types::TaskPaused>()
            && find("/tasks/resumed").is::<events_types::TaskResumed>()
    );
    assert_eq!(
        find("/tasks/create").unpack::<events_types::TaskCreate>().unwrap().pid,
        find("/tasks/start").unpack::<events_types::TaskStart>().unwrap().pid
    );

    assert_eq!(req::<events::SubscribeRequest>("events.v1.Events/Subscribe").filters[1], "namespace==other");
    assert_eq!(req::<events::PublishRequest>("events.v1.Events/Publish").topic, "/tasks/oom");
    let forwarded = req::<events::ForwardRequest>("events.v1.Events/Forward").envelope.unwrap();
    assert_eq!((forwarded.namespace.as_str(), forwarded.timestamp), ("other", Some(EPOCH)));
}

#[test]
fn transfer_and_its_streams() {
    let all: Vec<transfer::TransferRequest> = prost("Transfer/Transfer", "req");
    let source: types_transfer::ImageImportStream = all[0].source.as_ref().unwrap().unpack().unwrap();
    let store: types_transfer::ImageStore = all[0].destination.as_ref().unwrap().unpack().unwrap();
    assert!(source.stream.starts_with("import-"));
    let name = &store.extra_references[0];
    assert_eq!((name.name.as_str(), name.is_prefix, name.allow_overwrite), ("lab.local/box", true, true));
    let unpack = &store.unpacks[0];
    assert_eq!(
        (unpack.snapshotter.as_str(), unpack.platform.as_ref().unwrap().architecture.as_str()),
        ("overlayfs", "amd64")
    );
    assert!(all[0].options.as_ref().unwrap().progress_stream.starts_with("progress-"));
    let export: types_transfer::ImageExportStream = all[1].destination.as_ref().unwrap().unpack().unwrap();
    assert_eq!(export.media_type, "application/vnd.oci.image.index.v1+json");

    let frames: Vec<Any> = recorded::lines()
        .into_iter()
        .filter(|l| l.peer == "2.3.4" && l.method == "containerd.services.streaming.v1.Streaming/Stream")
        .map(|l| prost::Message::decode(l.bytes.as_slice()).unwrap())
        .collect();
    let first =
        |name: &str| frames.iter().find(|a| a.type_url == name).unwrap_or_else(|| panic!("no {name}"));
    let init: streaming::StreamInit = first(&streaming::StreamInit::full_name()).unpack().unwrap();
    assert!(init.id.starts_with("progress-"));
    let window: types_transfer::WindowUpdate =
        first(&types_transfer::WindowUpdate::full_name()).unpack().unwrap();
    assert_eq!(window.update, 65_536);
    let progress: types_transfer::Progress = first(&types_transfer::Progress::full_name()).unpack().unwrap();
    assert_eq!(progress.event, "Importing");
    assert!(first(&types_transfer::Data::full_name()).unpack::<types_transfer::Data>().is_ok());
}
