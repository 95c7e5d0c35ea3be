//! What tasks answer in each state: running, paused, created, ended, with execs.

use integration::rpc::{Case, Rpc, case};
use protos::api::containers::DeleteContainerRequest;
use protos::api::tasks::*;
use tonic::Code;

use crate::making::{any, strings};
use crate::tasks::{NS, PROCESS, act, container, process};

pub(crate) fn cases() -> Vec<Case> {
    let on = |verb: &'static str, id: &'static str, exec: &'static str| {
        move |rpc: Rpc| async move { act(rpc, verb, id, exec).await }
    };
    let kill = |signal: u32, all: bool| {
        let r = KillRequest { container_id: "edges-run".into(), signal, all, ..Default::default() };
        move |rpc: Rpc| async move { rpc.within(NS).tasks().kill(r).await }
    };
    let exec = |change: fn(&mut ExecProcessRequest)| {
        let spec = any(PROCESS, process(&["/bin/busybox", "true"]).to_string().as_bytes());
        let mut r = ExecProcessRequest {
            container_id: "edges-run".into(),
            exec_id: "e1".into(),
            spec,
            ..Default::default()
        };
        change(&mut r);
        move |rpc: Rpc| async move { rpc.within(NS).tasks().exec(r).await }
    };
    let update = |resources: Option<protos::api::Any>| {
        let r = UpdateTaskRequest { container_id: "edges-run".into(), resources, ..Default::default() };
        move |rpc: Rpc| async move { rpc.within(NS).tasks().update(r).await }
    };
    let metrics = |filters: &'static [&'static str]| {
        move |rpc: Rpc| async move {
            let found = rpc
                .within(NS)
                .tasks()
                .metrics(MetricsRequest { filters: strings(filters) })
                .await?
                .into_inner()
                .metrics;
            let mut ids: Vec<String> = found.into_iter().map(|m| m.id).collect();
            ids.sort();
            Ok(ids)
        }
    };
    let resources = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";
    vec![
        case(
            "start of what runs",
            Code::Unknown,
            "cannot start a running process",
            on("start", "edges-run", ""),
        ),
        case(
            "start of what has ended",
            Code::Unknown,
            "cannot start a stopped process",
            on("start", "edges-ended", ""),
        ),
        case(
            "delete of what runs",
            Code::Unknown,
            "failed to delete task: cannot delete a running process",
            on("delete", "edges-run", ""),
        ),
        case(
            "delete of a task as a process",
            Code::Unknown,
            "cannot delete a running process",
            on("delete-process", "edges-run", ""),
        ),
        case(
            "kill of what has ended",
            Code::NotFound,
            "process already finished: not found",
            on("kill", "edges-ended", ""),
        )
        .older(),
        case(
            "kill with a signal that nobody knows",
            Code::Unknown,
            "unknown error after kill: *nvalid argument",
            kill(99, false),
        ),
        case("kill with signal 0", Code::Ok, "", kill(0, false)),
        case(
            "pause of what has ended",
            Code::Unknown,
            "cannot pause a stopped container",
            on("pause", "edges-ended", ""),
        ),
        case(
            "pause of what was not started",
            Code::Unknown,
            "cannot pause task in created state",
            on("pause", "edges-made", ""),
        ),
        case(
            "resume of what was not paused",
            Code::Unknown,
            "cannot resume a running process",
            on("resume", "edges-run", ""),
        ),
        case("pause", Code::Ok, "", on("pause", "edges-run", "")).older(),
        case("pause again", Code::Unknown, "cannot pause a paused container", on("pause", "edges-run", "")),
        case(
            "exec into what is paused",
            Code::Unknown,
            "cannot exec in a paused state",
            on("exec", "edges-run", "e5"),
        ),
        case("resume", Code::Ok, "", on("resume", "edges-run", "")).older(),
        case("resize without a terminal", Code::Ok, "", on("resize", "edges-run", "")),
        case("close of an input that is not there", Code::Ok, "", on("close-io", "edges-run", "")),
        case(
            "exec into what has ended",
            Code::Unknown,
            "cannot exec in a stopped state",
            on("exec", "edges-ended", "e1"),
        ),
        case("exec into what was not started", Code::Ok, "", on("exec", "edges-made", "e1")),
        case(
            "exec without an id",
            Code::InvalidArgument,
            "exec id cannot be empty",
            exec(|r| r.exec_id.clear()),
        )
        .older(),
        case(
            "exec with a malformed id",
            Code::InvalidArgument,
            "invalid exec id a/b: identifier \"a/b\" must match ^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$: invalid argument",
            exec(|r| r.exec_id = "a/b".into()),
        ),
        case(
            "exec with an id that is too long",
            Code::InvalidArgument,
            "invalid exec id *: identifier \"*\" greater than maximum length (76 characters): invalid argument",
            exec(|r| r.exec_id = "x".repeat(77)),
        ),
        case("exec without a spec", Code::InvalidArgument, "", exec(|r| r.spec = None))
            .only_ours("the original's shim dies of it"),
        case(
            "exec with a spec that is no document",
            Code::Unknown,
            "invalid character 'o' in literal null (expecting 'u')",
            exec(|r| r.spec = any(PROCESS, b"not json")),
        )
        .ours(
            Code::InvalidArgument,
            "failed to read process spec",
            "the original loses the kind of its own error",
        ),
        case(
            "exec with a program that is not there",
            Code::Ok,
            "",
            exec(|r| {
                r.exec_id = "e3".into();
                r.spec = any(PROCESS, process(&["/bin/nonsense"]).to_string().as_bytes());
            }),
        ),
        case(
            "start of a program that is not there",
            Code::Unknown,
            "OCI runtime exec failed: exec failed: unable to start container process: exec: \"/bin/nonsense\": stat /bin/nonsense: no such file or directory",
            on("start", "edges-run", "e3"),
        ),
        case("exec", Code::Ok, "", exec(|_| {})).older(),
        case("exec with an id that is there", Code::AlreadyExists, "id e1: already exists", exec(|_| {}))
            .older(),
        case(
            "delete of a task with an exec that was not started",
            Code::Unknown,
            "failed to delete task: cannot delete a running process",
            on("delete", "edges-run", ""),
        ),
        case("start of the exec", Code::Ok, "pid", on("start", "edges-run", "e1")).older(),
        case("wait for the exec", Code::Ok, "exit_status: 0", on("wait", "edges-run", "e1")).older(),
        case(
            "start of an exec that has ended",
            Code::Unknown,
            "cannot start a stopped process",
            on("start", "edges-run", "e1"),
        ),
        case(
            "delete of the exec",
            Code::Ok,
            "id: *e1*exit_status: 0",
            on("delete-process", "edges-run", "e1"),
        )
        .older(),
        case(
            "delete of the exec again",
            Code::NotFound,
            "process does not exist e1: not found",
            on("delete-process", "edges-run", "e1"),
        )
        .older(),
        case(
            "get of what has ended",
            Code::Ok,
            "status: Stopped*exit_status: 7",
            on("get", "edges-ended", ""),
        )
        .older(),
        case("wait for what has ended", Code::Ok, "exit_status: 7", on("wait", "edges-ended", "")).older(),
        case("pids of what has ended", Code::Ok, "", on("pids", "edges-ended", "")),
        case(
            "checkpoint of what has ended",
            Code::Unknown,
            "cannot checkpoint a stopped container",
            on("checkpoint", "edges-ended", ""),
        ),
        case("update without resources", Code::InvalidArgument, "failed to read resources", update(None))
            .only_ours("the original's shim dies of it"),
        case("update with resources that nobody knows", Code::Ok, "", update(any("nonsense", b"{}"))),
        case(
            "update with resources that are no document",
            Code::Unknown,
            "",
            update(any(resources, b"not json")),
        )
        .ours(
            Code::InvalidArgument,
            "failed to read resources",
            "the original loses the kind of its own error",
        ),
        case(
            "update with resources that cannot be",
            Code::Unknown,
            "unable to set memory limit to 1",
            update(any(resources, br#"{"memory":{"limit":1}}"#)),
        ),
        case("update", Code::Ok, "", update(any(resources, br#"{"pids":{"limit":100}}"#))),
        case("metrics by id", Code::Ok, "[\"edges-run\"]", metrics(&["id==edges-run"])),
        case("metrics by namespace", Code::Ok, "edges-run", metrics(&["namespace==edges"])),
        case("metrics of another namespace", Code::Ok, "[]", metrics(&["namespace==other"])),
        case(
            "metrics with a bad filter",
            Code::Unknown,
            "filters: parse error: [id >|=|< x]: unsupported operator \"=\": invalid argument",
            metrics(&["id=x"]),
        )
        .ours(
            Code::InvalidArgument,
            "unsupported operator",
            "the original loses the kind of its own error",
        ),
        case(
            "list ignores its filter",
            Code::Ok,
            "edges-ended*edges-idle*edges-made*edges-run",
            |rpc: Rpc| async move {
                let found = rpc
                    .within(NS)
                    .tasks()
                    .list(ListTasksRequest { filter: "id=x".into() })
                    .await?
                    .into_inner()
                    .tasks;
                let mut ids: Vec<String> = found.into_iter().map(|p| p.id).collect();
                ids.sort();
                Ok(ids)
            },
        )
        .older(),
        case("list in another namespace", Code::Ok, "tasks: []", |rpc: Rpc| async move {
            rpc.within("other").tasks().list(ListTasksRequest::default()).await
        })
        .older(),
        case("delete of what has ended", Code::Ok, "exit_status: 7", on("delete", "edges-ended", "")).older(),
        case(
            "delete of it again",
            Code::NotFound,
            "task edges-ended not found",
            on("delete", "edges-ended", ""),
        )
        .older(),
        case("delete of a container with a task", Code::Ok, "", |rpc: Rpc| async move {
            let rpc = rpc.within(NS);
            container(&rpc, "edges-temp", |_| {}).await?;
            rpc.containers().delete(DeleteContainerRequest { id: "edges-temp".into() }).await
        }),
    ]
}
