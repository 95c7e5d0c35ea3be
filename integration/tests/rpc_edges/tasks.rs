//! The tasks service, on containers that run, have ended, or never had a task.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use integration::rpc::{Case, Rpc, case, contract};
use protos::api::containers::container::Runtime;
use protos::api::containers::{Container, CreateContainerRequest, DeleteContainerRequest};
use protos::api::tasks::*;
use protos::api::types::Mount;
use serde_json::json;
use tonic::{Code, Response, Status};

use crate::making::{any, descriptor, strings, unknown};

pub(crate) const SPEC: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";
pub(crate) const PROCESS: &str = "types.containerd.io/opencontainers/runtime-spec/1/Process";
const RUNC: &str = "io.containerd.runc.v2";
pub(crate) const NS: &str = "edges";

/// A root file system with busybox in it.
fn rootfs(dir: &Path) -> anyhow::Result<PathBuf> {
    let root = dir.join("rootfs");
    for sub in ["bin", "proc", "tmp"] {
        std::fs::create_dir_all(root.join(sub))?;
    }
    std::fs::copy(integration::program::installed("busybox"), root.join("bin/busybox"))?;
    Ok(root)
}

pub(crate) fn process(args: &[&str]) -> serde_json::Value {
    json!({ "user": { "uid": 0, "gid": 0 }, "args": args, "cwd": "/", "env": ["PATH=/bin"] })
}

fn spec(args: &[&str]) -> Vec<u8> {
    let spec = json!({
        "ociVersion": "1.0.2", "process": process(args), "root": { "path": "rootfs" }, "hostname": "edges",
        "mounts": [{ "destination": "/proc", "type": "proc", "source": "proc" }],
        "linux": { "namespaces": [{ "type": "pid" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" }] },
    });
    spec.to_string().into_bytes()
}

pub(crate) async fn container(
    rpc: &Rpc,
    id: &str,
    change: impl FnOnce(&mut Container),
) -> Result<(), Status> {
    let mut container = Container {
        id: id.to_owned(),
        runtime: Some(Runtime { name: RUNC.into(), options: None }),
        spec: any(SPEC, &spec(&["/bin/busybox", "sleep", "1000"])),
        ..Default::default()
    };
    change(&mut container);
    rpc.containers().create(CreateContainerRequest { container: Some(container) }).await?;
    Ok(())
}

fn create(rpc: &Rpc, id: &str) -> CreateTaskRequest {
    let source = rpc.dir().join("rootfs").display().to_string();
    let options = strings(&["rbind", "rw"]);
    let rootfs = vec![Mount { r#type: "bind".into(), source, target: String::new(), options }];
    CreateTaskRequest { container_id: id.to_owned(), rootfs, ..Default::default() }
}

fn start(id: &str, exec: &str) -> StartRequest {
    StartRequest { container_id: id.to_owned(), exec_id: exec.to_owned() }
}

/// `edges-run` runs, `edges-made` is created, `edges-ended` has ended, `edges-idle` has no task.
async fn set_up(rpc: &Rpc) -> anyhow::Result<()> {
    rootfs(rpc.dir())?;
    for id in ["edges-run", "edges-made", "edges-idle", "edges-t1", "edges-t2", "edges-t3", "edges-t4"] {
        container(rpc, id, |_| {}).await?;
    }
    container(rpc, "edges-ended", |c| c.spec = any(SPEC, &spec(&["/bin/busybox", "sh", "-c", "exit 7"])))
        .await?;
    container(rpc, "edges-no-shim", |c| {
        c.runtime = Some(Runtime { name: "io.containerd.nonsense.v1".into(), options: None })
    })
    .await?;
    container(rpc, "edges-odd-runtime", |c| {
        c.runtime = Some(Runtime { name: "nonsense".into(), options: None })
    })
    .await?;
    container(rpc, "edges-path-runtime", |c| {
        c.runtime = Some(Runtime { name: "/nonexistent/shim".into(), options: None })
    })
    .await?;
    container(rpc, "edges-bad-spec", |c| c.spec = any(SPEC, b"not json")).await?;
    container(rpc, "edges-no-program", |c| c.spec = any(SPEC, &spec(&["/bin/nonsense"]))).await?;
    for id in ["edges-run", "edges-made", "edges-ended"] {
        rpc.tasks().create(create(rpc, id)).await?;
    }
    for id in ["edges-run", "edges-ended"] {
        rpc.tasks().start(start(id, "")).await?;
    }
    let wait = WaitRequest { container_id: "edges-ended".into(), exec_id: String::new() };
    anyhow::ensure!(rpc.tasks().wait(wait).await?.into_inner().exit_status == 7, "exit status");
    Ok(())
}

async fn tear_down(rpc: Rpc) -> Result<(), Status> {
    for id in [
        "edges-run",
        "edges-made",
        "edges-ended",
        "edges-idle",
        "edges-t1",
        "edges-t2",
        "edges-t3",
        "edges-t4",
    ] {
        let kill = KillRequest { container_id: id.into(), signal: 9, all: true, ..Default::default() };
        if rpc.tasks().kill(kill).await.is_ok() {
            rpc.tasks().wait(WaitRequest { container_id: id.into(), exec_id: String::new() }).await?;
        }
        let _ = rpc.tasks().delete(DeleteTaskRequest { container_id: id.into() }).await;
        rpc.containers().delete(DeleteContainerRequest { id: id.into() }).await?;
    }
    Ok(())
}

/// Every verb that takes a container and perhaps an exec, on those.
pub(crate) async fn act(rpc: Rpc, verb: &'static str, id: &str, exec: &str) -> Result<String, Status> {
    let (container_id, exec_id) = (id.to_owned(), exec.to_owned());
    let mut tasks = rpc.within(NS).tasks();
    fn text<T: std::fmt::Debug>(answer: Response<T>) -> String {
        format!("{:?}", answer.into_inner())
    }
    Ok(match verb {
        "start" => text(tasks.start(start(id, exec)).await?),
        "delete" => text(tasks.delete(DeleteTaskRequest { container_id }).await?),
        "delete-process" => text(tasks.delete_process(DeleteProcessRequest { container_id, exec_id }).await?),
        "get" => text(tasks.get(GetRequest { container_id, exec_id }).await?),
        "kill" => text(tasks.kill(KillRequest { container_id, exec_id, signal: 15, all: false }).await?),
        "exec" => text(
            tasks
                .exec(ExecProcessRequest {
                    container_id,
                    exec_id,
                    spec: any(PROCESS, process(&["/bin/busybox", "true"]).to_string().as_bytes()),
                    ..Default::default()
                })
                .await?,
        ),
        "resize" => {
            text(tasks.resize_pty(ResizePtyRequest { container_id, exec_id, width: 80, height: 24 }).await?)
        }
        "close-io" => text(tasks.close_io(CloseIoRequest { container_id, exec_id, stdin: true }).await?),
        "pause" => text(tasks.pause(PauseTaskRequest { container_id }).await?),
        "resume" => text(tasks.resume(ResumeTaskRequest { container_id }).await?),
        "pids" => text(tasks.list_pids(ListPidsRequest { container_id }).await?),
        "checkpoint" => {
            text(tasks.checkpoint(CheckpointTaskRequest { container_id, ..Default::default() }).await?)
        }
        "update" => text(
            tasks
                .update(UpdateTaskRequest {
                    container_id,
                    resources: any("types.containerd.io/opencontainers/runtime-spec/1/LinuxResources", b"{}"),
                    annotations: BTreeMap::new(),
                })
                .await?,
        ),
        "wait" => text(tasks.wait(WaitRequest { container_id, exec_id }).await?),
        other => return Err(Status::internal(format!("no verb {other}"))),
    })
}

const VERBS: [&str; 14] = [
    "start",
    "delete",
    "delete-process",
    "get",
    "kill",
    "exec",
    "resize",
    "close-io",
    "pause",
    "resume",
    "pids",
    "checkpoint",
    "update",
    "wait",
];

fn on_what_is_not_there() -> Vec<Case> {
    let mut cases = Vec::new();
    for verb in VERBS {
        let exec = if matches!(verb, "exec" | "delete-process") { "e1" } else { "" };
        cases.push(
            case(
                format!("{verb} of a container that is not there"),
                Code::NotFound,
                "",
                move |rpc: Rpc| async move { act(rpc, verb, "nope", exec).await },
            )
            .older(),
        );
        cases.push(case(
            format!("{verb} of an empty container id"),
            Code::NotFound,
            "",
            move |rpc: Rpc| async move { act(rpc, verb, "", exec).await },
        ));
        cases.push(
            case(
                format!("{verb} of a container without a task"),
                Code::NotFound,
                "",
                move |rpc: Rpc| async move { act(rpc, verb, "edges-idle", exec).await },
            )
            .older(),
        );
        if matches!(verb, "start" | "delete-process" | "get" | "kill" | "resize" | "close-io" | "wait") {
            cases.push(case(
                format!("{verb} of an exec that is not there"),
                Code::NotFound,
                "",
                move |rpc: Rpc| async move { act(rpc, verb, "edges-run", "e9").await },
            ));
        }
    }
    cases
}

fn creating() -> Vec<Case> {
    let make = |id: &'static str, change: fn(&mut CreateTaskRequest)| {
        move |rpc: Rpc| async move {
            let mut request = create(&rpc, id);
            change(&mut request);
            rpc.within(NS).tasks().create(request).await
        }
    };
    vec![
        case(
            "create for a container that is not there",
            Code::NotFound,
            "container \"nope\" in namespace \"edges\": not found",
            make("nope", |_| {}),
        )
        .older(),
        case(
            "create for an empty container id",
            Code::NotFound,
            "container \"\" in namespace \"edges\": not found",
            make("", |_| {}),
        ),
        case(
            "create of a task that is there",
            Code::AlreadyExists,
            "task edges-run: already exists",
            make("edges-run", |_| {}),
        )
        .older(),
        case(
            "create with a runtime that is not there",
            Code::Unknown,
            "failed to start shim: failed to resolve runtime path: runtime \"io.containerd.nonsense.v1\" binary not installed \"containerd-shim-nonsense-v1\": file does not exist",
            make("edges-no-shim", |_| {}),
        ),
        case(
            "create with a runtime that is no name",
            Code::Unknown,
            "failed to start shim: failed to resolve runtime path: invalid runtime name nonsense, correct runtime name should be either format like `io.containerd.runc.v2` or a full path to the binary",
            make("edges-odd-runtime", |_| {}),
        ),
        case(
            "create with a runtime path that is not there",
            Code::Unknown,
            "failed to start shim: failed to resolve runtime path: invalid custom binary path: stat /nonexistent/shim: no such file or directory",
            make("edges-path-runtime", |_| {}),
        ),
        case("create with a spec that is no document", Code::Unknown, "", make("edges-bad-spec", |_| {})),
        case(
            "create with a program that is not there",
            Code::Unknown,
            "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec: \"/bin/nonsense\": stat /bin/nonsense: no such file or directory",
            make("edges-no-program", |_| {}),
        ),
        case(
            "create with a rootfs that is not there",
            Code::Unknown,
            "failed to create shim task: failed to mount rootfs component*/nonexistent/rootfs*o such file or directory",
            make("edges-idle", |r| r.rootfs[0].source = "/nonexistent/rootfs".into()),
        ),
        case(
            "create with a mount of a type that nobody knows",
            Code::Unknown,
            "failed to create shim task: failed to mount rootfs component*nonsense*o such device",
            make("edges-idle", |r| {
                r.rootfs[0].r#type = "nonsense".into();
                r.rootfs[0].options.clear();
            }),
        ),
        case(
            "create with a stdin that is not there",
            Code::Unknown,
            "",
            make("edges-t1", |r| r.stdin = "/nonexistent/stdin".into()),
        )
        .only_ours("the original waits for the file"),
        case(
            "create with a scheme for output that nobody knows",
            Code::Unknown,
            "failed to create shim task: *unknown STDIO scheme nonsense",
            make("edges-t2", |r| r.stdout = "nonsense:///x".into()),
        ),
        case(
            "create with options that nobody knows",
            Code::Unknown,
            "type with url nonsense.Options: not found",
            make("edges-idle", |r| r.options = any("nonsense.Options", b"\x01")),
        )
        .ours(
            Code::InvalidArgument,
            "unexpected runtime options",
            "the original loses the kind of its own error",
        ),
        case(
            "create with options that are broken",
            Code::Unknown,
            "",
            make("edges-idle", |r| r.options = any("containerd.runc.v1.Options", b"\xff\xff")),
        ),
        case(
            "create with a checkpoint of another media type",
            Code::Unknown,
            "unsupported checkpoint type \"text/plain\"",
            make("edges-idle", |r| r.checkpoint = Some(descriptor("text/plain", unknown(), 5))),
        ),
        case(
            "create with a checkpoint that is not there",
            Code::Unknown,
            "content digest sha256:*: not found",
            make("edges-idle", |r| {
                r.checkpoint = Some(descriptor(
                    "application/vnd.containerd.container.criu.checkpoint.criu.tar",
                    unknown(),
                    5,
                ));
            }),
        )
        .ours(Code::NotFound, "not found", "the original loses the kind of its own error"),
        case(
            "create with a checkpoint with a malformed digest",
            Code::Unknown,
            "content digest nonsense: not found",
            make("edges-idle", |r| {
                r.checkpoint = Some(descriptor(
                    "application/vnd.containerd.container.criu.checkpoint.criu.tar",
                    "nonsense",
                    5,
                ));
            }),
        )
        .ours(
            Code::InvalidArgument,
            "invalid checksum digest format",
            "a digest that is none is told at once, and by its own name",
        ),
        case(
            "create with a relative runtime path",
            Code::Unknown,
            "failed to start shim: failed to resolve runtime path: invalid runtime name relative/shim, correct runtime name should be either format like `io.containerd.runc.v2` or a full path to the binary",
            make("edges-t3", |r| r.runtime_path = "relative/shim".into()),
        ),
        case(
            "create with a runtime path of its own that is not there",
            Code::Unknown,
            "failed to start shim: failed to resolve runtime path: invalid custom binary path: stat /nonexistent/shim: no such file or directory",
            make("edges-t4", |r| r.runtime_path = "/nonexistent/shim".into()),
        ),
        case("create after all that", Code::Ok, "", make("edges-idle", |_| {})).older(),
    ]
}

#[test]
fn tasks() {
    contract("tasks", async |rpc| {
        set_up(&rpc.within(NS)).await?;
        let mut cases = on_what_is_not_there();
        cases.extend(creating());
        cases.extend(crate::task_states::cases());
        cases.push(case("and all ends well", Code::Ok, "", |rpc: Rpc| tear_down(rpc.within(NS))).older());
        Ok(cases)
    });
}
