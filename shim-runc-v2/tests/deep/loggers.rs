//! Loggers that die or hang, and fifos that vanish or never open.

use std::io::Read;
use std::time::{Duration, Instant};

use ttrpc::{Code, context};

use crate::driver::*;
use crate::parts::*;

/// Reads what the shim logs for as long as `wanted` is not in it.
struct Log(std::fs::File, String);

impl Log {
    fn of(bundle: &Bundle) -> Log {
        use std::os::unix::fs::OpenOptionsExt;
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(0o4000)
            .open(bundle.dir.join("log"));
        Log(file.unwrap(), String::new())
    }

    async fn says(&mut self, wanted: &str) {
        eventually(wanted, || {
            let mut buffer = [0; 4096];
            if let Ok(n) = self.0.read(&mut buffer) {
                self.1.push_str(&String::from_utf8_lossy(&buffer[..n]));
            }
            self.1.contains(wanted).then_some(())
        })
        .await;
    }
}

/// A logger that dies is reported, and the container that writes far more than a pipe holds goes on to its own end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logger_that_dies_is_reported_and_stops_nothing() {
    let place = Place::new().await;
    let body = "i=0; while [ $i -lt 300 ]; do dd if=/dev/zero bs=1024 count=1 2>/dev/null || exit 9; i=$((i+1)); done; exit 6";
    let bundle = place.bundle("left", &["sh", "-c", body]);
    let mut log = Log::of(&bundle);
    let shim = place.start(&bundle);
    let task = shim.client().await;
    for scheme in ["binary", "binary-v2"] {
        let logger = script(&place, scheme, "echo y >&5; exec 5>&-; head -c 10 <&3 >/dev/null; exit 3");
        let mut request = bundle.create_request();
        request.stdout = format!("{scheme}://{logger}");
        request.stderr = request.stdout.clone();
        assert_eq!(task.run(&request).await, 6, "not killed by a broken pipe");
        log.says("before what it logs").await;
        log.1.clear();
    }
    leave(&shim, task, "left").await;
}

/// A logger that neither reads nor listens to SIGTERM holds up no exit, and a delete only within limits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logger_that_hangs_is_bounded_and_reported() {
    let place = Place::new().await;
    let bundle = place.bundle("deaf", &["sh", "-c", "cat /dev/zero"]);
    let mut log = Log::of(&bundle);
    let shim = place.start(&bundle);
    let task = shim.client().await;
    let pid = place.dir.path().join("logger.pid");
    let body = format!(
        "trap '' TERM; echo $$ > {}; echo y >&5; exec 5>&-; while :; do sleep 1000; done",
        text(&pid)
    );
    let mut request = bundle.create_request();
    request.stdout = format!("binary://{}", script(&place, "deaf-logger", &body));
    task.create(&request).await.unwrap();
    task.start("deaf", "").await.unwrap();
    task.kill("deaf", "", 9).await.unwrap();
    assert_eq!(task.wait("deaf", "").await.unwrap().exit_status, 137);
    place.seen.exit_of("deaf").await;
    let begun = Instant::now();
    task.delete("deaf", "").await.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(10), "it was given time to end");
    log.says("killing it").await;
    let pid: u32 = std::fs::read_to_string(pid).unwrap().trim().parse().unwrap();
    eventually("the logger is dead", || (!is_alive(pid)).then_some(())).await;
    leave(&shim, task, "deaf").await;
}

/// A logger that never gets ready: bounded by the caller's deadline, and by Shutdown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logger_that_never_gets_ready_is_killed() {
    let place = Place::new().await;
    let bundle = place.bundle("early", &["true"]);
    let shim = place.start(&bundle);
    let task = shim.client().await;
    let pids = place.dir.path().join("logger.pids");
    let body = format!("echo $$ >> {}; exec sleep 1000", text(&pids));
    let mut request = bundle.create_request();
    request.stdout = format!("binary://{}", script(&place, "never", &body));
    assert!(task.0.create(context::with_timeout(500_000_000), &request).await.is_err());
    // The name is free once the create has ended by itself.
    let again = tokio::spawn({
        let (task, request) = (task.clone(), request.clone());
        async move {
            loop {
                match task.create(&request).await {
                    Err(e) => {
                        let (code, message) = refusal::<()>(Err(e));
                        if code != Code::ALREADY_EXISTS {
                            return message;
                        }
                    }
                    Ok(_) => panic!("created"),
                }
            }
        }
    });
    let started = || std::fs::read_to_string(&pids).unwrap_or_default().lines().count();
    eventually("a second logger", || (started() == 2).then_some(())).await;
    task.shutdown("early").await.unwrap();
    let message = again.await.unwrap();
    assert!(message.contains("logging binary: context canceled"), "{message}");
    shim.gone().await;
    for pid in std::fs::read_to_string(&pids).unwrap().lines() {
        let pid = pid.parse().unwrap();
        eventually("the logger is dead", || (!is_alive(pid)).then_some(())).await;
    }
    nothing_is_left(&place, &bundle).await;
}

/// Ask 22: fifos that are not there, are something else, vanish, or are never opened.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifos_that_vanish_or_never_open() {
    let place = Place::new().await;
    let bundle = place.bundle("pipes", &["sh", "-c", "cat /dev/zero | head -c 1000; exit 4"]);
    std::os::unix::fs::symlink("busybox", bundle.dir.join("rootfs/bin/head")).unwrap();
    let shim = place.start(&bundle);
    let task = shim.client().await;
    let pid = task.shim_pid("pipes").await;
    let fresh = |name: &str| text(&bundle.dir.join(name));
    for (stdin, stdout, words) in [
        (fresh("none"), String::new(), "No such file or directory"),
        (String::new(), fresh("none"), "No such file or directory"),
        (String::new(), fresh("rootfs"), "Is a directory"),
    ] {
        let mut request = bundle.create_request();
        (request.stdin, request.stdout) = (stdin, stdout);
        let (code, message) = refusal(task.create(&request).await);
        assert_eq!(code, Code::UNKNOWN);
        assert!(message.to_lowercase().contains(&words.to_lowercase()), "{message}");
        nothing_is_left(&place, &bundle).await;
    }
    // Removed between create and start; nobody ever opens them.
    let mut request = bundle.create_request();
    let fifos = ["in", "out", "err"].map(|n| bundle.fifo(n));
    (request.stdin, request.stdout, request.stderr) = (text(&fifos[0]), text(&fifos[1]), text(&fifos[2]));
    task.create(&request).await.unwrap();
    fifos.iter().for_each(|f| std::fs::remove_file(f).unwrap());
    task.start("pipes", "").await.unwrap();
    assert_eq!(task.wait("pipes", "").await.unwrap().exit_status, 4);
    task.delete("pipes", "").await.unwrap();
    assert!(!descriptors(pid).iter().any(|f| f.contains("(deleted)")), "{:?}", descriptors(pid));
    leave(&shim, task, "pipes").await;
}
