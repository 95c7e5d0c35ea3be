//! A shim does not grow. `SOAK_EXECS` and `SOAK_CALLS` set how long it takes (the defaults are for every day).
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod driver;

use driver::*;

/// Private dirty memory of a process, in KiB, and its open descriptors.
fn footprint(pid: u32) -> (u64, usize) {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find(|l| l.starts_with("Private_Dirty:")).unwrap();
    let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    (line.split_whitespace().nth(1).unwrap().parse().unwrap(), fds)
}

fn setting(name: &str, default: u32) -> u32 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_small_after_many_execs_and_calls() {
    let place = Place::new().await;
    let bundle = place.bundle("soak", &["sleep", "100000"]);
    let shim = place.start(&bundle);
    let task = shim.client().await;
    task.create(&bundle.create_request()).await.unwrap();
    task.start("soak", "").await.unwrap();
    let pid = task.shim_pid("soak").await;
    let some_execs = async |count: u32| {
        for n in 0..count {
            let id = format!("e{n}");
            task.exec("soak", &id, &["true"], |r| r.stdout = String::new()).await.unwrap();
            task.start("soak", &id).await.unwrap();
            assert_eq!(task.wait("soak", &id).await.unwrap().exit_status, 0);
            task.delete("soak", &id).await.unwrap();
        }
    };
    let some_calls = async |count: u32| {
        for _ in 0..count {
            task.state("soak", "").await.unwrap();
        }
    };
    some_execs(20).await;
    some_calls(1000).await;
    let (before, fds) = footprint(pid);
    some_execs(setting("SOAK_EXECS", 60)).await;
    some_calls(setting("SOAK_CALLS", 5000)).await;
    // The last connection to the event socket may just be lingering.
    let (after, _) = footprint(pid);
    println!("private dirty {before} KiB -> {after} KiB, {fds} descriptors");
    assert!(after <= before + 64, "grew from {before} to {after} KiB");
    eventually("no descriptor is left", || (footprint(pid).1 <= fds).then_some(())).await;
    task.kill("soak", "", 9).await.unwrap();
    task.wait("soak", "").await.unwrap();
    task.delete("soak", "").await.unwrap();
    task.shutdown("soak").await.unwrap();
    shim.gone().await;
}
