//! Whoever dies or stands still, in any order: each process has one exit, told once and in order, and nothing is left.
//!
//! The order comes from a seed, which is printed; `CRASH_SEED` repeats one, `CRASH_ROUNDS` makes more of them.

use std::collections::BTreeMap;
use std::time::Duration;

use protos::shim::events::{TaskDelete, TaskExecStarted, TaskExit, TaskStart};
use ttrpc::context;

use crate::driver::*;
use crate::parts::*;

/// A generator of orders (xorshift64*).
struct Seeded(u64);

impl Seeded {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % below
    }
}

fn seed() -> u64 {
    let given = std::env::var("CRASH_SEED").ok().and_then(|s| s.parse().ok());
    let now =
        || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = given.unwrap_or_else(now) | 1;
    println!("CRASH_SEED={seed}");
    seed
}

fn rounds(default: u64) -> u64 {
    std::env::var("CRASH_ROUNDS").ok().and_then(|s| s.parse().ok()).unwrap_or(default)
}

/// What has been seen to happen to the processes of one container.
#[derive(Default)]
struct Account {
    started: BTreeMap<String, u32>,
    codes: BTreeMap<String, u32>,
}

/// The processes of the runtime that work for this container now.
fn runtimes(place: &Place, id: &str) -> Vec<u32> {
    let root = text(&place.dir.path().join("runc"));
    let of = |pid: u32| {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let words = String::from_utf8_lossy(&words).into_owned();
        (words.contains(&root) && words.trim_end_matches('\0').ends_with(id)).then_some(pid)
    };
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    pids.filter_map(|e| e.file_name().to_string_lossy().parse().ok()).filter_map(of).collect()
}

fn signal_if_there(pid: u32, number: i32) {
    let _ = sys::pidfd::Pidfd::open(pid).and_then(|p| p.send_signal(number));
}

/// A logger that copies both streams to nowhere until they end.
fn logger(place: &Place) -> String {
    let body = format!(
        "echo $$ > {}/logger.pid; exec 5>&-; cat <&3 >/dev/null & cat <&4 >/dev/null; wait",
        text(place.dir.path())
    );
    format!("binary://{}", script(place, "logger", &body))
}

/// One thing that goes wrong, but for the shim's own death.
async fn strike(
    dice: &mut Seeded,
    place: &mut Place,
    shim: u32,
    bundle: &Bundle,
    account: &Account,
) -> &'static str {
    let pids: Vec<(String, u32)> = account.started.clone().into_iter().collect();
    match dice.next(6) {
        0 => {
            // The shim stands still for a moment; its clients wait.
            signal(shim, 19);
            tokio::time::sleep(Duration::from_millis(dice.next(40))).await;
            signal(shim, 18);
            "shim frozen"
        }
        1 => {
            let (_, pid) = &pids[dice.next(pids.len() as u64) as usize];
            if place_has(bundle, *pid) {
                signal_if_there(*pid, 9);
            }
            "process killed"
        }
        2 => {
            let (_, pid) = &pids[dice.next(pids.len() as u64) as usize];
            if place_has(bundle, *pid) {
                signal_if_there(*pid, 19);
                tokio::time::sleep(Duration::from_millis(dice.next(20))).await;
                signal_if_there(*pid, 18);
            }
            "process frozen"
        }
        3 => {
            runtimes(place, &bundle.id).into_iter().for_each(|pid| signal_if_there(pid, 9));
            "runtime killed"
        }
        4 => {
            place.daemon_goes().await;
            tokio::time::sleep(Duration::from_millis(dice.next(60))).await;
            place.daemon_comes().await;
            "daemon away"
        }
        _ => {
            if let Ok(pid) = std::fs::read_to_string(place.dir.path().join("logger.pid")) {
                let pid = pid.trim().parse().unwrap();
                // It may be gone, and its pid another's.
                if std::fs::read(format!("/proc/{pid}/cmdline"))
                    .is_ok_and(|c| String::from_utf8_lossy(&c).contains(&text(place.dir.path())))
                {
                    signal_if_there(pid, 9);
                }
            }
            "logger killed"
        }
    }
}

/// Whether a pid is (still) a process of the container.
fn place_has(bundle: &Bundle, pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|t| t.contains(&bundle.unique()))
}

/// A container with execs, while things go wrong. What started has one end.
async fn a_life(dice: &mut Seeded, place: &mut Place, task: &Task, shim: u32, bundle: &Bundle) -> Account {
    let (mut account, id) = (Account::default(), bundle.id.clone());
    let mut request = bundle.create_request();
    if dice.next(2) == 0 {
        request.stdout = logger(place);
    }
    let init = match task.create(&request).await {
        Ok(created) => created.pid,
        Err(e) => panic!("nothing was wrong yet: {e}"),
    };
    account.started.insert(id.clone(), init);
    let mut said = vec![strike(dice, place, shim, bundle, &account).await];
    let mut started = task.start(&id, "").await.is_ok();
    for n in 0..3 {
        // What goes wrong goes wrong beside the call.
        let exec = format!("{id}-e{n}");
        let code = dice.next(100) as u32;
        let body = format!("exit {code}");
        let wait = dice.next(2) == 0;
        let args = if wait { ["sleep", "1000", ""] } else { ["sh", "-c", body.as_str()] };
        let args = &args[..if wait { 2 } else { 3 }];
        if task.exec(&id, &exec, args, |_| {}).await.is_err() {
            continue;
        }
        let call = tokio::spawn({
            let (task, id, exec) = (task.clone(), id.clone(), exec.clone());
            async move { task.start(&id, &exec).await }
        });
        tokio::time::sleep(Duration::from_millis(dice.next(30))).await;
        said.push(strike(dice, place, shim, bundle, &account).await);
        match call.await.unwrap() {
            Ok(answer) => {
                account.started.insert(exec.clone(), answer.pid);
            }
            Err(_) => started &= task.state(&id, "").await.is_ok(),
        }
    }
    println!("{id}: {said:?}, start {started}");
    // The end of all of it: twice, for a signal may meet a process that is just being started.
    let begun = std::time::Instant::now();
    loop {
        let _ = task.kill(&id, "", 9).await;
        let mut wait = protos::shim::task_v3::WaitRequest::new();
        wait.id = id.clone();
        if let Ok(answer) = task.0.wait(context::with_timeout(2_000_000_000), &wait).await {
            account.codes.insert(id.clone(), answer.exit_status);
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{id} does not end");
    }
    for exec in account.started.keys().filter(|k| **k != id) {
        account.codes.insert(exec.clone(), task.wait(&id, exec).await.unwrap().exit_status);
    }
    account
}

/// Init, execs, runtime, logger and daemon die or stand still, and the shim stands still: exactly one exit for each process that
/// was, in order, and the shim cleans up by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_dies_each_process_has_one_exit() {
    let mut dice = Seeded(seed());
    let mut place = Place::new().await;
    let first = place.bundle("first", &["true"]);
    let address = place.start(&first).address;
    let task = Task::dial(&address, Version::V3).await.unwrap();
    let shim = task.shim_pid("first").await;
    for round in 0..rounds(8) {
        let bundle =
            place.bundle(&format!("c{round}"), &["sh", "-c", "while :; do echo line; sleep 0.01; done"]);
        let account = a_life(&mut dice, &mut place, &task, shim, &bundle).await;
        // A runtime that was killed at its work may leave a delete to be asked for again.
        let begun = std::time::Instant::now();
        while let Err(e) = task.delete(&bundle.id, "").await {
            assert!(begun.elapsed() < PATIENCE, "delete: {e}");
        }
        nothing_is_left(&place, &bundle).await;
        let id = bundle.id.clone();
        eventually("its delete is told", || {
            place.seen.all::<TaskDelete>().iter().any(|e| e.container_id == id).then_some(())
        })
        .await;
        let exits: Vec<TaskExit> =
            place.seen.all::<TaskExit>().into_iter().filter(|e| e.container_id == id).collect();
        for (name, pid) in &account.started {
            let of: Vec<_> = exits.iter().filter(|e| e.id == *name).collect();
            assert_eq!(of.len(), 1, "{name} has one exit");
            assert_eq!((of[0].pid, of[0].exit_status), (*pid, account.codes[name]), "{name}");
        }
        let known = account.started.keys().collect::<Vec<_>>();
        assert!(exits.iter().all(|e| known.contains(&&e.id)), "{exits:?}");
        assert_eq!(exits.last().unwrap().id, id, "the init's exit is the last");
        assert!(place.seen.all::<TaskStart>().iter().filter(|e| e.container_id == id).count() <= 1);
        let said = place.seen.all::<TaskExecStarted>();
        assert!(said.iter().filter(|e| e.container_id == id).count() < account.started.len());
    }
    task.shutdown("first").await.unwrap();
    drop(task);
    eventually("the shim leaves", || (!is_alive(shim)).then_some(())).await;
}

/// The shim itself dies at any moment of all that: `delete` finds the truth, and leaves nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shim_that_dies_among_others_leaves_nothing() {
    let mut dice = Seeded(seed());
    let mut place = Place::new().await;
    for round in 0..rounds(6) {
        let id = format!("d{round}");
        let bundle = place.bundle(&id, &["sh", "-c", "sleep 1000 & while :; do echo line; sleep 0.01; done"]);
        let address = place.start(&bundle).address;
        let task = Task::dial(&address, Version::V3).await.unwrap();
        let shim = task.shim_pid(&id).await;
        let mut request = bundle.create_request();
        if dice.next(2) == 0 {
            request.stdout = logger(&place);
        }
        let (mut account, ends) = (Account::default(), dice.next(3) == 0);
        if dice.next(4) > 0 {
            account.started.insert(id.clone(), task.create(&request).await.unwrap().pid);
            let _ = task.start(&id, "").await;
            strike(&mut dice, &mut place, shim, &bundle, &account).await;
        }
        let mut told = None;
        if ends && !account.started.is_empty() {
            let _ = task.kill(&id, "", 9).await;
            told = task.wait(&id, "").await.ok();
        }
        let beside = tokio::spawn({
            let (task, id) = (task.clone(), id.clone());
            let created = !account.started.is_empty();
            async move {
                if created {
                    let _ = task.exec(&id, "last", &["sleep", "1000"], |_| {}).await;
                    let _ = task.start(&id, "last").await;
                } else {
                    let _ = task.create(&request).await;
                }
            }
        });
        tokio::time::sleep(Duration::from_millis(dice.next(60))).await;
        // Half of the time it stands still first, so that its clients are in the middle of something.
        if dice.next(2) == 0 {
            signal(shim, 19);
        }
        signal(shim, 9);
        beside.await.unwrap();
        eventually("the shim is dead", || (!is_alive(shim)).then_some(())).await;
        let response = place.delete(&bundle);
        assert_eq!(response.exit_status, 137, "round {round}");
        if let Some(told) = told {
            assert_eq!(response.exited_at, told.exited_at, "the recorded end, not a new one");
        }
        nothing_is_left(&place, &bundle).await;
        eventually("no logger is left", || {
            let mine = text(&place.dir.path().join("logger"));
            let all = std::fs::read_dir("/proc").unwrap().flatten();
            (!all
                .filter_map(|e| std::fs::read(e.path().join("cmdline")).ok())
                .any(|c| String::from_utf8_lossy(&c).contains(&mine)))
            .then_some(())
        })
        .await;
    }
}

/// The daemon is away for long, and the queue is as full as it gets: exits are the last to go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_was_away_for_long_gets_every_exit() {
    let mut place = Place::new().await;
    let bundle = place.bundle("long", &["sleep", "1000"]);
    let address = place.start(&bundle).address;
    let task = Task::dial(&address, Version::V3).await.unwrap();
    begin(&task, &bundle).await;
    eventually("all so far is told", || (place.seen.topics().len() == 2).then_some(())).await;
    place.daemon_goes().await;
    // Thousands of events that tell of no exit, more than are kept; some exits before, between and after them.
    const EXITS: u32 = 6;
    const OTHERS: u32 = 1000;
    for n in 0..EXITS {
        let id = format!("e{n}");
        task.exec("long", &id, &["sh", "-c", &format!("exit {n}")], |_| {}).await.unwrap();
        task.start("long", &id).await.unwrap();
        assert_eq!(task.wait("long", &id).await.unwrap().exit_status, n);
        for m in 0..OTHERS {
            let id = format!("{n}-{m}{}", "x".repeat(60));
            task.exec("long", &id, &["true"], |_| {}).await.unwrap();
            task.delete("long", &id).await.unwrap();
        }
    }
    end(&task, "long").await;
    place.daemon_comes().await;
    let back = Task::dial(&address, Version::V3).await.unwrap();
    back.connect("long").await.unwrap();
    eventually("the last is told", || place.seen.all::<TaskDelete>().pop()).await;
    let exits = place.seen.all::<TaskExit>();
    let told: Vec<u32> = exits.iter().map(|e| e.exit_status).collect();
    assert_eq!(told, (0..EXITS).chain([137]).collect::<Vec<_>>(), "every exit, once, in order");
    assert!(place.seen.topics().len() < (EXITS * OTHERS) as usize, "the queue was full");
    task.shutdown("long").await.unwrap();
    let path = std::path::PathBuf::from(address.trim_start_matches("unix://"));
    eventually("the shim leaves", || (!path.exists()).then_some(())).await;
}
