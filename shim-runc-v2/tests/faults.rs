//! What goes wrong: runtimes, shims and daemons that die, hang or talk nonsense. As root; needs runc and a static busybox.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod driver;

use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use driver::*;
use protobuf::Message;
use protos::shim::bootstrap::{BootstrapParams, BootstrapResult};
use protos::shim::events::{TaskExit, TaskOOM};
use ttrpc::{Code, context};

fn script(place: &Place, name: &str, body: &str) -> String {
    use std::io::Write;
    let path = place.dir.path().join(name);
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o755).open(&path).unwrap();
    file.write_all(format!("#!/bin/sh\n{body}\n").as_bytes()).unwrap();
    path.to_string_lossy().into_owned()
}

fn cgroup_dirs(bundle: &Bundle) -> Vec<PathBuf> {
    ["memory", "pids", "freezer"]
        .iter()
        .map(|c| PathBuf::from(format!("/sys/fs/cgroup/{c}/{NAMESPACE}/{}", bundle.unique())))
        .collect()
}

#[tokio::test]
async fn a_killed_shim_is_cleaned_up_after() {
    let place = Place::new().await;
    let bundle = place.bundle("orphan", &["sleep", "1000"]);
    let shim = place.start(&bundle);
    let task = shim.client().await;
    let mut request = bundle.create_request();
    let mut mount = protos::shim::types::Mount::new();
    // The rootfs itself, bound: a mount that must be gone afterwards.
    let source = place.dir.path().join("source");
    std::fs::rename(bundle.dir.join("rootfs"), &source).unwrap();
    (mount.type_, mount.source, mount.options) =
        ("bind".into(), source.to_string_lossy().into_owned(), vec!["rbind".into(), "rw".into()]);
    request.rootfs.push(mount);
    let pid = task.create(&request).await.unwrap().pid;
    task.start("orphan", "").await.unwrap();
    let rootfs = bundle.dir.join("rootfs");
    assert!(sys::mount::is_mount_point(&rootfs).unwrap());
    assert!(cgroup_dirs(&bundle).iter().any(|d| d.exists()));
    let shim_pid = task.shim_pid("orphan").await;
    signal(shim_pid, 9);
    eventually("shim is dead", || (!is_alive(shim_pid)).then_some(())).await;
    let response = place.delete(&bundle);
    assert_eq!((response.exit_status, response.pid), (137, pid));
    eventually("init is dead", || (!is_alive(pid)).then_some(())).await;
    assert!(!sys::mount::is_mount_point(&rootfs).unwrap());
    assert!(cgroup_dirs(&bundle).iter().all(|d| !d.exists()));
    assert!(!PathBuf::from(shim.address.trim_start_matches("unix://")).exists(), "its dead socket is gone");
    // Once more: nothing to do, and the same answer.
    assert_eq!(place.delete(&bundle).exit_status, 137);
}

#[tokio::test]
async fn a_recorded_exit_survives_the_shim() {
    let place = Place::new().await;
    let bundle = place.bundle("told", &["sh", "-c", "exit 9"]);
    let shim = place.start(&bundle);
    let task = shim.client().await;
    task.create(&bundle.create_request()).await.unwrap();
    task.start("told", "").await.unwrap();
    let waited = task.wait("told", "").await.unwrap();
    let shim_pid = task.shim_pid("told").await;
    signal(shim_pid, 9);
    eventually("shim is dead", || (!is_alive(shim_pid)).then_some(())).await;
    let response = place.delete(&bundle);
    assert_eq!((response.exit_status, response.exited_at), (9, waited.exited_at));
}

#[tokio::test]
async fn a_runtime_that_is_missing_or_fails() {
    let place = Place::new().await;
    let bundle = place.bundle("odd", &["sh", "-c", "exit 4"]);
    let shim = place.start(&bundle);
    let task = shim.client().await;
    let mut request = bundle.create_request();
    request.options = Some(bundle.options("no-runc")).into();
    let (code, message) = refusal(task.create(&request).await);
    assert_eq!(code, Code::UNKNOWN);
    assert!(
        message.starts_with("OCI runtime create failed: ")
            && message.contains("exec: \"no-runc\": executable file not found in $PATH"),
        "{message}"
    );

    let garbage = "head -c 1000000 /dev/urandom >&2; exit 1";
    request.options = Some(bundle.options(&script(&place, "garbage", garbage))).into();
    let begun = Instant::now();
    let (_, message) = refusal(task.create(&request).await);
    assert!(
        message.starts_with("OCI runtime create failed: ") && message.contains("exit status 1"),
        "{message}"
    );
    assert!(begun.elapsed() < Duration::from_secs(10));

    let words = r#"while [ $# -gt 0 ]; do [ "$1" = --log ] && log=$2; shift; done; echo '{"level":"error","msg":"exec: \"x\": executable file not found in $PATH"}' > $log; exit 1"#;
    request.options = Some(bundle.options(&script(&place, "words", words))).into();
    let (_, message) = refusal(task.create(&request).await);
    assert_eq!(message, "OCI runtime create failed: exec: \"x\": executable file not found in $PATH");

    // Says it worked, and did nothing.
    request.options = Some(bundle.options(&script(&place, "liar", "exit 0"))).into();
    assert!(refusal(task.create(&request).await).1.contains("failed to retrieve OCI runtime container pid"));

    // A program that is not there, from the real runtime.
    request.options = Some(bundle.options("")).into();
    bundle.write_spec(&bundle.spec(&["/no/such/program"]));
    let (_, message) = refusal(match task.create(&request).await {
        Ok(_) => task.start("odd", "").await.map(drop),
        Err(e) => Err(e),
    });
    assert!(message.contains("no such file or directory"), "{message}");
    let _ = task.delete("odd", "").await;

    bundle.write_spec(&bundle.spec(&["sh", "-c", "exit 4"]));
    assert_eq!(task.run(&request).await, 4, "after all that it still works");
    task.shutdown("odd").await.unwrap();
    shim.gone().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runtime_that_hangs_holds_up_nobody_else() {
    let place = Place::new().await;
    let good = place.bundle("good", &["sleep", "1000"]);
    let shim = place.start(&good);
    let task = shim.client().await;
    task.create(&good.create_request()).await.unwrap();
    task.start("good", "").await.unwrap();
    const HANG: Duration = Duration::from_secs(6);
    let hang = format!(": > {}/hanging; exec sleep 1000", place.dir.path().display());
    let bad = place.bundle("bad", &["true"]);
    let mut request = bad.create_request();
    request.options = Some(bad.options(&script(&place, "hang", &hang))).into();
    let hanging = tokio::spawn({
        let (task, request) = (task.clone(), request.clone());
        async move { task.0.create(context::with_timeout(HANG.as_nanos() as i64), &request).await }
    });
    eventually("the runtime hangs", || place.dir.path().join("hanging").exists().then_some(())).await;
    let (mut times, first) = (Vec::new(), Instant::now());
    while times.len() < 200 && first.elapsed() < HANG / 2 {
        let begun = Instant::now();
        task.state("good", "").await.unwrap();
        times.push(begun.elapsed());
    }
    // One that waited for the create would answer when that ends.
    assert!(!hanging.is_finished() && times.len() > 20, "{} answers while the create hung", times.len());
    times.sort();
    println!("State while a create hangs: median {:?}, worst {:?}", times[times.len() / 2], times.last());
    assert_eq!(
        refusal(task.create(&request).await),
        (Code::ALREADY_EXISTS, "container bad: already exists".into())
    );
    let third = place.bundle("third", &["sh", "-c", "exit 6"]);
    assert_eq!(task.run(&third.create_request()).await, 6);
    // Its deadline ends it, and what it made is undone: the id is free again.
    assert!(hanging.await.unwrap().is_err());
    request.options = Some(bad.options("")).into();
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        match task.create(&request).await {
            Ok(_) => break,
            Err(e) => assert_eq!(refusal::<()>(Err(e)).0, Code::ALREADY_EXISTS),
        }
    }
    task.start("bad", "").await.unwrap();
    assert_eq!(task.wait("bad", "").await.unwrap().exit_status, 0);
    task.delete("bad", "").await.unwrap();
    task.kill("good", "", 9).await.unwrap();
    task.wait("good", "").await.unwrap();
    task.delete("good", "").await.unwrap();
    task.shutdown("good").await.unwrap();
    shim.gone().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_ends_a_create_that_hangs() {
    let place = Place::new().await;
    let bundle = place.bundle("stuck", &["true"]);
    let shim = place.start(&bundle);
    let task = shim.client().await;
    let mut request = bundle.create_request();
    let hang = script(&place, "hang", "case \"$*\" in *create*) exec sleep 1000;; esac");
    request.options = Some(bundle.options(&hang)).into();
    let hanging = tokio::spawn({
        let task = task.clone();
        async move { task.create(&request).await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    task.shutdown("stuck").await.unwrap();
    assert!(hanging.await.unwrap().is_err());
    shim.gone().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_wait_for_a_daemon_that_is_away() {
    let mut place = Place::new().await;
    let bundle = place.bundle("away", &["sleep", "1000"]);
    let (address, _) = place.run_start(&bundle, b"", &[]);
    let task = Task::dial(std::str::from_utf8(&address).unwrap(), Version::V3).await.unwrap();
    task.create(&bundle.create_request()).await.unwrap();
    task.start("away", "").await.unwrap();
    eventually("start is told", || (place.seen.topics().len() == 2).then_some(())).await;
    place.daemon_goes().await;
    for n in 0..20 {
        let id = format!("e{n}");
        task.exec("away", &id, &["sh", "-c", &format!("exit {n}")], |_| {}).await.unwrap();
        task.start("away", &id).await.unwrap();
        assert_eq!(task.wait("away", &id).await.unwrap().exit_status, n);
        task.delete("away", &id).await.unwrap();
    }
    place.daemon_comes().await;
    // What a daemon does first when it is back; the shim then tries at once.
    let back = Task::dial(std::str::from_utf8(&address).unwrap(), Version::V3).await.unwrap();
    back.connect("away").await.unwrap();
    eventually("all is told", || (place.seen.topics().len() >= 62).then_some(())).await;
    task.kill("away", "", 9).await.unwrap();
    task.wait("away", "").await.unwrap();
    task.delete("away", "").await.unwrap();
    task.shutdown("away").await.unwrap();
    let exits =
        eventually("the last exit", || Some(place.seen.all::<TaskExit>()).filter(|e| e.len() >= 21)).await;
    let want: Vec<u32> = (0..20).chain([137]).collect();
    assert_eq!(exits.iter().map(|e| e.exit_status).collect::<Vec<_>>(), want, "in order, each once");
    let path = PathBuf::from(String::from_utf8(address).unwrap().trim_start_matches("unix://"));
    eventually("shim is gone", || (!path.exists()).then_some(())).await;
}

#[tokio::test]
async fn memory_kills_are_told_before_the_exit() {
    let place = Place::new().await;
    let bundle = place.bundle("hungry", &["true"]);
    let mut spec = bundle.spec(&["sh", "-c", "cat /dev/zero | tail"]);
    spec["process"] = process(&["tail", "/dev/zero"], false);
    std::os::unix::fs::symlink("busybox", bundle.dir.join("rootfs/bin/tail")).unwrap();
    spec["linux"]["resources"]["memory"] = serde_json::json!({"limit": 16 << 20});
    bundle.write_spec(&spec);
    let shim = place.start(&bundle);
    let task = shim.client().await;
    task.create(&bundle.create_request()).await.unwrap();
    let stats = task.stats("hungry").await.unwrap().stats.unwrap();
    let metrics: protos::shim::cgroups_v1::Metrics = protos::shim::any::unpack(&stats).unwrap();
    assert_eq!(metrics.memory.usage.limit, 16 << 20);
    task.start("hungry", "").await.unwrap();
    assert_eq!(task.wait("hungry", "").await.unwrap().exit_status, 137);
    place.seen.exit_of("hungry").await;
    let topics = place.seen.topics();
    let at = |topic: &str| {
        topics.iter().position(|t| t == topic).unwrap_or_else(|| panic!("no {topic} in {topics:?}"))
    };
    assert!(at("/tasks/oom") < at("/tasks/exit"), "{topics:?}");
    assert_eq!(place.seen.all::<TaskOOM>().len(), 1);
    assert!(std::fs::read_to_string(bundle.dir.join("exits/init.json")).unwrap().contains("\"oom\":true"));
    task.delete("hungry", "").await.unwrap();
    assert_eq!(refusal(task.stats("hungry").await).0, Code::NOT_FOUND);
    task.shutdown("hungry").await.unwrap();
    shim.gone().await;
}

#[tokio::test]
async fn answers_in_the_callers_dialect_and_joins_its_group() {
    let place = Place::new().await;
    let first = place.bundle("one", &["sleep", "1000"]);
    let second = place.bundle("two", &["sh", "-c", "exit 2"]);
    for bundle in [&first, &second] {
        let mut spec = bundle.spec(&["sh", "-c", "exit 2"]);
        spec["annotations"] = serde_json::json!({"io.kubernetes.cri.sandbox-id": "pod"});
        bundle.write_spec(&spec);
    }
    let (plain, _) = place.run_start(&first, b"", &[]);
    let address = String::from_utf8(plain).unwrap();
    assert!(
        address.starts_with("unix:///run/containerd/s/")
            && address.len() == "unix:///run/containerd/s/".len() + 64,
        "{address}"
    );
    assert_eq!(std::fs::read_to_string(first.dir.join("address")).unwrap(), address);

    // 1.7 to 2.2 with runtime options on stdin, which must not be taken for the newer message.
    let options = first.options("runc").write_to_bytes().unwrap();
    let (json, _) = place.run_start(&second, &options, &[("MAX_SHIM_VERSION", "2")]);
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json, serde_json::json!({"version": 2, "address": address, "protocol": "ttrpc"}));

    let mut params = BootstrapParams::new();
    (params.instance_id, params.namespace) = ("two".into(), NAMESPACE.into());
    params.containerd_grpc_address = place.grpc().to_string_lossy().into_owned();
    params.containerd_ttrpc_address = place.ttrpc().to_string_lossy().into_owned();
    let (message, _) =
        place.run_start(&second, &params.write_to_bytes().unwrap(), &[("MAX_SHIM_VERSION", "2")]);
    let result = BootstrapResult::parse_from_bytes(&message).unwrap();
    assert_eq!(
        (result.version, result.address.as_str(), result.protocol.as_str()),
        (3, address.as_str(), "ttrpc")
    );

    // A directory of the daemon's choice: another socket, and a note where it is.
    let dir = place.dir.path().join("s");
    params.socket_dir = Some(dir.to_string_lossy().into_owned());
    let (message, _) = place.run_start(&second, &params.write_to_bytes().unwrap(), &[]);
    let other = BootstrapResult::parse_from_bytes(&message).unwrap().address;
    assert!(other.starts_with(&format!("unix://{}/", dir.display())));
    assert_eq!(std::fs::read_link(second.dir.join("s")).unwrap(), dir);

    let shim = Shim { place: &place, address, start_took: Duration::ZERO };
    let task = shim.client().await;
    for bundle in [&first, &second] {
        assert_eq!(task.run(&bundle.create_request()).await, 2);
    }
    task.shutdown("one").await.unwrap();
    shim.gone().await;
    let other = Shim { place: &place, address: other, start_took: Duration::ZERO };
    other.client().await.shutdown("two").await.unwrap();
    other.gone().await;
}

#[tokio::test]
async fn a_shim_that_nobody_needs_leaves() {
    let place = Place::new().await;
    let bundle = place.bundle("brief", &["true"]);
    let shim = place.start(&bundle);
    let pid = {
        let task = shim.client().await;
        task.run(&bundle.create_request()).await;
        task.shim_pid("brief").await
    };
    let begun = Instant::now();
    eventually("shim leaves by itself", || (!is_alive(pid)).then_some(())).await;
    assert!(begun.elapsed() > Duration::from_secs(5), "and not at once");
    shim.gone().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deletes_and_shutdowns_in_any_order() {
    let place = Place::new().await;
    for round in 0..6 {
        let id = format!("race{round}");
        let bundle = place.bundle(&id, &["true"]);
        let shim = place.start(&bundle);
        let task = shim.client().await;
        task.create(&bundle.create_request()).await.unwrap();
        task.start(&id, "").await.unwrap();
        task.wait(&id, "").await.unwrap();
        let pid = task.shim_pid(&id).await;
        let calls: Vec<_> = (0..6)
            .map(|n| {
                let (task, id) = (task.clone(), id.clone());
                tokio::spawn(async move {
                    if (n + round) % 2 == 0 {
                        task.delete(&id, "").await.is_ok()
                    } else {
                        let _ = task.shutdown(&id).await;
                        false
                    }
                })
            })
            .collect();
        let mut deleted = 0;
        for call in calls {
            deleted += u32::from(call.await.unwrap());
        }
        assert_eq!(deleted, 1, "one delete wins, the others do not find it");
        let _ = task.shutdown(&id).await;
        drop(task);
        eventually("no shim is left", || (!is_alive(pid)).then_some(())).await;
        shim.gone().await;
    }
}

/// Pids of processes whose cgroup carries the bundle's name.
fn in_cgroup(bundle: &Bundle) -> Vec<u32> {
    let name = bundle.unique();
    let pids = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|e| e.file_name().to_string_lossy().parse::<u32>().ok());
    pids.filter(|pid| {
        std::fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|t| t.contains(&name))
            && is_alive(*pid)
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shim_killed_at_any_moment_leaves_nothing() {
    let place = Place::new().await;
    // A step that is prime to the length of a life: every part of it is hit sooner or later.
    for round in 0..16_u64 {
        let id = format!("crash{round}");
        let bundle = place.bundle(&id, &["sh", "-c", "sleep 1000 & sleep 1000"]);
        let shim = place.start(&bundle);
        let task = shim.client().await;
        let pid = task.shim_pid(&id).await;
        let life = tokio::spawn({
            let (task, request, id) = (task.clone(), bundle.create_request(), id.clone());
            async move {
                task.create(&request).await?;
                task.start(&id, "").await?;
                task.exec(&id, "more", &["sleep", "1000"], |_| {}).await?;
                task.start(&id, "more").await?;
                task.kill(&id, "", 9).await?;
                task.wait(&id, "").await
            }
        });
        tokio::time::sleep(Duration::from_millis(round * 37 % 150)).await;
        signal(pid, 9);
        let _ = life.await.unwrap();
        eventually("shim is dead", || (!is_alive(pid)).then_some(())).await;
        let response = place.delete(&bundle);
        assert_eq!(response.exit_status, 137, "round {round}");
        eventually("no process is left", || in_cgroup(&bundle).is_empty().then_some(())).await;
        assert!(cgroup_dirs(&bundle).iter().all(|d| !d.exists()), "round {round}: a cgroup is left");
        assert!(
            !place.dir.path().join("runc").join(NAMESPACE).join(&id).exists(),
            "round {round}: runtime state is left"
        );
    }
}

#[tokio::test]
async fn signals_from_an_operator() {
    use std::io::Read;
    let place = Place::new().await;
    let bundle = place.bundle("ops", &["true"]);
    // As the daemon: a reader of the log that is there before the shim.
    let mut log = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(0o4000)
        .open(bundle.dir.join("log"))
        .unwrap();
    let shim = place.start(&bundle);
    let task = shim.client().await;
    task.create(&bundle.create_request()).await.unwrap();
    let pid = task.shim_pid("ops").await;
    signal(pid, 10);
    let mut text = String::new();
    eventually("a dump in the log", || {
        let mut buffer = [0; 4096];
        if let Ok(n) = log.read(&mut buffer) {
            text.push_str(std::str::from_utf8(&buffer[..n]).unwrap());
        }
        (text.contains("level=info") && text.contains("init=Created")).then_some(())
    })
    .await;
    task.delete("ops", "").await.unwrap();
    signal(pid, 15);
    shim.gone().await;
    eventually("shim leaves", || (!is_alive(pid)).then_some(())).await;
}

#[tokio::test]
async fn version_two_of_the_service_and_an_unknown_method() {
    use protos::shim::task_v2;
    let place = Place::new().await;
    let bundle = place.bundle("older", &["sh", "-c", "exit 3"]);
    let shim = place.start(&bundle);
    let task = shim.client().await;
    let client = ttrpc::asynchronous::Client::connect(&shim.address).await.unwrap();
    let v2 = task_v2::TaskClient::new(client.clone());
    task.create(&bundle.create_request()).await.unwrap();
    let mut state = task_v2::StateRequest::new();
    state.id = "older".into();
    let state = v2.state(forever(), &state).await.unwrap();
    assert_eq!((state.id.as_str(), state.status.unwrap()), ("older", protos::shim::types::Status::CREATED));
    let mut start = task_v2::StartRequest::new();
    start.id = "older".into();
    v2.start(forever(), &start).await.unwrap();
    assert_eq!(task.wait("older", "").await.unwrap().exit_status, 3);
    for (service, method, code) in [
        ("containerd.task.v3.Task", "Nonsense", Code::UNIMPLEMENTED),
        ("containerd.task.v3.Task", "State", Code::INVALID_ARGUMENT),
    ] {
        let mut request = ttrpc::Request::new();
        (request.service, request.method, request.timeout_nano) =
            (service.into(), method.into(), 5_000_000_000);
        request.payload = vec![0xff, 0xff, 0xff];
        let status = match client.request(request).await {
            Err(ttrpc::Error::RpcStatus(status)) => status,
            other => panic!("{other:?}"),
        };
        assert_eq!(status.code(), code, "{method}: {}", status.message);
    }
    task.delete("older", "").await.unwrap();
    task.shutdown("older").await.unwrap();
    shim.gone().await;
}

#[tokio::test]
async fn a_shim_in_a_cgroup_of_its_own() {
    let place = Place::new().await;
    let bundle = place.bundle("grouped", &["true"]);
    let name = format!("/{NAMESPACE}-shims-{}", bundle.unique());
    let dir = PathBuf::from(format!("/sys/fs/cgroup/pids{name}"));
    std::fs::create_dir(&dir).unwrap();
    let mut options = protos::shim::options::Options::new();
    options.shim_cgroup = name;
    let stdin = protos::shim::any::pack(&options).unwrap().write_to_bytes().unwrap();
    let (address, _) = place.run_start(&bundle, &stdin, &[]);
    let shim =
        Shim { place: &place, address: String::from_utf8(address).unwrap(), start_took: Duration::ZERO };
    let task = shim.client().await;
    let pid = task.shim_pid("grouped").await;
    assert_eq!(std::fs::read_to_string(dir.join("cgroup.procs")).unwrap().trim(), pid.to_string());
    task.shutdown("grouped").await.unwrap();
    shim.gone().await;
    eventually("shim leaves", || (!is_alive(pid)).then_some(())).await;
    eventually("its cgroup can go", || std::fs::remove_dir(&dir).ok()).await;
}
