//! `ctr-rs` on our daemon: the whole path through the transfer service, and what a user sees when something is wrong.
#![allow(clippy::unwrap_used)]

use integration::{Daemon, Image, Kind, Registry, Scratch, eventually};

struct Bench {
    daemon: Daemon,
    image: String,
    registry: Registry,
    scratch: Scratch,
}

fn bench(name: &str) -> Bench {
    let scratch = Scratch::new(name).unwrap();
    let registry = Registry::start(scratch.path()).unwrap();
    let image = registry.push(&Image::busybox().unwrap(), "test/busybox", "latest").unwrap();
    let mut daemon = Daemon::new(Kind::Ours, scratch.join("d"));
    daemon.start().unwrap();
    Bench { daemon, image, registry, scratch }
}

impl Bench {
    fn ctr(&self, args: &[&str]) -> String {
        self.daemon.ctr_rs(args).unwrap().ok().unwrap()
    }

    fn finish(mut self) {
        self.daemon.stop().unwrap();
        // A shim hangs up first and ends a little later.
        eventually("the shims to be gone", || self.daemon.shims().is_empty().then_some(()));
        self.daemon.assert_clean();
    }
}

#[test]
fn pulls_runs_and_removes() {
    let b = bench("own");
    let said = b.daemon.ctr_rs(&["run", "--rm", &b.image, "c0", "true"]).unwrap();
    assert_ne!(said.code, 0);
    assert!(said.stderr.contains(&format!("images pull {}", b.image)), "{}", said.stderr);
    b.ctr(&["images", "pull", &b.image]);
    assert!(b.ctr(&["images", "ls"]).contains(&b.image));
    let ran = b
        .daemon
        .ctr_rs(&["run", "--rm", &b.image, "c1", "sh", "-c", "echo out; echo err >&2; exit 7"])
        .unwrap();
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (7, "out\n", "err\n"));
    let flags = [
        "run",
        "--rm",
        "--env",
        "X=1",
        "--cwd",
        "/tmp",
        "--user",
        "guest",
        "--read-only",
        "--hostname",
        "h1",
    ];
    let said = b.ctr(
        &[
            &flags[..],
            &[
                &b.image,
                "c2",
                "sh",
                "-c",
                "pwd; echo $X $IMAGE; id -u; hostname; touch /x 2>/dev/null || echo ro",
            ],
        ]
        .concat(),
    );
    assert_eq!(said, "/tmp\n1 busybox\n1000\nh1\nro\n");
    let said = b.ctr(&[
        "run",
        "--rm",
        "--memory-limit",
        "33554432",
        "--cpus",
        "0.5",
        "--seccomp",
        &b.image,
        "c3",
        "cat",
        "/proc/self/status",
    ]);
    assert!(said.contains("NoNewPrivs:\t1") && said.contains("Seccomp:\t2"), "{said}");
    assert_eq!(b.ctr(&["containers", "ls", "-q"]), "");
    b.ctr(&["images", "rm", "--sync", &b.image]);
    assert_eq!(b.ctr(&["content", "ls", "-q"]), "");
    b.finish();
}

#[test]
fn detached_tasks_are_managed() {
    let b = bench("owntask");
    b.ctr(&["images", "pull", &b.image]);
    b.ctr(&["run", "-d", &b.image, "c", "sleep", "1000"]);
    assert!(b.ctr(&["tasks", "ls"]).contains("RUNNING"));
    assert_eq!(b.ctr(&["tasks", "exec", "--exec-id", "e", "c", "echo", "hi"]), "hi\n");
    assert_eq!(
        b.daemon.ctr_rs(&["tasks", "exec", "--exec-id", "f", "c", "sh", "-c", "exit 9"]).unwrap().code,
        9
    );
    b.ctr(&["tasks", "pause", "c"]);
    assert!(b.ctr(&["tasks", "ls"]).contains("PAUSED"));
    b.ctr(&["tasks", "resume", "c"]);
    assert!(b.ctr(&["tasks", "ps", "c"]).lines().count() >= 2);
    assert!(b.ctr(&["tasks", "metrics", "c"]).contains("memory"));
    assert!(b.ctr(&["containers", "info", "c"]).contains("\"ID\""));
    b.ctr(&["tasks", "kill", "-s", "SIGKILL", "c"]);
    eventually("the task to stop", || b.ctr(&["tasks", "ls"]).contains("STOPPED").then_some(()));
    b.daemon.ctr_rs(&["tasks", "rm", "c"]).unwrap();
    assert_eq!(b.ctr(&["tasks", "ls", "-q"]), "");
    b.ctr(&["containers", "rm", "c"]);
    b.finish();
}

#[test]
fn archives_go_out_and_come_back() {
    let b = bench("ownarch");
    b.ctr(&["images", "pull", &b.image]);
    let file = b.scratch.join("out.tar");
    b.ctr(&["images", "export", file.to_str().unwrap(), &b.image]);
    b.ctr(&["images", "rm", "--sync", &b.image]);
    b.ctr(&["images", "import", file.to_str().unwrap()]);
    assert_eq!(b.ctr(&["run", "--rm", &b.image, "c", "echo", "back"]), "back\n");
    b.ctr(&["images", "tag", &b.image, "docker.io/test/copy:1"]);
    assert!(b.ctr(&["images", "ls", "-q"]).contains("docker.io/test/copy:1"));
    b.finish();
}

#[test]
fn errors_say_what_to_do() {
    let b = bench("ownerr");
    let nobody = b.scratch.join("nobody.sock");
    let mut command = std::process::Command::new(integration::program::ours("ctr-rs"));
    let ran = integration::program::run(command.arg("--address").arg(&nobody).arg("version")).unwrap();
    assert!(
        ran.code != 0 && ran.stderr.contains("nobody.sock") && ran.stderr.lines().count() == 1,
        "{}",
        ran.stderr
    );
    let missing = format!("{}/test/nothing:1", b.registry.address());
    let ran = b.daemon.ctr_rs(&["images", "pull", &missing]).unwrap();
    assert!(ran.code != 0 && ran.stderr.contains("not found"), "{}", ran.stderr);
    let ran = b.daemon.ctr_rs(&["tasks", "kill", "nobody"]).unwrap();
    assert!(ran.code != 0 && ran.stderr.contains("not found"), "{}", ran.stderr);
    b.finish();
}

#[test]
fn a_runtime_that_is_missing_hangs_or_talks_nonsense_is_one_clear_error() {
    let b = bench("ownrt");
    b.ctr(&["images", "pull", &b.image]);
    let script = |name: &str, text: &str| {
        use std::os::unix::fs::PermissionsExt;
        let path = b.scratch.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path.to_string_lossy().into_owned()
    };
    for (runc, words) in [
        ("/nonexistent/runc".to_owned(), "/nonexistent/runc"),
        (script("garbage", "head -c 300000 /dev/urandom >&2; exit 1"), "failed"),
        (script("liar", "exit 0"), "pid"),
    ] {
        let ran = b.daemon.ctr_rs(&["run", "--rm", "--runc-binary", &runc, &b.image, "c", "true"]).unwrap();
        // What the runtime itself says on its standard error comes before our one line.
        let last = ran.stderr.lines().last().unwrap_or_default();
        assert!(ran.code != 0 && last.contains("ctr-rs: ") && last.contains(words), "{runc}: {last}");
        // Nothing is in the way of another try.
        assert_eq!(b.ctr(&["run", "--rm", &b.image, "c", "echo", "fine"]), "fine\n");
    }
    let shim = script("containerd-shim-bad-v1", "echo '{not an answer'");
    let ran = b.daemon.ctr_rs(&["run", "--rm", "--runtime", &shim, &b.image, "c", "true"]).unwrap();
    assert!(ran.code != 0 && ran.stderr.contains("shim"), "{}", ran.stderr);
    b.finish();
}

#[test]
fn a_registry_with_a_password_wants_it() {
    let b = bench("ownauth");
    let port = integration::registry::free_port().unwrap();
    let registry = Registry::start_with_password(&b.scratch.join("auth"), port, "jo", "secret").unwrap();
    let image = registry.push_as(&Image::busybox().unwrap(), "test/private", "1", "jo", "secret").unwrap();
    let ran = b.daemon.ctr_rs(&["images", "pull", &image]).unwrap();
    assert!(ran.code != 0 && ran.stderr.contains("authorization failed"), "{}", ran.stderr);
    let ran = b.daemon.ctr_rs(&["images", "pull", "--user", "jo:wrong", &image]).unwrap();
    assert!(ran.code != 0 && !ran.stderr.contains("wrong"), "the password must not be shown: {}", ran.stderr);
    b.ctr(&["images", "pull", "--user", "jo:secret", &image]);
    assert_eq!(b.ctr(&["run", "--rm", &image, "c", "echo", "in"]), "in\n");
    b.finish();
}

/// `ctr-rs shim` finds the shim by its name alone, and says what the shim says.
#[test]
fn a_shim_spoken_to_directly() {
    let b = bench("shim");
    b.ctr(&["images", "pull", &b.image]);
    b.ctr(&["run", "-d", &b.image, "s1", "sleep", "1000"]);
    let state: serde_json::Value = serde_json::from_str(&b.ctr(&["shim", "--id", "s1", "state"])).unwrap();
    let bundle = b.daemon.state().join("io.containerd.runtime.v2.task").join(b.daemon.namespace()).join("s1");
    assert_eq!((state["status"].as_u64(), state["bundle"].as_str()), (Some(2), bundle.to_str()), "{state}");
    let spec = b.scratch.join("process.json");
    let process = integration::shim::process(&["/bin/busybox", "sleep", "1000"], false);
    std::fs::write(&spec, process.to_string()).unwrap();
    let said = b.ctr(&["shim", "--id", "s1", "exec", "--spec", spec.to_str().unwrap(), "more"]);
    assert!(said.starts_with("exec running with pid "), "{said}");
    assert!(b.ctr(&["tasks", "ps", "s1"]).contains("more"));
    let refused = b.daemon.ctr_rs(&["shim", "--id", "s1", "start"]).unwrap();
    assert!(
        refused.code == 1 && refused.stderr.contains("cannot start a running process"),
        "{}",
        refused.stderr
    );
    // Asked to leave, it stays for its container.
    b.ctr(&["shim", "--id", "s1", "shutdown"]);
    b.ctr(&["shim", "--id", "s1", "state"]);
    b.ctr(&["tasks", "kill", "-s", "SIGKILL", "s1"]);
    eventually("the end", || b.ctr(&["shim", "--id", "s1", "state"]).contains("\"status\": 3").then_some(()));
    let said = b.ctr(&["shim", "--id", "s1", "delete"]);
    assert_eq!(said, "container deleted and returned exit status 137\n");
    b.ctr(&["shim", "--id", "s1", "shutdown"]);
    eventually("the shim to be gone", || b.daemon.shims().is_empty().then_some(()));
    let refused = b.daemon.ctr_rs(&["shim", "--id", "s1", "state"]).unwrap();
    assert!(
        refused.code == 1 && refused.stderr.contains("cannot connect to shim unix://"),
        "{}",
        refused.stderr
    );
    let _ = b.daemon.ctr_rs(&["tasks", "rm", "s1"]);
    b.ctr(&["containers", "rm", "s1"]);
    b.finish();
}
