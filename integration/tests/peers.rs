//! Each half beside the other's: our shim under Debian's daemon, Debian's shim under ours, and a take-over in between.
#![allow(clippy::unwrap_used)]

use integration::program::{installed, ours};
use integration::{Daemon, Image, Kind, Scratch, eventually};

const IMAGE: &str = "docker.io/test/busybox:1";

fn start(kind: Kind, scratch: &Scratch) -> Daemon {
    let mut daemon = Daemon::new(kind, scratch.join("d"));
    daemon.start().unwrap();
    let archive = scratch.join("image.tar");
    std::fs::write(&archive, Image::busybox().unwrap().oci_archive(IMAGE).unwrap()).unwrap();
    daemon.ctr(&["images", "import", archive.to_str().unwrap()]).unwrap().ok().unwrap();
    daemon
}

/// The same story on any pair of daemon and shim.
fn story(daemon: &Daemon, runtime: &str) {
    let ctr = |args: &[&str]| daemon.ctr(args).unwrap().ok().unwrap();
    let run = daemon
        .ctr(&["run", "--rm", "--runtime", runtime, IMAGE, "fg", "sh", "-c", "echo out; exit 5"])
        .unwrap();
    assert_eq!((run.code, run.stdout.as_str()), (5, "out\n"), "{}", run.stderr);
    ctr(&["run", "-d", "--runtime", runtime, IMAGE, "bg", "sleep", "1000"]);
    assert_eq!(ctr(&["tasks", "exec", "--exec-id", "e", "bg", "echo", "hi"]), "hi\n");
    ctr(&["tasks", "pause", "bg"]);
    assert!(ctr(&["tasks", "ls"]).contains("PAUSED"));
    ctr(&["tasks", "resume", "bg"]);
    assert!(ctr(&["tasks", "metrics", "bg"]).contains("memory"));
    assert!(ctr(&["tasks", "ps", "bg"]).lines().count() >= 2);
}

fn end(daemon: &Daemon) {
    let ctr = |args: &[&str]| daemon.ctr(args).unwrap().ok().unwrap();
    ctr(&["tasks", "kill", "-s", "SIGKILL", "bg"]);
    eventually("the task to stop", || ctr(&["tasks", "ls"]).contains("STOPPED").then_some(()));
    let said = daemon.ctr(&["tasks", "rm", "bg"]).unwrap().stderr;
    assert!(said.contains("exit code 137"), "{said}");
    ctr(&["containers", "rm", "bg"]);
    eventually("the shims to leave", || daemon.shims().is_empty().then_some(()));
}

#[test]
fn our_shim_under_debian_s_daemon() {
    let scratch = Scratch::new("p1").unwrap();
    let mut daemon = start(Kind::Peer, &scratch);
    let shim = ours("containerd-shim-runc-v2");
    story(&daemon, shim.to_str().unwrap());
    // Its own restart finds our shim, too.
    daemon.kill9().unwrap();
    daemon.start().unwrap();
    eventually("the running task", || {
        daemon.ctr(&["tasks", "ls"]).unwrap().stdout.contains("RUNNING").then_some(())
    });
    end(&daemon);
    daemon.stop().unwrap();
    daemon.assert_clean();
}

#[test]
fn debian_s_shim_under_our_daemon_also_over_a_restart() {
    let scratch = Scratch::new("p2").unwrap();
    let mut daemon = start(Kind::Ours, &scratch);
    let shim = installed("containerd-shim-runc-v2");
    story(&daemon, shim.to_str().unwrap());
    daemon.kill9().unwrap();
    daemon.start().unwrap();
    eventually("the running task", || {
        daemon.ctr(&["tasks", "ls"]).unwrap().stdout.contains("RUNNING").then_some(())
    });
    assert_eq!(
        daemon.ctr(&["tasks", "exec", "--exec-id", "e2", "bg", "echo", "again"]).unwrap().stdout,
        "again\n"
    );
    end(&daemon);
    daemon.stop().unwrap();
    daemon.assert_clean();
}
