//! Shims that are alive and do not answer, and what can be done without them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod world;

use std::time::{Duration, Instant};

use base::{ErrorKind, Kinded};
use runtime::{ExecRequest, Recovered, Status};
use rustix::process::Signal;
use world::*;

/// Far below what the calls of a healthy shim have, far above what killing takes.
const SOON: Duration = Duration::from_secs(40);

fn impatient(options: &mut runtime::RuntimeOptions) {
    options.timeouts.kill = Duration::from_millis(300);
    options.timeouts.load = Duration::from_millis(300);
}

#[test]
fn a_container_of_a_frozen_shim_can_be_killed() {
    let world = World::new(GO_SHIM);
    let mut daemon = world.daemon_with(|options| options.timeouts.kill = Duration::from_millis(300));
    let pid = daemon.create(world.container("c1", "busybox sleep 1000 & busybox sleep 1000")).unwrap();
    daemon.start("c1");
    let shim = daemon.endpoint("c1").shim_pid as i32;
    daemon.events_until("/tasks/start");
    freeze(shim);
    let begin = Instant::now();
    let (runtime, ns) = (daemon.runtime.clone(), daemon.namespace.clone());
    let kill = |exec: &str, signal, all| daemon.run(runtime.kill(&ns, "c1", exec, signal, all));
    let polite = kill("", 15, false).unwrap_err();
    assert_eq!(polite.kind(), ErrorKind::DeadlineExceeded);
    assert_eq!(polite.to_string(), "shim did not answer Kill within 900ms");
    assert_eq!(
        kill("e1", 9, false).unwrap_err().kind(),
        ErrorKind::DeadlineExceeded,
        "only the shim knows execs"
    );
    assert!(alive(pid));
    kill("", 9, true).unwrap();
    eventually("it is dead", || (!alive(pid)).then_some(()));
    kill("", 9, false).unwrap();
    assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
    signal(shim, Signal::CONT);
    assert_eq!(daemon.wait("c1").status, 137);
    assert_eq!(daemon.delete("c1").unwrap().status, 137);
    let events = daemon.events_until("/tasks/delete");
    assert_eq!(exits(&events).len(), 1);
    world.assert_clean();
}

#[test]
fn a_container_whose_shim_was_set_aside_can_be_killed() {
    let world = World::new(GO_SHIM);
    let first = world.daemon();
    let pid = first.create(world.container("c1", "busybox sleep 1000")).unwrap();
    first.start("c1");
    let shim = first.endpoint("c1").shim_pid as i32;
    freeze(shim);
    drop(first);
    let second = world.daemon_with(impatient);
    assert_eq!(second.recover(), Recovered { aside: 1, ..Recovered::default() });
    let (runtime, ns) = (second.runtime.clone(), second.namespace.clone());
    let polite = second.run(runtime.kill(&ns, "c1", "", 15, false)).unwrap_err();
    assert_eq!(polite.kind(), ErrorKind::Unavailable, "{polite}");
    assert!(alive(pid));
    second.kill("c1").unwrap();
    eventually("it is dead", || (!alive(pid)).then_some(()));
    signal(shim, Signal::CONT);
    eventually("it is taken back", || (second.status("c1").ok()? == Status::Stopped).then_some(()));
    assert_eq!(second.wait("c1").status, 137);
    second.delete("c1").unwrap();
    world.assert_clean();
}

#[test]
fn the_records_of_a_dead_shim_tell_how_its_processes_ended() {
    let world = World::new(GO_SHIM);
    let mut daemon = world.daemon();
    let pid = daemon.create(world.container("c1", "busybox sleep 1000")).unwrap();
    daemon.start("c1");
    let (runtime, ns) = (daemon.runtime.clone(), daemon.namespace.clone());
    let process =
        r#"{"args":["/bin/busybox","sleep","1000"],"cwd":"/","user":{"uid":0,"gid":0},"env":["PATH=/bin"]}"#;
    let mut exec_pids = Vec::new();
    for exec_id in ["ended", "ran"] {
        let spec = Some(base::Any::new(base::any::type_url::PROCESS, process));
        let exec = ExecRequest { exec_id: exec_id.to_owned(), spec, ..ExecRequest::default() };
        daemon.run(runtime.exec(&ns, "c1", exec)).unwrap();
        exec_pids.push(daemon.run(runtime.start(&ns, "c1", exec_id)).unwrap());
    }
    let shim = daemon.endpoint("c1").shim_pid as i32;
    daemon.events_until("/tasks/exec-started");
    let waits: Vec<_> = ["", "ended", "ran"]
        .into_iter()
        .map(|exec_id| {
            let (runtime, ns) = (runtime.clone(), ns.clone());
            daemon.spawn(async move { runtime.wait(&ns, "c1", exec_id).await })
        })
        .collect();
    // As a shim that died between the record and the news of it.
    freeze(shim);
    let exits_dir = world.bundle("c1").join("exits");
    std::fs::create_dir(&exits_dir).unwrap();
    let record = |name: &str, pid, code, oom| {
        let text = format!(
            r#"{{"pid":{pid},"code":{code},"exited_at":"2023-11-14T22:13:20.000000005Z","oom":{oom}}}"#
        );
        std::fs::write(exits_dir.join(name), text).unwrap();
    };
    record("init.json", pid, 42, true);
    record("exec.ended.json", exec_pids[0], 3, false);
    signal(shim, Signal::KILL);
    let events = daemon.events_until("/tasks/delete");
    assert_eq!(topics(&events), ["/tasks/exit", "/tasks/oom", "/tasks/exit", "/tasks/delete"]);
    let told: Vec<_> = exits(&events).into_iter().map(|e| (e.id, e.pid, e.exit_status)).collect();
    assert_eq!(told, [("ended".to_owned(), exec_pids[0], 3), ("c1".to_owned(), pid, 42)]);
    assert!(exits(&events).iter().all(|e| e.exited_at.seconds == 1_700_000_000 && e.exited_at.nanos == 5));
    assert_eq!(deletes(&events)[0].exit_status, 42);
    let ends: Vec<_> = waits.into_iter().map(|w| daemon.run(w).unwrap().unwrap().status).collect();
    assert_eq!(ends, [42, 3, 137], "what was not written down was killed with the container");
    world.assert_clean();
}
