//! What a container and its processes go through when all goes well.

use integration::shim::{Task, eventually, forever, is_alive};
use protos::shim::any::is;
use protos::shim::events::{TaskExit, TaskStart};
use protos::shim::options::ProcessDetails;
use protos::shim::task_v3::{KillRequest, StateResponse};
use protos::shim::{Timestamp, cgroups_v1};

use crate::stage::{Stage, Subject, all, said};

/// What State tells, with the pid as a word.
pub(crate) fn shown(answer: &ttrpc::Result<StateResponse>) -> String {
    let Ok(s) = answer else { return said(answer) };
    let pid = if s.pid > 0 { "pid" } else { "no pid" };
    format!(
        "{} {:?} {pid} {} {}",
        s.id,
        s.status.enum_value_or_default(),
        s.exit_status,
        time(s.exited_at.as_ref())
    )
}

/// Whether a time is one.
fn time(stamp: Option<&Timestamp>) -> &'static str {
    match stamp {
        None => "no time",
        Some(stamp) if stamp.seconds == -62_135_596_800 => "Go's zero time",
        Some(stamp) if stamp.seconds < 1_000_000_000 => "a wrong time",
        Some(_) => "a time",
    }
}

pub(crate) async fn one_life(stage: &mut Stage) {
    let bundle = stage.bundle("life", &["sh", "-c", "exit 7"]);
    let (_, task) = stage.shim(&bundle).await;
    let created = task.create(&bundle.create_request()).await.unwrap().pid;
    stage.check("create gives the pid of a living process", format!("{}", is_alive(created)), all("true"));
    let got = shown(&task.state("life", "").await);
    stage.check("state of what was created", got, all("life CREATED pid 0 Go's zero time"));
    let got = task.state("life", "").await.unwrap();
    let streams = format!("{:?} {:?} {:?} {}", got.stdin, got.stdout, got.stderr, got.terminal);
    stage.check("its bundle", got.bundle, all("DIR/life"));
    stage.check("its streams", streams, all("\"\" \"\" \"\" false"));
    for file in ["init.pid", "log.json", "options.json", "runtime"] {
        let there = bundle.dir.join(file).exists();
        let case = Box::leak(format!("the bundle's file {file}").into_boxed_str());
        stage.check(case, format!("{there}"), all("true"));
    }
    let started = task.start("life", "").await.unwrap().pid;
    stage.check("start gives the same pid", format!("{}", started == created), all("true"));
    let waited = task.wait("life", "").await.unwrap();
    let got = format!("{} {}", waited.exit_status, time(waited.exited_at.as_ref()));
    stage.check("wait", got, all("7 a time"));
    let got = shown(&task.state("life", "").await);
    stage.check("state of what has ended", got, all("life STOPPED pid 7 a time"));
    let again = task.wait("life", "").await.unwrap();
    stage.check("a second wait", format!("{}", again == waited), all("true"));
    let deleted = task.delete("life", "").await.unwrap();
    let got = format!(
        "{} {} {}",
        deleted.exit_status,
        deleted.pid == created,
        deleted.exited_at == waited.exited_at
    );
    stage.check("delete", got, all("7 true true"));
    stage.check(
        "state of what was deleted",
        said(&task.state("life", "").await),
        all("NotFound: container not created: not found"),
    );
    stage.check(
        "delete of it",
        said(&task.delete("life", "").await),
        all("NotFound: container not created: not found"),
    );
    eventually("all is told", || (stage.place.seen.topics().len() >= 4).then_some(())).await;
    let told = stage.place.seen.topics().join(" ");
    stage.check("what was told", told, all("/tasks/create /tasks/start /tasks/exit /tasks/delete"));
    let exit = stage.place.seen.all::<TaskExit>().remove(0);
    let same = exit.exited_at == waited.exited_at;
    let got =
        format!("{} {} {} {} {same}", exit.container_id, exit.id, exit.pid == created, exit.exit_status);
    stage.check("what the exit said", got, all("life life true 7 true"));
    let pid = task.shim_pid("life").await;
    stage.check("the pid that connect gives then", format!("{}", is_alive(pid)), all("true"));
    let _ = task.shutdown("life").await;
    eventually("the shim leaves", || (!is_alive(pid)).then_some(())).await;
}

/// Processes that die at once have a start before their exit, and each one exit.
pub(crate) async fn quick_deaths(stage: &mut Stage) {
    let first = stage.bundle("q0", &["true"]);
    let (_, task) = stage.shim(&first).await;
    let mut codes = vec![task.run(&first.create_request()).await];
    for n in 1..6 {
        let bundle = stage.bundle(&format!("q{n}"), &["sh", "-c", &format!("exit {n}")]);
        codes.push(task.run(&bundle.create_request()).await);
    }
    stage.check("their codes", format!("{codes:?}"), all("[0, 1, 2, 3, 4, 5]"));
    eventually("all is told", || (stage.place.seen.topics().len() >= 24).then_some(())).await;
    for id in 0..6 {
        let id = format!("q{id}");
        let events = stage.place.seen.since(0);
        let at = |found: &dyn Fn(&protos::shim::types::Envelope) -> bool| events.iter().position(found);
        let start =
            at(&|e| is::<TaskStart>(&e.event) && String::from_utf8_lossy(&e.event.value).contains(&id));
        let exit = at(&|e| is::<TaskExit>(&e.event) && String::from_utf8_lossy(&e.event.value).contains(&id));
        assert!(start.is_some() && start < exit, "{id}: start {start:?}, exit {exit:?}");
    }
    let exits = stage.place.seen.all::<TaskExit>().len();
    stage.check("exits of six lives", format!("{exits}"), all("6"));
    let _ = task.shutdown("q0").await;
}

pub(crate) async fn numbers_and_pids(stage: &mut Stage) {
    let (_bundle, task) = stage.running("num", &["sleep", "1000"]).await;
    task.exec("num", "side", &["sleep", "1000"], |_| {}).await.unwrap();
    let exec = task.start("num", "side").await.unwrap().pid;
    let pids = task.pids("num").await.unwrap().processes;
    stage.check("how many pids", format!("{}", pids.len()), all("2"));
    let info = pids.iter().find(|p| p.pid == exec).and_then(|p| p.info.as_ref());
    let url = info.map(|any| any.type_url.clone()).unwrap_or_default();
    stage.check("type of an exec's details", url, all("containerd.runc.v1.ProcessDetails"));
    let details: Option<ProcessDetails> = info.and_then(|any| protos::shim::any::unpack(any).ok());
    stage.check("the exec that they name", details.map(|d| d.exec_id).unwrap_or_default(), all("side"));
    let plain = pids.iter().filter(|p| p.info.is_none()).count();
    stage.check("pids without details", format!("{plain}"), all("1"));
    let connected = task.connect("num").await.unwrap();
    let state = task.state("num", "").await.unwrap();
    stage.check("connect knows the init", format!("{}", connected.task_pid == state.pid), all("true"));
    stage.check("the version that connect gives", connected.version, all(""));

    let stats = task.stats("num").await.unwrap().stats.unwrap();
    stage.check("type of the numbers", stats.type_url.clone(), all("io.containerd.cgroups.v1.Metrics"));
    let m: cgroups_v1::Metrics = protos::shim::any::unpack(&stats).unwrap();
    let got = format!(
        "pids {} memory {} cpu {} per cpu {}",
        m.pids.current >= 2,
        m.memory.usage.usage > 0,
        m.cpu.usage.total > 0,
        !m.cpu.usage.per_cpu.is_empty()
    );
    stage.check("the numbers", got, all("pids true memory true cpu true per cpu true"));
    stage.check(
        "resources",
        said(&task.update("num", br#"{"pids":{"limit":77},"memory":{"limit":33554432}}"#).await),
        all("ok"),
    );
    let stats = task.stats("num").await.unwrap().stats.unwrap();
    let m: cgroups_v1::Metrics = protos::shim::any::unpack(&stats).unwrap();
    let got = format!("{} {}", m.pids.limit, m.memory.usage.limit);
    stage.check("the numbers after that", got, all("77 33554432"));
    task.kill("num", "side", 9).await.unwrap();
    task.wait("num", "side").await.unwrap();
    task.delete("num", "side").await.unwrap();
    stage.over(&task, "num").await;
}

pub(crate) async fn frozen(stage: &mut Stage) {
    let (_bundle, task) = stage.running("ice", &["sleep", "1000"]).await;
    task.exec("ice", "old", &["sleep", "1000"], |_| {}).await.unwrap();
    task.start("ice", "old").await.unwrap();
    stage.check("pause", said(&task.pause("ice").await), all("ok"));
    let got = task.state("ice", "").await.unwrap().status.enum_value_or_default();
    stage.check("state when paused", format!("{got:?}"), all("PAUSED"));
    let got = task.state("ice", "old").await.unwrap().status.enum_value_or_default();
    stage.check("state of an exec when paused", format!("{got:?}"), all("PAUSED"));
    stage.check(
        "pause again",
        said(&task.pause("ice").await),
        all("Unknown: cannot pause a paused container"),
    );
    stage.check(
        "exec when paused",
        said(&task.exec("ice", "x", &["true"], |_| {}).await),
        all("Unknown: cannot exec in a paused state"),
    );
    stage.check(
        "start when paused",
        said(&task.start("ice", "").await),
        all("Unknown: cannot start a paused process"),
    );
    stage.check(
        "delete when paused",
        said(&task.delete("ice", "").await),
        all("Unknown: cannot delete a paused process"),
    );
    stage.check("stats when paused", said(&task.stats("ice").await), all("ok"));
    stage.check("pids when paused", said(&task.pids("ice").await), all("ok"));
    stage.check(
        "update when paused",
        said(&task.update("ice", br#"{"pids":{"limit":99}}"#).await),
        all("ok"),
    );
    stage.check("resume", said(&task.resume("ice").await), all("ok"));
    let got = task.state("ice", "").await.unwrap().status.enum_value_or_default();
    stage.check("state when resumed", format!("{got:?}"), all("RUNNING"));
    stage.check(
        "resume again",
        said(&task.resume("ice").await),
        all("Unknown: cannot resume a running process"),
    );
    eventually("all is told", || (stage.place.seen.topics().len() >= 6).then_some(())).await;
    let told = stage.place.seen.topics()[2..6].join(" ");
    stage.check(
        "what was told",
        told,
        all("/tasks/exec-added /tasks/exec-started /tasks/paused /tasks/resumed"),
    );
    task.pause("ice").await.unwrap();
    stage.check("kill when paused", said(&task.kill("ice", "", 9).await), all("ok"));
    // Frozen processes die when they thaw; a daemon resumes what it has killed, where the shim does not.
    if stage.subject != Subject::Ours {
        let _ = task.resume("ice").await;
    }
    let got = task.wait("ice", "").await.unwrap().exit_status;
    stage.check("its exit", format!("{got}"), all("137"));
    stage.check(
        "the exec's end",
        format!("{}", task.wait("ice", "old").await.unwrap().exit_status),
        all("137"),
    );
    task.delete("ice", "old").await.unwrap();
    stage.over(&task, "ice").await;
}

fn kill(id: &str, signal: u32, all: bool) -> KillRequest {
    let mut request = KillRequest::new();
    (request.id, request.signal, request.all) = (id.to_owned(), signal, all);
    request
}

pub(crate) async fn signals(stage: &mut Stage) {
    let script = "trap 'exit 12' USR1; : > /ready; sleep 1000 & while :; do wait; done";
    let (bundle, task) = stage.running("sig", &["sh", "-c", script]).await;
    let send =
        async |task: &Task, signal, all| said(&task.0.kill(forever(), &kill("sig", signal, all)).await);
    stage.check("signal 0", send(&task, 0, false).await, all("ok"));
    stage.check(
        "signal 200",
        send(&task, 200, false).await,
        all("Unknown: unknown error after kill: *invalid argument*"),
    );
    stage.check("a signal that no number holds", send(&task, 4_000_000_000, false).await, all("Unknown: *"));
    stage.check("signal 0 to all", send(&task, 0, true).await, all("ok"));
    let ready = bundle.dir.join("rootfs/ready");
    eventually("the handler is set", || ready.exists().then_some(())).await;
    stage.check("signals that its process starts with blocked", blocked(&task).await, all("none"));
    stage.check("a signal that is handled", send(&task, 10, false).await, all("ok"));
    let got = task.wait("sig", "").await.unwrap().exit_status;
    stage.check("the status that the handler chose", format!("{got}"), all("12"));
    stage.check(
        "kill of what has ended",
        send(&task, 9, false).await,
        all("NotFound: process already finished: not found"),
    );
    task.delete("sig", "").await.unwrap();
    let (_bundle, other) = stage.running("every", &["sh", "-c", "sleep 1000 & sleep 1000"]).await;
    let got = said(&task.state("every", "").await);
    stage.check(
        "a shim knows its own containers only",
        got,
        all("NotFound: container not created: not found"),
    );
    stage.check("SIGKILL to all", said(&other.0.kill(forever(), &kill("every", 9, true)).await), all("ok"));
    let got = other.wait("every", "").await.unwrap().exit_status;
    stage.check("the status of SIGKILL to all", format!("{got}"), all("137"));
    stage.over(&other, "every").await;
    let _ = task.shutdown("sig").await;
}

/// The signals that the first process of container `sig` has blocked, by its own choice none.
async fn blocked(task: &Task) -> String {
    let pid = task.state("sig", "").await.unwrap().pid;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let mask = status.lines().find_map(|l| l.strip_prefix("SigBlk:")).unwrap().trim().to_owned();
    if mask.bytes().all(|b| b == b'0') { "none".to_owned() } else { mask }
}

/// Many may wait, also for what has not begun; a client that goes takes nobody with it.
pub(crate) async fn waiting(stage: &mut Stage) {
    let bundle = stage.bundle("wait", &["sleep", "1000"]);
    let (address, task) = stage.shim(&bundle).await;
    task.create(&bundle.create_request()).await.unwrap();
    let wait = |task: Task| tokio::spawn(async move { task.wait("wait", "").await.map(|w| w.exit_status) });
    let early: Vec<_> = (0..3).map(|_| wait(task.clone())).collect();
    let leaver = Task::dial(&address, stage.version).await.unwrap();
    let left = wait(leaver.clone());
    task.start("wait", "").await.unwrap();
    left.abort();
    drop(leaver);
    task.kill("wait", "", 9).await.unwrap();
    let mut codes = Vec::new();
    for waiter in early {
        codes.push(waiter.await.unwrap().unwrap());
    }
    stage.check("what three were told", format!("{codes:?}"), all("[137, 137, 137]"));
    stage.over(&task, "wait").await;
}
