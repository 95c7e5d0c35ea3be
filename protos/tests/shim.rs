//! The shim protocol as Go daemons 1.6.20 (task v2) and 2.3.4 (task v3, sandbox) and their shims spoke it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod recorded;

use protobuf::Message;
use protos::any::UnpackError;
use protos::shim::any::{is, pack, unpack};
use protos::shim::{
    Any, Timestamp, bootstrap, cgroups_v1, events, events_service, options, sandbox, streaming, task_v2,
    task_v3, types,
};

const NEW: &str = "2.3.4";
const OLD: &str = "1.6.20";

/// Go's zero time, 0001-01-01: what a Go shim sends as exit time of a process that runs.
const NEVER: i64 = -62_135_596_800;

fn time(t: &protobuf::MessageField<Timestamp>) -> (i64, i32) {
    let t = t.as_ref().expect("a time");
    (t.seconds, t.nanos)
}

#[test]
fn create_v3() {
    let r = recorded::ttrpc::<task_v3::CreateTaskRequest>(NEW, "task.v3.Task/Create", "req").remove(0);
    assert_eq!(r.id, "c1");
    assert!(r.bundle.ends_with("/io.containerd.runtime.v2.task/rec/c1"), "{}", r.bundle);
    assert_eq!(
        (r.rootfs.len(), r.rootfs[0].type_.as_str(), r.rootfs[0].source.as_str()),
        (1, "overlay", "overlay")
    );
    assert_eq!(r.rootfs[0].options.len(), 4);
    assert!(!r.terminal && r.stdin.is_empty() && r.checkpoint.is_empty());
    let options: options::Options = unpack(&r.options).unwrap();
    assert_eq!(options.binary_name, "runc");
    let pid =
        recorded::ttrpc::<task_v3::CreateTaskResponse>(NEW, "task.v3.Task/Create", "resp").remove(0).pid;
    let connect = recorded::ttrpc::<task_v3::ConnectResponse>(NEW, "task.v3.Task/Connect", "resp").remove(0);
    assert_eq!(connect.task_pid, pid);
    assert_ne!(connect.shim_pid, 0);
}

#[test]
fn states_of_task_and_exec_v3() {
    use types::Status::{CREATED, RUNNING, STOPPED};
    let all = recorded::ttrpc::<task_v3::StateResponse>(NEW, "task.v3.Task/State", "resp");
    let seen: Vec<_> = all
        .iter()
        .map(|s| (s.id.as_str(), s.status.enum_value().unwrap(), s.exit_status, s.exited_at.seconds))
        .collect();
    assert_eq!(
        seen,
        [("c1", RUNNING, 0, NEVER), ("e1", CREATED, 0, NEVER), ("e1", STOPPED, 7, 1_795_295_530),]
    );
    let asked = recorded::ttrpc::<task_v3::StateRequest>(NEW, "task.v3.Task/State", "req");
    assert_eq!((asked[1].id.as_str(), asked[1].exec_id.as_str()), ("c1", "e1"));
}

#[test]
fn exec_and_exits_v3() {
    let exec = recorded::ttrpc::<task_v3::ExecProcessRequest>(NEW, "task.v3.Task/Exec", "req").remove(0);
    assert_eq!((exec.id.as_str(), exec.exec_id.as_str()), ("c1", "e1"));
    assert_eq!(exec.spec.type_url, "types.containerd.io/opencontainers/runtime-spec/1/Process");
    assert!(exec.spec.value.starts_with(b"{\"args\":[\"/bin/busybox\""));
    let waits = recorded::ttrpc::<task_v3::WaitResponse>(NEW, "task.v3.Task/Wait", "resp");
    assert_eq!(waits.iter().map(|w| w.exit_status).collect::<Vec<_>>(), [7, 137]);
    let deletes = recorded::ttrpc::<task_v3::DeleteResponse>(NEW, "task.v3.Task/Delete", "resp");
    assert_eq!(deletes.iter().map(|d| d.exit_status).collect::<Vec<_>>(), [7, 137]);
    assert_eq!(time(&deletes[1].exited_at), time(&waits[1].exited_at));
    let kill = recorded::ttrpc::<task_v3::KillRequest>(NEW, "task.v3.Task/Kill", "req").remove(0);
    assert_eq!((kill.id.as_str(), kill.signal, kill.all), ("c1", 9, true));
}

#[test]
fn the_other_calls_v3() {
    let resize = recorded::ttrpc::<task_v3::ResizePtyRequest>(NEW, "v3.Task/ResizePty", "req").remove(0);
    assert_eq!((resize.width, resize.height), (80, 24));
    let close = recorded::ttrpc::<task_v3::CloseIORequest>(NEW, "v3.Task/CloseIO", "req").remove(0);
    assert_eq!((close.id.as_str(), close.exec_id.as_str(), close.stdin), ("c1", "e1", true));
    let update = recorded::ttrpc::<task_v3::UpdateTaskRequest>(NEW, "v3.Task/Update", "req").remove(0);
    assert_eq!(update.resources.value, br#"{"memory":{"limit":67108864}}"#);
    assert_eq!(update.annotations["an"], "no");
    let checkpoint =
        recorded::ttrpc::<task_v3::CheckpointTaskRequest>(NEW, "v3.Task/Checkpoint", "req").remove(0);
    assert!(checkpoint.path.starts_with("/tmp/ctrd-checkpoint"));
    let options: options::CheckpointOptions = unpack(&checkpoint.options).unwrap();
    assert!(options.exit);
    assert_eq!(options.cgroups_mode, "soft");
    let pids = recorded::ttrpc::<task_v3::PidsResponse>(NEW, "v3.Task/Pids", "resp").remove(0);
    assert_eq!(pids.processes.len(), 1);
    for (method, id) in [("Pause", "c1"), ("Resume", "c1")] {
        let bytes =
            recorded::lines().into_iter().find(|l| l.method == format!("containerd.task.v3.Task/{method}"));
        let request = task_v3::PauseRequest::parse_from_bytes(&bytes.unwrap().bytes).unwrap();
        assert_eq!(request.id, id);
    }
    let shutdown = recorded::ttrpc::<task_v3::ShutdownRequest>(NEW, "v3.Task/Shutdown", "req").remove(0);
    assert_eq!((shutdown.id.as_str(), shutdown.now), ("c1", false));
}

#[test]
fn stats_are_cgroup_metrics() {
    let stats = recorded::ttrpc::<task_v3::StatsResponse>(NEW, "v3.Task/Stats", "resp").remove(0);
    let metrics: cgroups_v1::Metrics = unpack(&stats.stats).unwrap();
    assert_eq!(metrics.pids.current, 1);
    assert_eq!(metrics.cpu.usage.total, 12_113_821);
    assert_eq!(metrics.cpu.usage.per_cpu.iter().sum::<u64>(), metrics.cpu.usage.total);
    assert_eq!(metrics.memory.usage.usage, 598_016);
    assert_eq!(metrics.memory.usage.limit, 9_223_372_036_854_771_712);
    let wrong = unpack::<protos::shim::cgroups_v2::Metrics>(&stats.stats).unwrap_err();
    assert!(matches!(wrong, UnpackError::WrongType { .. }), "{wrong}");
}

#[test]
fn task_v2_of_the_older_peer() {
    let create = recorded::ttrpc::<task_v2::CreateTaskRequest>(OLD, "task.v2.Task/Create", "req").remove(0);
    assert_eq!((create.id.as_str(), create.rootfs.len()), ("c16", 1));
    assert!(create.stdin.ends_with("/c16-stdin") && create.stderr.ends_with("/c16-stderr"));
    let states = recorded::ttrpc::<task_v2::StateResponse>(OLD, "task.v2.Task/State", "resp");
    assert!(states.iter().any(|s| s.status.enum_value() == Ok(types::Status::PAUSED)));
    assert!(states.iter().any(|s| s.id == "e16" && s.exit_status == 5));
    let killed = states.iter().find(|s| s.exit_status == 137).unwrap();
    assert_eq!(killed.status.enum_value(), Ok(types::Status::STOPPED));
    let wait = recorded::ttrpc::<task_v2::WaitResponse>(OLD, "task.v2.Task/Wait", "resp").remove(0);
    assert_eq!(wait.exit_status, 5);
    let stats = recorded::ttrpc::<task_v2::StatsResponse>(OLD, "task.v2.Task/Stats", "resp").remove(0);
    assert_eq!(unpack::<cgroups_v1::Metrics>(&stats.stats).unwrap().pids.current, 1);
}

#[test]
fn events_that_shims_forward() {
    for (peer, id, exec, code) in [(NEW, "c1", "e1", 7), (OLD, "c16", "e16", 5)] {
        let all =
            recorded::ttrpc::<events_service::ForwardRequest>(peer, "events.ttrpc.v1.Events/Forward", "req");
        let topics: Vec<_> = all.iter().map(|f| f.envelope.topic.as_str()).collect();
        assert_eq!(
            &topics[..5],
            ["/tasks/create", "/tasks/start", "/tasks/exec-added", "/tasks/exec-started", "/tasks/exit"]
        );
        assert!(
            all.iter().all(|f| f.envelope.namespace == "rec" && f.envelope.timestamp.seconds > 1_795_000_000)
        );
        let create: events::TaskCreate = unpack(&all[0].envelope.event).unwrap();
        assert_eq!((create.container_id.as_str(), create.rootfs.len()), (id, 1));
        assert!(create.io.is_some());
        let exit: events::TaskExit = unpack(&all[4].envelope.event).unwrap();
        assert_eq!((exit.container_id.as_str(), exit.id.as_str(), exit.exit_status), (id, exec, code));
        assert!(exit.exited_at.seconds > 1_795_000_000);
        let delete = all.iter().find(|f| f.envelope.topic == "/tasks/delete").unwrap();
        let delete: events::TaskDelete = unpack(&delete.envelope.event).unwrap();
        assert_eq!((delete.container_id.as_str(), delete.id.as_str(), delete.exit_status), (id, "", 137));
    }
}

#[test]
fn bootstrap_in_its_three_dialects() {
    let params = recorded::ttrpc::<bootstrap::BootstrapParams>(NEW, "shim/start", "stdin");
    let p = &params[0];
    assert_eq!(
        (p.instance_id.as_str(), p.namespace.as_str(), p.containerd_version.as_str()),
        ("c1", "rec", "v2.3.4")
    );
    assert_eq!(p.log_level.enum_value(), Ok(bootstrap::LogLevel::LOG_LEVEL_DEBUG));
    assert!(
        p.containerd_ttrpc_address.ends_with(".sock.ttrpc") && p.containerd_grpc_address.ends_with(".sock")
    );
    assert!(p.containerd_binary.ends_with("/containerd"));
    assert_eq!(p.socket_dir.as_deref(), Some("/run/containerd/s"));
    let options: options::Options = unpack(&p.extensions[0].value).unwrap();
    assert_eq!(options.binary_name, "runc");

    let answers: Vec<_> =
        recorded::lines().into_iter().filter(|l| l.method == "shim/start" && l.way == "stdout").collect();
    let kinds: Vec<_> = answers.iter().map(|l| (l.peer, l.message)).collect();
    assert_eq!(
        kinds,
        [(NEW, "containerd.runtime.bootstrap.v1.BootstrapResult"), (NEW, "json"), (OLD, "text")]
    );
    let result = bootstrap::BootstrapResult::parse_from_bytes(&answers[0].bytes).unwrap();
    assert_eq!((result.version, result.protocol.as_str()), (3, "ttrpc"));
    assert!(result.address.starts_with("unix:///run/containerd/s/"));
    assert!(answers[1].bytes.starts_with(b"{\"version\":3,\"address\":\"unix:///run/containerd/s/"));
    assert!(answers[2].bytes.starts_with(b"unix:///run/containerd/s/"));
    // Neither of the two other dialects can be taken for the first: tag 15, or a wire type that version never has.
    assert!(bootstrap::BootstrapResult::parse_from_bytes(&answers[1].bytes).is_err());
    assert!(bootstrap::BootstrapResult::parse_from_bytes(&answers[2].bytes).is_err());
}

#[test]
fn info_and_delete_of_the_binary() {
    let asked = recorded::lines().into_iter().find(|l| l.method == "shim/info" && l.way == "stdin").unwrap();
    let asked = Any::parse_from_bytes(&asked.bytes).unwrap();
    assert!(is::<options::Options>(&asked));
    let info = recorded::ttrpc::<types::RuntimeInfo>(NEW, "shim/info", "stdout").remove(0);
    assert_eq!(info.name, "io.containerd.runc.v2");
    assert_eq!((info.version.version.as_str(), info.version.revision.as_str()), ("v2.3.4", "db8809540e1a"));
    assert!(unpack::<options::Options>(&info.options).unwrap().no_pivot_root);
    assert_eq!(info.features.type_url, "types.containerd.io/opencontainers/runtime-spec/1/features/Features");
    let deleted = recorded::ttrpc::<task_v3::DeleteResponse>(NEW, "shim/delete", "stdout").remove(0);
    assert_eq!(deleted.exit_status, 137);
    let deleted = recorded::ttrpc::<task_v2::DeleteResponse>(OLD, "shim/delete", "stdout").remove(0);
    assert_eq!(deleted.exit_status, 137);
}

#[test]
fn sandbox_between_a_go_daemon_and_a_go_shim() {
    let create =
        recorded::ttrpc::<sandbox::CreateSandboxRequest>(NEW, "Sandbox/CreateSandbox", "req").remove(0);
    assert_eq!((create.sandbox_id.as_str(), create.netns_path.as_str()), ("box1", "/proc/1/ns/net"));
    assert_eq!((create.rootfs[0].source.as_str(), create.rootfs[0].options[0].as_str()), ("/tmp", "ro"));
    assert_eq!(create.options.value, [8]);
    assert_eq!(create.annotations["aa"], "bb");
    let start =
        recorded::ttrpc::<sandbox::StartSandboxResponse>(NEW, "Sandbox/StartSandbox", "resp").remove(0);
    assert_eq!(time(&start.created_at), (1_700_000_000, 123_456_789));
    assert_eq!(start.spec.type_url, "x/spec");
    let status =
        recorded::ttrpc::<sandbox::SandboxStatusResponse>(NEW, "Sandbox/SandboxStatus", "resp").remove(0);
    assert_eq!(
        (status.sandbox_id.as_str(), status.state.as_str(), status.pid),
        ("box1", "SANDBOX_READY", start.pid)
    );
    assert_eq!(status.info["hint"], "none");
    assert_eq!(status.extra.value, [1, 2]);
    let stop = recorded::ttrpc::<sandbox::StopSandboxRequest>(NEW, "Sandbox/StopSandbox", "req").remove(0);
    assert_eq!(stop.timeout_secs, 5);
    let wait = recorded::ttrpc::<sandbox::WaitSandboxResponse>(NEW, "Sandbox/WaitSandbox", "resp").remove(0);
    assert_eq!((wait.exit_status, time(&wait.exited_at)), (137, (1_700_000_000, 123_456_789)));
    let metrics =
        recorded::ttrpc::<sandbox::SandboxMetricsResponse>(NEW, "Sandbox/SandboxMetrics", "resp").remove(0);
    assert_eq!((metrics.metrics.id.as_str(), metrics.metrics.data.value.as_slice()), ("box1", &[3][..]));
}

#[test]
fn streaming_over_ttrpc() {
    let sent: Vec<_> = recorded::lines()
        .into_iter()
        .filter(|l| l.method == "containerd.services.streaming.v1.Streaming/Stream" && l.way == "req")
        .filter(|l| !l.bytes.is_empty())
        .map(|l| Any::parse_from_bytes(&l.bytes).unwrap())
        .collect();
    let ids: Vec<_> =
        sent.iter().filter_map(|a| unpack::<streaming::StreamInit>(a).ok()).map(|i| i.id).collect();
    assert!(ids.contains(&"stdin-1".to_owned()), "{ids:?}");
}

#[test]
fn any_is_written_with_the_bare_name_and_read_with_either() {
    let exit = events::TaskExit { id: "e".to_owned(), exit_status: 3, ..Default::default() };
    let mut any = pack(&exit).unwrap();
    assert_eq!(any.type_url, "containerd.events.TaskExit");
    assert_eq!(unpack::<events::TaskExit>(&any).unwrap(), exit);
    any.type_url = "type.googleapis.com/containerd.events.TaskExit".to_owned();
    assert_eq!(unpack::<events::TaskExit>(&any).unwrap(), exit);
    any.value = vec![0xff];
    assert!(matches!(unpack::<events::TaskExit>(&any), Err(UnpackError::Malformed { .. })));
}
