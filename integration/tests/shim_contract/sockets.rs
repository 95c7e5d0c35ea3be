//! Where a shim listens, who shares it, and who may come in.

use std::io::Read;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use integration::shim::{Bundle, NAMESPACE, Task, eventually, is_alive, signal};
use sha2::{Digest, Sha256};

use crate::stage::{Stage, Subject, all};

fn path(address: &str) -> PathBuf {
    PathBuf::from(address.trim_start_matches("unix://"))
}

fn mode(path: &Path) -> String {
    std::fs::metadata(path)
        .map_or_else(|e| e.to_string(), |m| format!("{:o}", m.permissions().mode() & 0o777))
}

/// The name that a socket must have, by the protocol.
fn expected(stage: &Stage, group: &str) -> String {
    let text = format!("{}/{NAMESPACE}/{group}", stage.place.grpc().display());
    format!("unix:///run/containerd/s/{}", hex::encode(Sha256::digest(text.as_bytes())))
}

fn annotate(bundle: &Bundle, annotations: serde_json::Value) {
    let mut spec = bundle.spec(&["sleep", "1000"]);
    spec["annotations"] = annotations;
    bundle.write_spec(&spec);
}

pub(crate) async fn names_and_modes(stage: &mut Stage) {
    let bundle = stage.bundle("name", &["true"]);
    let (address, task) = stage.shim(&bundle).await;
    let want = expected(stage, "name");
    stage.check("the address is the hash of who asks for what", format!("{}", address == want), all("true"));
    stage.check("mode of the socket", mode(&path(&address)), all("600"));
    stage.check("mode of its directory", mode(path(&address).parent().unwrap()), all("700"));
    let (again, _) = stage.shim(&bundle).await;
    stage.check("a second start joins", format!("{}", again == address), all("true"));
    let pid = task.shim_pid("name").await;
    let group = sys::process::proc_stat(pid).map(|s| i64::from(s.pgrp) == i64::from(s.pid)).unwrap();
    stage.check("the shim leads a process group", format!("{group}"), all("true"));
    let cwd = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap();
    stage.check("its working directory", cwd.to_string_lossy(), all("DIR/name"));
    let score: i32 =
        std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap().trim().parse().unwrap();
    let own = sys::process::oom_score_adj(None).unwrap();
    stage.check("its OOM score is the daemon's and one", format!("{}", score - own), all("1"));
    task.shutdown("name").await.ok();
    eventually("the socket is gone", || (!path(&address).exists()).then_some(())).await;
    drop(task);
}

pub(crate) async fn paths_that_are_too_long(stage: &mut Stage) {
    let dir = stage.place.dir.path().join("x".repeat(90));
    std::fs::create_dir(&dir).unwrap();
    let bundle = stage.bundle("long", &["true"]);
    let open = std::fs::OpenOptions::new().read(true).custom_flags(0o4000).open(bundle.dir.join("log"));
    let mut log = open.unwrap();
    let output = Command::new(&stage.place.program.file)
        .args(["-namespace", NAMESPACE, "-id", "long", "-address"])
        .arg(stage.place.grpc())
        .arg("-socket")
        .arg(dir.join("s.sock"))
        .env("TTRPC_ADDRESS", stage.place.ttrpc())
        .current_dir(&bundle.dir)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    // The original's standard error is its log by then.
    let mut text = output.stderr;
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = log.read(&mut buffer) {
        text.extend_from_slice(&buffer[..n]);
    }
    let told = String::from_utf8_lossy(&text).contains("unix socket path too long (> 106)");
    let got = format!("{} {told}", output.status.code().unwrap_or(-1));
    stage.check("a socket path of more than 106 bytes", got, all("1 true"));
}

pub(crate) async fn groups(stage: &mut Stage) {
    let first = stage.bundle("pause", &["sleep", "1000"]);
    let second = stage.bundle("app", &["sleep", "1000"]);
    let third = stage.bundle("other", &["sleep", "1000"]);
    annotate(&first, serde_json::json!({"io.kubernetes.cri.sandbox-id": "pod"}));
    annotate(
        &second,
        serde_json::json!({"io.kubernetes.cri.sandbox-id": "pod", "io.kubernetes.cri.container-type": "container"}),
    );
    let both =
        serde_json::json!({"io.kubernetes.cri.sandbox-id": "pod", "io.containerd.runc.v2.group": "mine"});
    annotate(&third, both);
    let (pod, task) = stage.shim(&first).await;
    stage.check("a pod's shim has the pod's name", format!("{}", pod == expected(stage, "pod")), all("true"));
    let (joined, _) = stage.shim(&second).await;
    stage.check("its second container joins it", format!("{}", joined == pod), all("true"));
    let (mine, other) = stage.shim(&third).await;
    stage.check(
        "a group of its own comes first",
        format!("{}", mine == expected(stage, "mine")),
        all("true"),
    );
    for bundle in [&first, &second] {
        task.create(&bundle.create_request()).await.unwrap();
        task.start(&bundle.id, "").await.unwrap();
    }
    let shims = (task.shim_pid("pause").await, task.shim_pid("app").await);
    stage.check("one shim for both", format!("{}", shims.0 == shims.1), all("true"));
    task.kill("app", "", 9).await.unwrap();
    task.wait("app", "").await.unwrap();
    task.delete("app", "").await.unwrap();
    let _ = task.shutdown("app").await;
    let got = crate::stage::said(&task.state("pause", "").await);
    stage.check("a shutdown while the pod lives", got, all("ok"));
    stage.over(&task, "pause").await;
    let _ = other.shutdown("other").await;
}

pub(crate) async fn a_dead_socket_is_rebound(stage: &mut Stage) {
    let bundle = stage.bundle("phoenix", &["true"]);
    let (address, task) = stage.shim(&bundle).await;
    let pid = task.shim_pid("phoenix").await;
    signal(pid, 9);
    eventually("the shim is dead", || (!is_alive(pid)).then_some(())).await;
    stage.check("a killed shim leaves its socket", format!("{}", path(&address).exists()), all("true"));
    let (again, task) = stage.shim(&bundle).await;
    stage.check("the next one has its address", format!("{}", again == address), all("true"));
    let got = task.shim_pid("phoenix").await;
    stage.check("and is another", format!("{}", got != pid), all("true"));
    let _ = task.shutdown("phoenix").await;
}

/// The permissions of the socket keep strangers out; the shim does not rely on them.
pub(crate) async fn strangers_are_refused(stage: &mut Stage) {
    let bundle = stage.bundle("door", &["true"]);
    let (address, task) = stage.shim(&bundle).await;
    // A place where the stranger can go: a link to the socket, and the program.
    let open = stage.place.dir.path().join("open");
    std::fs::create_dir(&open).unwrap();
    let (client, socket) = (open.join("shim-ctl"), open.join("s"));
    std::fs::copy(env!("CARGO_BIN_EXE_shim-ctl"), &client).unwrap();
    if std::fs::hard_link(path(&address), &socket).is_err() {
        // Another file system: the way through the directory is opened for this story's own socket.
        std::os::unix::fs::symlink(path(&address), &socket).unwrap();
    }
    for (place, mode) in [(stage.place.dir.path(), 0o711), (&open, 0o755), (&client, 0o755)] {
        std::fs::set_permissions(place, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    std::fs::set_permissions(path(&address), std::fs::Permissions::from_mode(0o666)).unwrap();
    let ask = |uid: u32| {
        let mut command = Command::new(&client);
        let version = if stage.subject == Subject::Older { "2" } else { "3" };
        command.args(["connect", "--api-version", version]).arg(&socket).arg("door").uid(uid).gid(uid);
        let output = command.stdin(Stdio::null()).output().unwrap();
        format!("{}", output.status.success())
    };
    // Root may come by the same way; so the stranger's refusal is about who it is.
    let (root, stranger) = (ask(0), ask(65534));
    stage.check("root comes in", root, all("true"));
    stage.check("another user does not", stranger, all("false"));
    let got = Task::dial(&address, stage.version).await.unwrap().connect("door").await;
    stage.check("and nobody else is the worse", crate::stage::said(&got), all("ok"));
    let _ = task.shutdown("door").await;
}
