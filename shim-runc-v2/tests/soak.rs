//! A shim does not grow, does nothing while it is idle, and is small. `make soak` sets how much (the defaults are for every day):
//!
//! * `SOAK_EXECS`, `SOAK_CALLS`: how many; `SOAK_AT_ONCE`: how many execs side by side;
//! * `SOAK_RUNTIME`: the OCI runtime (`runc`); `light`: runc, but an exec is a process beside the container, which takes a tenth of
//!   the time and is the same to the shim; `SOAK_IDLE`: how many idle shims; `SOAK_REST`: seconds of rest;
//! * `SOAK_STRICT`: hold the promised numbers, those of time too. They are those of the static build (`SHIM_UNDER_TEST`).
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod driver;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use driver::*;

/// PSS and private dirty memory of a process, in KiB.
fn memory(pid: u32) -> (u64, u64) {
    (of_memory(pid, "Pss:"), of_memory(pid, "Private_Dirty:"))
}

/// The part of PSS that no program file has, and private dirty memory, in KiB: those of the program file are fewer the more
/// processes share it, and that is no growth.
fn own_memory(pid: u32) -> (u64, u64) {
    (of_memory(pid, "Pss_Anon:"), of_memory(pid, "Private_Dirty:"))
}

fn of_memory(pid: u32, key: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find(|l| l.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Pages of a program file that was written just now count as its processes' own until they are on disk.
fn on_disk(file: &std::path::Path) {
    std::fs::File::open(file).unwrap().sync_all().unwrap();
}

fn count(pid: u32, what: &str) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/{what}")).unwrap().count()
}

fn switches(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find(|l| l.starts_with("voluntary_ctxt_switches:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn setting(name: &str, default: u32) -> u32 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

fn strict() -> bool {
    std::env::var_os("SOAK_STRICT").is_some()
}

/// The shim, and whether it is the static build, which the promises are about: the one that `SHIM_UNDER_TEST` names, else that of
/// `make dist`, else the one that these tests were built with.
fn under_test() -> (PathBuf, bool) {
    if std::env::var_os("SHIM_UNDER_TEST").is_some() {
        return (shim().into(), true);
    }
    let dist =
        std::env::var_os("CONTAINERD_RS_DIST").map(|d| PathBuf::from(d).join("containerd-shim-runc-v2"));
    match dist.filter(|d| d.exists()) {
        Some(dist) => (dist, true),
        None => (shim().into(), false),
    }
}

/// See `SOAK_RUNTIME`.
fn runtime(place: &Place) -> String {
    match std::env::var("SOAK_RUNTIME") {
        Err(_) => "runc".to_owned(),
        Ok(name) if name == "light" => {
            use std::io::Write;
            use std::os::unix::fs::OpenOptionsExt;
            let path = place.dir.path().join("light");
            let body = "#!/bin/sh\ncase \"$*\" in *\" exec \"*) while [ \"$1\" != --pid-file ]; do shift; done\n\
                sh -c \"while kill -0 $$ 2>/dev/null; do :; done\" & echo $! > \"$2\";; *) exec runc \"$@\";; esac\n";
            let mut options = std::fs::OpenOptions::new();
            let mut file = options.write(true).create(true).truncate(true).mode(0o755).open(&path).unwrap();
            file.write_all(body.as_bytes()).unwrap();
            path.to_string_lossy().into_owned()
        }
        Ok(name) => name,
    }
}

/// Waits until the helper threads have ended and the event connection is closed.
async fn quiet(pid: u32) {
    eventually("one thread", || (count(pid, "task") == 1).then_some(())).await;
    // The event connection lingers for 2 s.
    tokio::time::sleep(Duration::from_secs(3)).await;
    eventually("one thread", || (count(pid, "task") == 1).then_some(())).await;
}

async fn some_execs(task: &Task, from: u32, to: u32) {
    let (lanes, mut running) = (setting("SOAK_AT_ONCE", 2), Vec::new());
    for lane in 0..lanes {
        let task = task.clone();
        running.push(tokio::spawn(async move {
            for n in (from..to).filter(|n| n % lanes == lane) {
                let id = format!("e{n}");
                task.exec("soak", &id, &["true"], |_| {}).await.unwrap();
                task.start("soak", &id).await.unwrap();
                assert_eq!(task.wait("soak", &id).await.unwrap().exit_status, 0);
                task.delete("soak", &id).await.unwrap();
            }
        }));
    }
    for lane in running {
        lane.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_small_after_many_execs_and_calls() {
    let (shim, is_static) = under_test();
    on_disk(&shim);
    let place = Place::of(shim).await;
    let bundle = place.bundle("soak", &["sleep", "100000000"]);
    let shim = place.start(&bundle);
    let task = shim.client().await;
    let mut request = bundle.create_request();
    request.options = Some(bundle.options(&runtime(&place))).into();
    task.create(&request).await.unwrap();
    task.start("soak", "").await.unwrap();
    let pid = task.shim_pid("soak").await;
    let (execs, calls) = (setting("SOAK_EXECS", 60), setting("SOAK_CALLS", 5000));
    some_execs(&task, 0, 20).await;
    for _ in 0..1000 {
        task.state("soak", "").await.unwrap();
    }
    place.seen.forget();
    quiet(pid).await;
    let (before, fds) = (own_memory(pid), count(pid, "fd"));
    let begun = Instant::now();
    let mut done = 0;
    while done < execs {
        let next = execs.min(done + 5000);
        some_execs(&task, done, next).await;
        done = next;
        place.seen.forget();
        println!("{done} execs, {:?}: PSS, private dirty {:?} KiB", begun.elapsed(), memory(pid));
    }
    let begun = Instant::now();
    for _ in 0..calls {
        task.state("soak", "").await.unwrap();
    }
    println!("{calls} calls, {:?}", begun.elapsed());
    quiet(pid).await;
    let after = own_memory(pid);
    println!(
        "anonymous PSS, private dirty {before:?} KiB -> {after:?} KiB, {fds} -> {} descriptors",
        count(pid, "fd")
    );
    // The promise is the static build's. glibc gives each thread that helps once an arena of its own.
    let slack = if is_static { 64 } else { 512 };
    assert!(
        after.0 <= before.0 + slack && after.1 <= before.1 + slack,
        "grew from {before:?} to {after:?} KiB"
    );
    eventually("no descriptor is left", || (count(pid, "fd") <= fds).then_some(())).await;
    assert!(fds <= 16 + 8, "{fds} descriptors, one container's among them");
    let (rest, mut woken) = (setting("SOAK_REST", 2), u64::MAX);
    // A machine that is busy with other things may have kept it from becoming idle yet.
    for _ in 0..5 {
        let last = switches(pid);
        tokio::time::sleep(Duration::from_secs(rest.into())).await;
        woken = switches(pid) - last;
        if woken == 0 {
            break;
        }
    }
    println!("woken {woken} times in {rest} s of rest");
    assert_eq!(woken, 0, "an idle shim is woken");
    task.kill("soak", "", 9).await.unwrap();
    task.wait("soak", "").await.unwrap();
    task.delete("soak", "").await.unwrap();
    task.shutdown("soak").await.unwrap();
    shim.gone().await;
}

fn median<T: Copy + Ord>(all: &mut [T]) -> T {
    all.sort();
    all[all.len() / 2]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_shims_are_small_and_quickly_there() {
    let (file, is_static) = under_test();
    on_disk(&file);
    let place = Place::of(&file).await;
    let number = setting("SOAK_IDLE", 4);
    let (mut shims, mut clients, mut spawns, mut starts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for n in 0..number {
        let bundle = place.bundle(&format!("idle{n}"), &["sleep", "100000000"]);
        // What a process costs on this machine, and then what a shim that answers does.
        let begun = Instant::now();
        assert!(std::process::Command::new(&file).arg("-v").output().unwrap().status.success());
        spawns.push(begun.elapsed());
        let begun = Instant::now();
        let started = place.start(&bundle);
        let task = started.client().await;
        task.connect("").await.unwrap();
        starts.push(begun.elapsed());
        task.create(&bundle.create_request()).await.unwrap();
        task.start(&bundle.id, "").await.unwrap();
        clients.push((task.shim_pid(&bundle.id).await, bundle.id.clone()));
        shims.push(started);
    }
    let mut sizes = Vec::new();
    for (pid, _) in &clients {
        eventually("one thread", || (count(*pid, "task") == 1).then_some(())).await;
    }
    quiet(clients[0].0).await;
    for (pid, _) in &clients {
        sizes.push((memory(*pid), count(*pid, "fd")));
    }
    let pss = median(&mut sizes.iter().map(|s| s.0.0).collect::<Vec<_>>());
    let dirty = median(&mut sizes.iter().map(|s| s.0.1).collect::<Vec<_>>());
    let fds = sizes.iter().map(|s| s.1).max().unwrap();
    let (spawn, start) = (median(&mut spawns), median(&mut starts));
    let size = std::fs::metadata(&file).unwrap().len();
    println!(
        "{number} idle shims: PSS {pss} KiB, private dirty {dirty} KiB, at most {fds} descriptors; binary {size} bytes"
    );
    println!("process {spawn:?}, start to an answer {start:?}, {:?} more", start.saturating_sub(spawn));
    assert!(fds <= 16);
    if is_static {
        assert!(dirty * 1024 <= 350_000, "{dirty} KiB");
        assert!(size <= 2_000_000, "{size} bytes");
    }
    if strict() {
        assert!(pss * 1024 <= 450_000, "{pss} KiB");
        assert!(start.saturating_sub(spawn) <= Duration::from_millis(5));
    }
    for (shim, (_, id)) in shims.iter().zip(&clients) {
        let task = shim.client().await;
        task.kill(id, "", 9).await.unwrap();
        task.wait(id, "").await.unwrap();
        task.delete(id, "").await.unwrap();
        task.shutdown(id).await.unwrap();
        shim.gone().await;
    }
}
