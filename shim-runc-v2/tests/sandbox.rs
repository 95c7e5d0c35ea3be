//! The shim as a pod: its own sandbox service, and containers in its namespaces.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod driver;

use std::path::Path;
use std::time::Duration;

use driver::*;
use protos::shim::Any;
use protos::shim::sandbox::*;
use ttrpc::Code;
use ttrpc::asynchronous::Client;

/// The sandbox service, with less to write.
#[derive(Clone)]
struct Pod {
    service: SandboxClient,
    id: String,
}

macro_rules! calls {
    ($($name:ident: $method:ident($request:ident) -> $response:ty),* $(,)?) => { impl Pod { $(
        async fn $name(&self) -> ttrpc::Result<$response> {
            let mut request = $request::new();
            request.sandbox_id = self.id.clone();
            self.service.$method(forever(), &request).await
        }
    )* } };
}

calls! {
    start: start_sandbox(StartSandboxRequest) -> StartSandboxResponse,
    stop: stop_sandbox(StopSandboxRequest) -> StopSandboxResponse,
    wait: wait_sandbox(WaitSandboxRequest) -> WaitSandboxResponse,
    ping: ping_sandbox(PingRequest) -> PingResponse,
    platform: platform(PlatformRequest) -> PlatformResponse,
    metrics: sandbox_metrics(SandboxMetricsRequest) -> SandboxMetricsResponse,
    shutdown: shutdown_sandbox(ShutdownSandboxRequest) -> ShutdownSandboxResponse,
    status: sandbox_status(SandboxStatusRequest) -> SandboxStatusResponse,
}

impl Pod {
    async fn of(shim: &Shim<'_>, id: &str) -> Pod {
        Pod { service: SandboxClient::new(Client::connect(&shim.address).await.unwrap()), id: id.to_owned() }
    }

    fn named(&self, id: &str) -> Pod {
        Pod { id: id.to_owned(), ..self.clone() }
    }

    async fn create(
        &self,
        bundle: &Bundle,
        set: impl FnOnce(&mut CreateSandboxRequest),
    ) -> ttrpc::Result<CreateSandboxResponse> {
        let mut request = CreateSandboxRequest::new();
        request.sandbox_id = self.id.clone();
        request.bundle_path = bundle.dir.to_string_lossy().into_owned();
        set(&mut request);
        self.service.create_sandbox(forever(), &request).await
    }
}

/// A bundle of a sandbox, with this `linux` part of its spec.
fn pod_bundle(place: &Place, id: &str, linux: serde_json::Value) -> Bundle {
    let bundle = place.bundle(id, &["true"]);
    bundle.write_spec(&serde_json::json!({"hostname": "the-pod", "linux": linux}));
    bundle
}

/// A container of the pod: it joins the namespaces of `pid` that are named.
fn member(place: &Place, pod: &str, id: &str, pid: u32, joined: &[&str], args: &[&str]) -> Bundle {
    let bundle = place.bundle(id, args);
    let mut spec = bundle.spec(args);
    let mut namespaces = vec![serde_json::json!({"type": "mount"})];
    for kind in ["pid", "ipc", "uts"] {
        namespaces.push(match joined.contains(&kind) {
            true => serde_json::json!({"type": kind, "path": format!("/proc/{pid}/ns/{kind}")}),
            false => serde_json::json!({"type": kind}),
        });
    }
    spec["linux"]["namespaces"] = namespaces.into();
    spec["annotations"] = serde_json::json!({"io.kubernetes.cri.sandbox-id": pod});
    spec.as_object_mut().unwrap().remove("hostname");
    bundle.write_spec(&spec);
    bundle
}

fn namespace(pid: u32, kind: &str) -> String {
    std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap().to_string_lossy().into_owned()
}

fn own(kind: &str) -> String {
    namespace(std::process::id(), kind)
}

async fn dead(pid: u32) {
    eventually("process is gone", || (!is_alive(pid)).then_some(())).await;
}

#[tokio::test]
async fn a_pod_lives_without_a_pause_container() {
    let place = Place::new().await;
    let bundle = pod_bundle(
        &place,
        "pod",
        serde_json::json!({"namespaces": [{"type": "ipc"}, {"type": "uts"}, {"type": "network"}],
            "sysctl": {"net.ipv4.ip_unprivileged_port_start": "77", "kernel.shmmni": "123"}}),
    );
    let shim = place.start(&bundle);
    let pod = Pod::of(&shim, "pod").await;
    pod.create(&bundle, |_| {}).await.unwrap();
    let status = pod.status().await.unwrap();
    assert_eq!((status.state.as_str(), status.pid), ("SANDBOX_NOTREADY", 0));
    let started = pod.start().await.unwrap();
    let pid = started.pid;
    for kind in ["ipc", "uts", "net", "mnt"] {
        assert_ne!(namespace(pid, kind), own(kind), "{kind}");
    }
    assert_eq!(namespace(pid, "pid"), own("pid"));
    let status = pod.status().await.unwrap();
    assert_eq!(
        (status.state.as_str(), status.pid, status.created_at),
        ("SANDBOX_READY", pid, started.created_at)
    );
    assert!(status.info.is_empty() && status.exited_at.is_none());
    pod.ping().await.unwrap();
    let platform = pod.platform().await.unwrap().platform.unwrap();
    assert_eq!(platform.os, "linux");

    // Inside: the pod's name and sysctls; the process itself sees nothing of the host and has no rights.
    let inside = |command: &str| {
        let output = std::process::Command::new("nsenter")
            .args(["-t", &pid.to_string(), "-u", "-n", "-i", "sh", "-c", command])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(inside("hostname"), "the-pod");
    assert_eq!(
        inside("cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shmmni"),
        "77\n123"
    );
    let root: Vec<_> =
        std::fs::read_dir(format!("/proc/{pid}/root/")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(root, ["pause"]);
    assert!(std::fs::write(format!("/proc/{pid}/root/x"), "").is_err(), "its root is read-only");
    let exe = rustix::fs::statvfs(format!("/proc/{pid}/exe")).unwrap();
    assert!(exe.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY), "its program is not to be written");
    let facts = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    for line in ["CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "NoNewPrivs:\t1", "Uid:\t65535"] {
        assert!(facts.contains(line), "{line}: {facts}");
    }

    let mut request = SandboxStatusRequest::new();
    request.sandbox_id = "pod".into();
    request.verbose = true;
    let info = pod.service.sandbox_status(forever(), &request).await.unwrap().info["info"].clone();
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    assert_eq!((info["pid"].as_u64(), info["processStatus"].as_str()), (Some(pid.into()), Some("running")));

    let waiting = tokio::spawn({
        let pod = pod.clone();
        async move { pod.wait().await }
    });
    pod.stop().await.unwrap();
    let exit = waiting.await.unwrap().unwrap();
    assert_eq!(exit.exit_status, 0);
    dead(pid).await;
    let record = std::fs::read_to_string(bundle.dir.join("exits/init.json")).unwrap();
    assert!(record.contains(&format!("\"pid\":{pid},\"code\":0")), "{record}");
    // Stopped, it is still there to be asked.
    pod.stop().await.unwrap();
    assert_eq!(pod.wait().await.unwrap(), exit);
    let status = pod.status().await.unwrap();
    assert_eq!((status.state.as_str(), status.pid), ("SANDBOX_NOTREADY", 0));
    assert_eq!(status.exited_at, exit.exited_at);
    pod.shutdown().await.unwrap();
    shim.gone().await;
}

#[tokio::test]
async fn containers_share_what_the_pod_shares() {
    let place = Place::new().await;
    let bundle = pod_bundle(
        &place,
        "pod",
        serde_json::json!({"namespaces": [{"type": "ipc"}, {"type": "uts"}, {"type": "pid"}]}),
    );
    let shim = place.start(&bundle);
    let pod = Pod::of(&shim, "pod").await;
    pod.create(&bundle, |_| {}).await.unwrap();
    let pid = pod.start().await.unwrap().pid;
    assert_ne!(namespace(pid, "pid"), own("pid"));
    let all = ["pid", "ipc", "uts"];
    // Leaves an orphan, which becomes a zombie unless pid 1 collects it.
    let orphans =
        "for i in 1 2 3 4 5; do (sleep 0.01 &); done; sleep 0.1; echo done > /tmp/out; exec sleep 1000";
    let one = member(&place, "pod", "one", pid, &all, &["sh", "-c", orphans]);
    let two = member(&place, "pod", "two", pid, &all, &["sleep", "1000"]);
    let task = shim.client().await;
    let mut pids = Vec::new();
    for bundle in [&one, &two] {
        assert_eq!(place.start(bundle).address, shim.address, "the pod's shim serves its containers");
        task.create(&bundle.create_request()).await.unwrap();
        pids.push(task.start(&bundle.id, "").await.unwrap().pid);
    }
    for kind in all {
        assert!(pids.iter().all(|p| namespace(*p, kind) == namespace(pid, kind)), "{kind}");
    }
    eventually("orphans were made", || one.dir.join("rootfs/tmp/out").exists().then_some(())).await;
    let zombies = || {
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        children.split_whitespace().count()
    };
    eventually("pid 1 collects orphans", || (zombies() == 0).then_some(())).await;

    // Deleting a container of the pod and the Shutdown that follows leave the pod alone.
    task.kill("one", "", 9).await.unwrap();
    assert_eq!(task.wait("one", "").await.unwrap().exit_status, 137);
    task.delete("one", "").await.unwrap();
    task.shutdown("one").await.unwrap();
    pod.ping().await.unwrap();
    task.kill("two", "", 0).await.unwrap();
    // Its end takes the shared PID namespace with it.
    pod.stop().await.unwrap();
    assert_eq!(task.wait("two", "").await.unwrap().exit_status, 137);
    assert_eq!(place.seen.exit_of("two").await.exit_status, 137);
    task.delete("two", "").await.unwrap();
    task.shutdown("two").await.unwrap();
    assert_eq!(pod.status().await.unwrap().state, "SANDBOX_NOTREADY", "it is shut down by its own call only");
    pod.shutdown().await.unwrap();
    shim.gone().await;
}

#[tokio::test]
async fn shutdown_takes_everything_along() {
    let place = Place::new().await;
    let name = format!("/{NAMESPACE}/{}-pod", place.dir.path().file_name().unwrap().to_string_lossy());
    let bundle = pod_bundle(
        &place,
        "pod",
        serde_json::json!({"namespaces": [{"type": "ipc"}, {"type": "uts"}], "cgroupsPath": name}),
    );
    let shim = place.start(&bundle);
    let pod = Pod::of(&shim, "pod").await;
    let mut mount = protos::shim::types::Mount::new();
    mount.type_ = "tmpfs".into();
    mount.source = "tmpfs".into();
    pod.create(&bundle, |r| r.rootfs.push(mount)).await.unwrap();
    let rootfs = bundle.dir.join("rootfs");
    assert!(sys::mount::is_mount_point(&rootfs).unwrap());
    let pid = pod.start().await.unwrap().pid;
    let group = sys::cgroup::Cgroup::at(&name).unwrap();
    assert_eq!(group.procs(false).unwrap(), [pid]);
    assert!(pod.metrics().await.unwrap().metrics.data.is_some());
    let task = shim.client().await;
    let running = member(&place, "pod", "running", pid, &["ipc"], &["sleep", "1000"]);
    let created = member(&place, "pod", "created", pid, &["ipc"], &["sleep", "1000"]);
    for bundle in [&running, &created] {
        task.create(&bundle.create_request()).await.unwrap();
    }
    let inner = task.start("running", "").await.unwrap().pid;
    pod.shutdown().await.unwrap();
    shim.gone().await;
    dead(pid).await;
    dead(inner).await;
    assert!(!group.exists(), "the pod's cgroup stays");
    assert!(!sys::mount::is_mount_point(&rootfs).unwrap());
    assert_eq!(place.seen.exit_of("running").await.exit_status, 137);
    let topics = place.seen.topics();
    assert_eq!(topics.iter().filter(|t| *t == "/tasks/delete").count(), 2, "{topics:?}");
}

#[tokio::test]
async fn refusals() {
    let place = Place::new().await;
    let bundle = pod_bundle(&place, "pod", serde_json::json!({}));
    let shim = place.start(&bundle);
    let pod = Pod::of(&shim, "pod").await;
    let nothing = |answer: (Code, String)| assert_eq!(answer.0, Code::NOT_FOUND, "{}", answer.1);
    for id in ["pod", "other"] {
        let it = pod.named(id);
        nothing(refusal(it.start().await));
        nothing(refusal(it.stop().await));
        nothing(refusal(it.wait().await));
        nothing(refusal(it.ping().await));
        nothing(refusal(it.status().await));
        nothing(refusal(it.metrics().await));
        nothing(refusal(it.platform().await));
    }
    nothing(refusal(pod.named("other").shutdown().await));
    let invalid = |answer: (Code, String), words: &str| {
        assert_eq!(answer.0, Code::INVALID_ARGUMENT, "{}", answer.1);
        assert!(answer.1.contains(words), "{}", answer.1);
    };
    invalid(refusal(pod.named("../x").create(&bundle, |_| {}).await), "sandbox id");
    invalid(refusal(pod.create(&bundle, |r| r.bundle_path = "relative".into()).await), "not a directory");
    let missing = bundle.dir.join("missing").to_string_lossy().into_owned();
    invalid(refusal(pod.create(&bundle, |r| r.bundle_path = missing.clone()).await), "not a directory");
    invalid(refusal(pod.create(&bundle, |r| r.netns_path = missing).await), "network namespace");
    invalid(refusal(pod.create(&bundle, |r| r.netns_path = "/etc/passwd".into()).await), "is no namespace");
    let garbage = |r: &mut CreateSandboxRequest| {
        let mut any = Any::new();
        any.type_url = "runtime.v1.PodSandboxConfig".into();
        any.value = vec![0xff; 5];
        r.options = Some(any).into();
    };
    invalid(refusal(pod.create(&bundle, garbage).await), "PodSandboxConfig");
    let mount = |r: &mut CreateSandboxRequest| {
        let mut mount = protos::shim::types::Mount::new();
        mount.type_ = "nosuchfs".into();
        r.rootfs.push(mount);
    };
    assert_eq!(refusal(pod.create(&bundle, mount).await).0, Code::UNKNOWN);

    // A failed create leaves nothing: the next one may succeed.
    pod.create(&bundle, |_| {}).await.unwrap();
    assert_eq!(refusal(pod.create(&bundle, |_| {}).await).0, Code::ALREADY_EXISTS);
    assert_eq!(refusal(pod.ping().await).0, Code::FAILED_PRECONDITION);
    assert_eq!(refusal(pod.metrics().await).0, Code::FAILED_PRECONDITION);
    nothing(refusal(pod.named("other").start().await));
    pod.start().await.unwrap();
    assert_eq!(refusal(pod.start().await).0, Code::FAILED_PRECONDITION);
    pod.stop().await.unwrap();
    assert_eq!(refusal(pod.start().await).0, Code::FAILED_PRECONDITION);
    pod.shutdown().await.unwrap();
    shim.gone().await;
}

#[tokio::test]
async fn what_setup_cannot_do_is_told_in_words() {
    let place = Place::new().await;
    let bundle = pod_bundle(
        &place,
        "pod",
        serde_json::json!({"namespaces": [{"type": "ipc"}, {"type": "network"}],
            "sysctl": {"net.no.such": "1"}}),
    );
    let shim = place.start(&bundle);
    let pod = Pod::of(&shim, "pod").await;
    pod.create(&bundle, |_| {}).await.unwrap();
    let (_, words) = refusal(pod.start().await);
    assert!(words.contains("sysctl net.no.such=1"), "{words}");
    assert_eq!(pod.status().await.unwrap().state, "SANDBOX_NOTREADY");
    // Stopped before it ever ran.
    pod.stop().await.unwrap();
    assert_eq!(pod.wait().await.unwrap().exit_status, 0);
    pod.shutdown().await.unwrap();
    shim.gone().await;
}

#[tokio::test]
async fn it_joins_a_network_namespace_by_path() {
    let place = Place::new().await;
    // Without a spec at all, as CRI makes them.
    let bundle = pod_bundle(&place, "pod", serde_json::json!({}));
    std::fs::remove_file(bundle.dir.join("config.json")).unwrap();
    let mut child = std::process::Command::new("unshare").args(["-n", "sleep", "1000"]).spawn().unwrap();
    let other = child.id();
    eventually("a network namespace", || (namespace(other, "net") != own("net")).then_some(())).await;
    let shim = place.start(&bundle);
    let pod = Pod::of(&shim, "pod").await;
    pod.create(&bundle, |r| r.netns_path = format!("/proc/{other}/ns/net")).await.unwrap();
    let pid = pod.start().await.unwrap().pid;
    assert_eq!(namespace(pid, "net"), namespace(other, "net"));
    assert_ne!(namespace(pid, "ipc"), own("ipc"));
    child.kill().unwrap();
    child.wait().unwrap();
    pod.shutdown().await.unwrap();
    shim.gone().await;
}

#[tokio::test]
async fn a_sandbox_that_is_killed_is_told_of() {
    let place = Place::new().await;
    let bundle = pod_bundle(&place, "pod", serde_json::json!({}));
    let shim = place.start(&bundle);
    let pod = Pod::of(&shim, "pod").await;
    pod.create(&bundle, |_| {}).await.unwrap();
    let pid = pod.start().await.unwrap().pid;
    let waiting = tokio::spawn({
        let pod = pod.clone();
        async move { pod.wait().await }
    });
    signal(pid, 9);
    assert_eq!(waiting.await.unwrap().unwrap().exit_status, 137);
    assert_eq!(pod.status().await.unwrap().state, "SANDBOX_NOTREADY");
    assert_eq!(refusal(pod.ping().await).0, Code::FAILED_PRECONDITION);
    pod.shutdown().await.unwrap();
    shim.gone().await;
}

#[tokio::test]
async fn one_that_does_not_listen_is_killed() {
    let place = Place::new().await;
    let bundle = pod_bundle(&place, "pod", serde_json::json!({}));
    let shim = place.start(&bundle);
    let pod = Pod::of(&shim, "pod").await;
    pod.create(&bundle, |_| {}).await.unwrap();
    let pid = pod.start().await.unwrap().pid;
    signal(pid, 19);
    let mut request = StopSandboxRequest::new();
    request.sandbox_id = "pod".into();
    request.timeout_secs = 1;
    pod.service.stop_sandbox(forever(), &request).await.unwrap();
    assert_eq!(pod.wait().await.unwrap().exit_status, 137);
    pod.shutdown().await.unwrap();
    shim.gone().await;
}

#[tokio::test]
async fn nothing_outlives_a_killed_shim_and_its_delete() {
    let place = Place::new().await;
    let name = format!("/{NAMESPACE}/{}-pod", place.dir.path().file_name().unwrap().to_string_lossy());
    let bundle = pod_bundle(
        &place,
        "pod",
        serde_json::json!({"namespaces": [{"type": "ipc"}, {"type": "pid"}], "cgroupsPath": name}),
    );
    let shim = place.start(&bundle);
    let pod = Pod::of(&shim, "pod").await;
    pod.create(&bundle, |_| {}).await.unwrap();
    let pid = pod.start().await.unwrap().pid;
    let task = shim.client().await;
    let one = member(&place, "pod", "one", pid, &["pid", "ipc"], &["sleep", "1000"]);
    task.create(&one.create_request()).await.unwrap();
    let inner = task.start("one", "").await.unwrap().pid;
    signal(task.shim_pid("one").await, 9);
    // Its lifeline is cut, and as pid 1 it takes the others along.
    dead(pid).await;
    dead(inner).await;
    assert_eq!(place.delete(&one).pid, inner);
    let deleted = place.delete(&bundle);
    assert_eq!((deleted.pid, deleted.exit_status), (pid, 137));
    assert!(!sys::cgroup::Cgroup::at(&name).unwrap().exists());
    assert!(!Path::new(shim.address.trim_start_matches("unix://")).exists());
}

#[tokio::test]
async fn any_order_of_calls_ends_it() {
    for round in 0..6 {
        let place = Place::new().await;
        let bundle =
            pod_bundle(&place, "pod", serde_json::json!({"namespaces": [{"type": "pid"}, {"type": "ipc"}]}));
        let shim = place.start(&bundle);
        let pod = Pod::of(&shim, "pod").await;
        let call = |name: &'static str| {
            let (pod, dir) = (pod.clone(), bundle.dir.clone());
            async move {
                let bundle = Bundle { id: "pod".into(), dir };
                // Refused or closed, as it happens.
                match name {
                    "create" => drop(pod.create(&bundle, |_| {}).await),
                    "start" => drop(pod.start().await),
                    "stop" => drop(pod.stop().await),
                    "wait" => drop(tokio::time::timeout(Duration::from_millis(50), pod.wait()).await),
                    _ => drop(pod.shutdown().await),
                }
            }
        };
        let mut all: Vec<_> =
            ["create", "start", "stop", "wait", "shutdown", "start", "shutdown", "stop"].into();
        all.rotate_left(round);
        let running: Vec<_> = all.into_iter().map(|name| tokio::spawn(call(name))).collect();
        for each in running {
            each.await.unwrap();
        }
        // A create that came after the last shutdown has its own.
        let _ = pod.shutdown().await;
        shim.gone().await;
        eventually("no process of it is left", || {
            let ours = place.dir.path().to_string_lossy().into_owned();
            let holders = std::fs::read_dir("/proc").unwrap().flatten().filter(|e| {
                let environ = std::fs::read_link(e.path().join("cwd")).unwrap_or_default();
                environ.to_string_lossy().contains(&ours)
            });
            (holders.count() == 0).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn the_limit_above_is_named_when_it_kills() {
    let place = Place::new().await;
    let bundle = place.bundle("hungry", &["true"]);
    let above = format!("/{NAMESPACE}/{}-limits", bundle.unique());
    let group = sys::cgroup::Cgroup::at(&above).unwrap();
    group.create().unwrap();
    let limit = match &group {
        sys::cgroup::Cgroup::V1(_) => "memory.limit_in_bytes",
        sys::cgroup::Cgroup::V2(_) => "memory.max",
    };
    std::fs::write(group.dir("memory").unwrap().join(limit), (48 << 20).to_string()).unwrap();
    let mut spec = bundle.spec(&["tail", "/dev/zero"]);
    std::os::unix::fs::symlink("busybox", bundle.dir.join("rootfs/bin/tail")).unwrap();
    spec["linux"]["cgroupsPath"] = format!("{above}/hungry").into();
    bundle.write_spec(&spec);
    let shim = place.start(&bundle);
    let task = shim.client().await;
    task.create(&bundle.create_request()).await.unwrap();
    task.start("hungry", "").await.unwrap();
    assert_eq!(task.wait("hungry", "").await.unwrap().exit_status, 137);
    let record = std::fs::read(bundle.dir.join("exits/init.json")).unwrap();
    let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
    let cause = record["oom_cause"].as_str().unwrap();
    assert!(record["oom"].as_bool().unwrap() && cause.ends_with(&format!("{above}, 1 above it")), "{record}");
    place.seen.exit_of("hungry").await;
    let topics = place.seen.topics();
    let at = |topic: &str| topics.iter().position(|t| t == topic).unwrap();
    assert!(at("/tasks/oom") < at("/tasks/exit"), "{topics:?}");
    task.delete("hungry", "").await.unwrap();
    task.shutdown("hungry").await.unwrap();
    shim.gone().await;
    group.remove().unwrap();
}
