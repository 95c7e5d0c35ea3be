//! What an operator does to a shim's process, and reads from it.

use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;

use integration::shim::{eventually, is_alive, signal};

use crate::stage::{Stage, all, said};

pub(crate) async fn log_and_dump(stage: &mut Stage) {
    stage.place.program.debug = true;
    let bundle = stage.bundle("ops", &["sleep", "1000"]);
    let open = std::fs::OpenOptions::new().read(true).custom_flags(0o4000).open(bundle.dir.join("log"));
    let mut log = open.unwrap();
    let (_, task) = stage.shim(&bundle).await;
    task.create(&bundle.create_request()).await.unwrap();
    task.start("ops", "").await.unwrap();
    let pid = task.shim_pid("ops").await;
    signal(pid, 10);
    let mut text = Vec::new();
    eventually("a dump in the log", || {
        let mut buffer = [0; 1 << 16];
        while let Ok(n @ 1..) = log.read(&mut buffer) {
            text.extend_from_slice(&buffer[..n]);
        }
        let said = String::from_utf8_lossy(&text);
        (said.contains("goroutine") || said.contains("init=Running")).then_some(())
    })
    .await;
    let said_text = String::from_utf8_lossy(&text).into_owned();
    let first = said_text.lines().next().unwrap_or_default();
    stage.check(
        "a line of the log",
        format!("{}", first.starts_with("time=\"") && first.contains(" level=")),
        all("true"),
    );
    stage.check("it serves on", said(&task.state("ops", "").await), all("ok"));
    // SIGPIPE and SIGHUP come of dying daemons and terminals.
    signal(pid, 13);
    stage.check("SIGPIPE does not end it", said(&task.state("ops", "").await), all("ok"));
    stage.over(&task, "ops").await;
}

pub(crate) async fn asked_to_leave(stage: &mut Stage) {
    let (_bundle, task) = stage.running("stay", &["sleep", "1000"]).await;
    let pid = task.shim_pid("stay").await;
    stage.check("shutdown while a container is there", said(&task.shutdown("stay").await), all("ok"));
    stage.check("it stays", said(&task.state("stay", "").await), all("ok"));
    task.kill("stay", "", 9).await.unwrap();
    task.wait("stay", "").await.unwrap();
    let _ = task.shutdown("stay").await;
    stage.check("it stays for what has ended, too", said(&task.state("stay", "").await), all("ok"));
    task.delete("stay", "").await.unwrap();
    let _ = task.shutdown("stay").await;
    eventually("the shim leaves", || (!is_alive(pid)).then_some(())).await;

    let bundle = stage.bundle("term", &["true"]);
    let (address, task) = stage.shim(&bundle).await;
    let pid = task.shim_pid("term").await;
    signal(pid, 15);
    eventually("SIGTERM ends it", || (!is_alive(pid)).then_some(())).await;
    let path = std::path::PathBuf::from(address.trim_start_matches("unix://"));
    stage.check("its socket after SIGTERM", format!("{}", path.exists()), all("false"));
    let _ = std::fs::remove_file(path);
}
