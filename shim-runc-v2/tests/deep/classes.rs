//! The classes of asks 1 to 11 and 20 to 24 that no other test shows.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use protos::shim::events::{TaskExecStarted, TaskExit, TaskOOM};
use ttrpc::{Code, context};

use crate::driver::*;
use crate::parts::*;

/// Ask 3: watchers go with their container, and one that is made again under the same name is watched again.
#[tokio::test]
async fn watchers_go_with_their_container() {
    let place = Place::new().await;
    let first = place.bundle("first", &["true"]);
    let shim = place.start(&first);
    let task = shim.client().await;
    let pid = task.shim_pid("first").await;
    let bundle = place.bundle("again", &["true"]);
    std::os::unix::fs::symlink("busybox", bundle.dir.join("rootfs/bin/tail")).unwrap();
    let mut spec = bundle.spec(&["tail", "/dev/zero"]);
    spec["linux"]["resources"]["memory"] = serde_json::json!({"limit": 16 << 20});
    bundle.write_spec(&spec);
    let mut open = Vec::new();
    for round in 1..=3 {
        assert_eq!(task.run(&bundle.create_request()).await, 137);
        eventually("the kill is told", || (place.seen.all::<TaskOOM>().len() == round).then_some(())).await;
        // Everything that watched it is closed; the event connection may come and go.
        let sockets = |all: &[String]| all.iter().filter(|f| !f.starts_with("socket:")).count();
        let now = eventually("watchers are closed", || {
            let now = sockets(&descriptors(pid));
            (round == 1 || now <= open[0]).then_some(now)
        })
        .await;
        open.push(now);
    }
    leave(&shim, task, "first").await;
}

/// Asks 8 and 20: more exits at once than a queue of signals holds, while the daemon takes no events: each is told, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_of_exits_loses_none() {
    const MANY: u32 = 40;
    let mut place = Place::new().await;
    let bundle = place.bundle("burst", &["sleep", "1000"]);
    let gate = bundle.dir.join("rootfs/gate");
    run("mkfifo", &[&text(&gate)]);
    let (address, _) = place.run_start(&bundle, b"", &[]);
    let address = String::from_utf8(address).unwrap();
    let connect = async || Task::dial(&address, Version::V3).await.unwrap();
    let task = connect().await;
    begin(&task, &bundle).await;
    for n in 0..MANY {
        let id = format!("e{n}");
        // They wait for the gate and then all end together.
        let body = format!("read x < /gate; exit {n}");
        task.exec("burst", &id, &["sh", "-c", &body], |_| {}).await.unwrap();
        task.start("burst", &id).await.unwrap();
    }
    place.daemon_goes().await;
    // For reading too, so that it opens whoever is there; open until the last has read.
    let mut opened = OpenOptions::new().read(true).write(true).open(&gate).unwrap();
    opened.write_all(&[b'\n'; MANY as usize]).unwrap();
    for n in 0..MANY {
        assert_eq!(task.wait("burst", &format!("e{n}")).await.unwrap().exit_status, n);
    }
    end(&task, "burst").await;
    place.daemon_comes().await;
    let back = connect().await;
    back.connect("burst").await.unwrap();
    let exits = eventually("all exits are told", || {
        Some(place.seen.all::<TaskExit>()).filter(|e| e.len() > MANY as usize)
    })
    .await;
    let mut told = BTreeMap::new();
    for exit in &exits {
        assert!(told.insert(exit.id.clone(), exit.exit_status).is_none(), "{} is told twice", exit.id);
    }
    for n in 0..MANY {
        assert_eq!(told.get(&format!("e{n}")), Some(&n));
    }
    assert_eq!(exits.last().unwrap().id, "burst", "the init's comes last");
    task.shutdown("burst").await.unwrap();
    let path = std::path::PathBuf::from(address.trim_start_matches("unix://"));
    eventually("shim leaves", || (!path.exists()).then_some(())).await;
}

/// Ask 9: what a container leaves to the shim is collected, also when it was never the shim's to start.
#[tokio::test]
async fn no_zombie_stays_with_the_shim() {
    let place = Place::new().await;
    let bundle = place.bundle("orphans", &["true"]);
    // Without a PID namespace, orphans go to the nearest sub-reaper: the shim.
    let mut spec = bundle.spec(&["sh", "-c", "for i in 1 2 3 4 5; do (sh -c 'exit 3' &); done; sleep 1000"]);
    spec["linux"]["namespaces"] = serde_json::json!([{"type": "mount"}, {"type": "uts"}]);
    bundle.write_spec(&spec);
    let shim = place.start(&bundle);
    let task = shim.client().await;
    let pid = task.shim_pid("orphans").await;
    begin(&task, &bundle).await;
    let zombies = || {
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        let pids = children.split_whitespace().map(|p| p.parse::<u32>().unwrap());
        pids.filter(|p| sys::process::proc_stat(*p).is_ok_and(|s| s.is_zombie())).count()
    };
    eventually("only the sleeping ones are left", || {
        (in_cgroup(&bundle).len() <= 2 && zombies() == 0).then_some(())
    })
    .await;
    end(&task, "orphans").await;
    eventually("none at the end", || (zombies() == 0).then_some(())).await;
    // The kernel takes the containers before their shim, and the shim before the daemon.
    let score: i32 =
        std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap().trim().parse().unwrap();
    let ours: i32 = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap().trim().parse().unwrap();
    assert_eq!(score, (ours + 1).min(1000));
    leave(&shim, task, "orphans").await;
}

/// Ask 10 (rust-ext#59): a stdin that nobody writes or closes holds up no exit, and no descriptor stays.
#[tokio::test]
async fn a_stdin_that_nobody_writes_holds_up_no_exit() {
    let place = Place::new().await;
    let bundle = place.bundle("mute", &["sleep", "1000"]);
    let shim = place.start(&bundle);
    let task = shim.client().await;
    let pid = task.shim_pid("mute").await;
    let mut request = bundle.create_request();
    request.stdin = text(&bundle.fifo("in"));
    task.create(&request).await.unwrap();
    task.start("mute", "").await.unwrap();
    let fifo = bundle.fifo("exec-in");
    task.exec("mute", "reads", &["sh", "-c", "exit 5"], |r| r.stdin = text(&fifo)).await.unwrap();
    task.start("mute", "reads").await.unwrap();
    assert_eq!(task.wait("mute", "reads").await.unwrap().exit_status, 5);
    assert_eq!(place.seen.exit_of("reads").await.exit_status, 5);
    task.delete("mute", "reads").await.unwrap();
    end(&task, "mute").await;
    let held = |f: &String| f.ends_with("/in") || f.ends_with("/exec-in");
    eventually("the fifos are closed", || (!descriptors(pid).iter().any(held)).then_some(())).await;
    leave(&shim, task, "mute").await;
}

/// Ask 10 (rust-ext#425) and ask 21: a runtime that hangs in `start` or `kill` keeps no signal from an init.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_does_not_wait_for_the_runtime() {
    let place = Place::new().await;
    let bundle = place.bundle("held", &["sleep", "1000"]);
    let shim = place.start(&bundle);
    let task = shim.client().await;
    // The real runtime, but for what hangs.
    let hung = place.dir.path().join("hung");
    let body = format!(
        "case \"$*\" in *\" start \"*|*\" kill \"*) touch {}; exec sleep 1000;; *) exec runc \"$@\";; esac",
        hung.display()
    );
    let mut request = bundle.create_request();
    request.options = Some(bundle.options(&script(&place, "half-runc", &body))).into();
    let pid = task.create(&request).await.unwrap().pid;
    let hanging = tokio::spawn({
        let task = task.clone();
        async move {
            let mut start = protos::shim::task_v3::StartRequest::new();
            start.id = "held".into();
            task.0.start(context::with_timeout(3_000_000_000), &start).await
        }
    });
    eventually("the runtime hangs", || hung.exists().then_some(())).await;
    task.kill("held", "", 9).await.unwrap();
    eventually("init is dead", || (!is_alive(pid)).then_some(())).await;
    assert!(hanging.await.unwrap().is_err());
    assert_eq!(task.wait("held", "").await.unwrap().exit_status, 137);
    task.delete("held", "").await.unwrap();
    nothing_is_left(&place, &bundle).await;
    leave(&shim, task, "held").await;
}

/// Ask 10 (SIGPIPE storm): the daemon reads our log and goes; the shim goes on, and what it writes is dropped, not waited for.
#[tokio::test]
async fn a_log_that_nobody_reads_stops_nothing() {
    let place = Place::new().await;
    let bundle = place.bundle("chatty", &["sleep", "1000"]);
    let mut log = OpenOptions::new().read(true).custom_flags(0o4000).open(bundle.dir.join("log")).unwrap();
    let shim = place.start(&bundle);
    let task = shim.client().await;
    let pid = begin(&task, &bundle).await;
    let shim_pid = task.shim_pid("chatty").await;
    let _ = log.read(&mut [0; 1024]);
    drop(log);
    // Far more than a pipe holds.
    for _ in 0..2000 {
        signal(shim_pid, 10);
    }
    assert_eq!(task.state("chatty", "").await.unwrap().pid, pid);
    end(&task, "chatty").await;
    leave(&shim, task, "chatty").await;
}

/// Ask 10 (ptmx opened twice): one master for each terminal, none after it.
#[tokio::test]
async fn a_terminal_is_open_once_and_then_not_at_all() {
    let place = Place::new().await;
    let bundle = place.bundle("tty", &["sleep", "1000"]);
    let mut spec = bundle.spec(&[]);
    spec["process"] = process(&["sleep", "1000"], true);
    bundle.write_spec(&spec);
    let shim = place.start(&bundle);
    let task = shim.client().await;
    let pid = task.shim_pid("tty").await;
    let masters = || descriptors(pid).iter().filter(|f| f.contains("ptmx")).count();
    let mut request = bundle.create_request();
    request.terminal = true;
    request.stdout = text(&bundle.fifo("out"));
    task.create(&request).await.unwrap();
    task.start("tty", "").await.unwrap();
    assert_eq!(masters(), 1);
    for n in 0..3 {
        let id = format!("e{n}");
        task.exec("tty", &id, &["sh", "-c", "exit 0"], |r| r.terminal = true).await.unwrap();
        task.start("tty", &id).await.unwrap();
        task.wait("tty", &id).await.unwrap();
        task.delete("tty", &id).await.unwrap();
    }
    eventually("those of the execs are closed", || (masters() == 1).then_some(())).await;
    end(&task, "tty").await;
    eventually("all are closed", || (masters() == 0).then_some(())).await;
    leave(&shim, task, "tty").await;
}

/// Ask 10 (leftover mounts): what was mounted below the rootfs goes with it.
#[tokio::test]
async fn mounts_below_the_rootfs_go_with_it() {
    let place = Place::new().await;
    let bundle = place.bundle("nested", &["sleep", "1000"]);
    let shim = place.start(&bundle);
    let task = shim.client().await;
    let source = place.dir.path().join("source");
    std::fs::rename(bundle.dir.join("rootfs"), &source).unwrap();
    let mut mount = protos::shim::types::Mount::new();
    (mount.type_, mount.source) = ("bind".into(), text(&source));
    mount.options = vec!["rbind".into(), "rw".into()];
    let mut request = bundle.create_request();
    request.rootfs.push(mount);
    task.create(&request).await.unwrap();
    task.start("nested", "").await.unwrap();
    // As an operator or a plugin does: behind the shim's back, one on the other.
    let below = text(&bundle.dir.join("rootfs/tmp"));
    run("mount", &["-t", "tmpfs", "tmpfs", &below]);
    std::fs::create_dir(bundle.dir.join("rootfs/tmp/deeper")).unwrap();
    run("mount", &["-t", "tmpfs", "tmpfs", &format!("{below}/deeper")]);
    assert_eq!(mounts_below(&bundle.dir.join("rootfs")).len(), 3);
    end(&task, "nested").await;
    nothing_is_left(&place, &bundle).await;
    leave(&shim, task, "nested").await;
}

/// A runtime that makes the container and then fails: what it made is taken away again.
#[tokio::test]
async fn a_runtime_that_fails_half_way_leaves_nothing() {
    let place = Place::new().await;
    let bundle = place.bundle("half", &["sh", "-c", "exit 3"]);
    let shim = place.start(&bundle);
    let task = shim.client().await;
    let mut request = bundle.create_request();
    for (name, how) in [("fails", "exit 1"), ("dies", "kill -9 $$")] {
        let body = format!(
            "case \"$*\" in *\" create \"*) runc \"$@\" || exit 9; {how};; *) exec runc \"$@\";; esac"
        );
        request.options = Some(bundle.options(&script(&place, name, &body))).into();
        let (code, message) = refusal(task.create(&request).await);
        assert_eq!(code, Code::UNKNOWN);
        assert!(message.starts_with("OCI runtime create failed: "), "{message}");
        nothing_is_left(&place, &bundle).await;
        assert_eq!(refusal(task.state("half", "").await).0, Code::NOT_FOUND);
    }
    request.options = Some(bundle.options("")).into();
    assert_eq!(task.run(&request).await, 3, "the name is free");
    assert_eq!(place.seen.all::<TaskExit>().len(), 1, "what never was has no exit");
    leave(&shim, task, "half").await;
}

/// Ask 22 (ctrd#4434): a runtime that prints a megabyte before the container's streams are read does not block on it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runtime_that_prints_more_than_a_pipe_holds() {
    let place = Place::new().await;
    let bundle = place.bundle("wordy", &["sh", "-c", "echo done; exit 7"]);
    let shim = place.start(&bundle);
    let task = shim.client().await;
    let mut request = bundle.create_request();
    request.stdout = text(&bundle.fifo("out"));
    request.stderr = text(&bundle.fifo("err"));
    let readers = [collect(&bundle.dir.join("out")), collect(&bundle.dir.join("err"))];
    let body = "case \"$*\" in *\" create \"*) head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2;; esac; exec runc \"$@\"";
    request.options = Some(bundle.options(&script(&place, "wordy-runc", body))).into();
    assert_eq!(task.run(&request).await, 7);
    let [out, err] = readers.map(|r| r.join().unwrap());
    assert_eq!((out.len(), err.len()), (1_000_005, 1_000_000));
    assert!(out.ends_with(b"done\n"));
    // And one that fails behind it still has its say.
    let body = "head -c 1000000 /dev/zero >&2; while [ $# -gt 0 ]; do [ \"$1\" = --log ] && log=$2; shift; done; \
        head -c 1000000 /dev/zero > $log; echo >> $log; echo '{\"level\":\"error\",\"msg\":\"my own words\"}' >> $log; exit 1";
    let other = place.bundle("wordy2", &["true"]);
    let mut request = other.create_request();
    request.options = Some(other.options(&script(&place, "wordy-failure", body))).into();
    assert_eq!(refusal(task.create(&request).await).1, "OCI runtime create failed: my own words");
    leave(&shim, task, "wordy").await;
}

/// Ask 23: an exec whose start is given up leaves no process, file or descriptor, however often.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_that_time_out_leave_nothing() {
    let place = Place::new().await;
    let bundle = place.bundle("probed", &["sleep", "1000"]);
    let shim = place.start(&bundle);
    let task = shim.client().await;
    let pid = task.shim_pid("probed").await;
    let mut request = bundle.create_request();
    let body = "case \"$*\" in *\" exec \"*) exec sleep 1000;; *) exec runc \"$@\";; esac";
    request.options = Some(bundle.options(&script(&place, "no-exec", body))).into();
    task.create(&request).await.unwrap();
    task.start("probed", "").await.unwrap();
    let mut open = 0;
    for n in 0..3 {
        let (id, fifo) = (format!("p{n}"), bundle.fifo(&format!("out{n}")));
        task.exec("probed", &id, &["true"], |r| r.stdout = text(&fifo)).await.unwrap();
        let mut start = protos::shim::task_v3::StartRequest::new();
        (start.id, start.exec_id) = ("probed".into(), id.clone());
        assert!(task.0.start(context::with_timeout(300_000_000), &start).await.is_err());
        // Delete waits for its turn: the start that the client gave up ends by itself.
        task.delete("probed", &id).await.unwrap();
        assert_eq!(refusal(task.state("probed", &id).await).0, Code::NOT_FOUND);
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        assert_eq!(children.split_whitespace().count(), 1, "only the init is left: {children}");
        let now = descriptors(pid).iter().filter(|f| !f.starts_with("socket:")).count();
        if n == 0 {
            open = now;
        }
        assert!(now <= open, "{:?}", descriptors(pid));
    }
    let files: Vec<_> = std::fs::read_dir(&bundle.dir).unwrap().flatten().map(|e| e.file_name()).collect();
    assert!(!files.iter().any(|f| f.to_string_lossy().contains("process.json")), "{files:?}");
    assert!(place.seen.all::<TaskExecStarted>().is_empty());
    end(&task, "probed").await;
    leave(&shim, task, "probed").await;
}

/// Ask 4: nothing wakes a shim that has nothing to do, also with streams whose other side is gone.
#[tokio::test]
async fn an_idle_shim_sleeps() {
    let place = Place::new().await;
    let bundle = place.bundle("idle", &["sleep", "1000"]);
    let shim = place.start(&bundle);
    let task = shim.client().await;
    let pid = task.shim_pid("idle").await;
    let mut request = bundle.create_request();
    request.stdin = text(&bundle.fifo("in"));
    request.stdout = text(&bundle.fifo("out"));
    task.create(&request).await.unwrap();
    task.start("idle", "").await.unwrap();
    // A client of each stream that came and went.
    drop(OpenOptions::new().write(true).open(&request.stdin).unwrap());
    drop(OpenOptions::new().read(true).open(&request.stdout).unwrap());
    drop(task);
    let threads = || std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().count();
    // The helper threads end, the event connection is closed.
    let quiet = || (threads() == 1).then(|| status_of(pid, "voluntary_ctxt_switches:"));
    let begun = Instant::now();
    let mut last = eventually("one thread", quiet).await;
    loop {
        tokio::time::sleep(Duration::from_secs(4)).await;
        let now = eventually("one thread", quiet).await;
        if now == last {
            break;
        }
        // It was not idle yet (a lingering connection); but it must become so.
        assert!(begun.elapsed() < PATIENCE, "woken {} times in 4 s", now - last);
        last = now;
    }
    let task = shim.client().await;
    end(&task, "idle").await;
    leave(&shim, task, "idle").await;
}
