//! Debian's `ctr`, which nobody here wrote, does its work on our daemon.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use integration::{Daemon, Image, Kind, Registry, Scratch, eventually};

struct Bench {
    daemon: Daemon,
    image: String,
    _registry: Registry,
    _scratch: Scratch,
}

fn bench(name: &str) -> Bench {
    let scratch = Scratch::new(name).unwrap();
    let registry = Registry::start(scratch.path()).unwrap();
    let image = registry.push(&Image::busybox().unwrap(), "test/busybox", "latest").unwrap();
    let mut daemon = Daemon::new(Kind::Ours, scratch.join("d"));
    daemon.start().unwrap();
    Bench { daemon, image, _registry: registry, _scratch: scratch }
}

impl Bench {
    fn ctr(&self, args: &[&str]) -> String {
        self.daemon.ctr(args).unwrap().ok().unwrap()
    }

    fn pull(&self) {
        self.ctr(&["images", "pull", "--plain-http", &self.image]);
    }

    fn finish(mut self) {
        self.daemon.stop().unwrap();
        // A shim hangs up first and ends a little later.
        eventually("the shims to be gone", || self.daemon.shims().is_empty().then_some(()));
        self.daemon.assert_clean();
    }
}

#[test]
fn pulls_lists_and_removes_images() {
    let b = bench("gopull");
    b.pull();
    let listed = b.ctr(&["images", "ls"]);
    assert!(listed.contains(&b.image) && listed.contains("linux/amd64"), "{listed}");
    let check = b.ctr(&["images", "check"]);
    assert!(check.contains("complete (2/2)"), "{check}");
    b.ctr(&["images", "tag", &b.image, "docker.io/other/name:1"]);
    assert!(b.ctr(&["images", "ls", "-q"]).contains("docker.io/other/name:1"));
    assert_eq!(b.ctr(&["content", "ls", "-q"]).lines().count(), 3);
    assert_eq!(b.ctr(&["snapshots", "ls"]).lines().count(), 2);
    b.ctr(&["images", "rm", "--sync", &b.image, "docker.io/other/name:1"]);
    assert_eq!(b.ctr(&["content", "ls", "-q"]), "");
    assert_eq!(b.ctr(&["snapshots", "ls"]).lines().count(), 1);
    b.finish();
}

#[test]
fn runs_in_the_foreground_with_output_and_exit_status() {
    let b = bench("gorun");
    b.pull();
    let ran =
        b.daemon.ctr(&["run", "--rm", &b.image, "c1", "sh", "-c", "echo out; echo err >&2; exit 7"]).unwrap();
    assert_eq!((ran.code, ran.stdout.as_str()), (7, "out\n"), "{}", ran.stderr);
    assert!(ran.stderr.contains("err\n"));
    let env = b.ctr(&[
        "run",
        "--rm",
        "--env",
        "X=1",
        "--cwd",
        "/tmp",
        &b.image,
        "c2",
        "sh",
        "-c",
        "pwd; echo $X $IMAGE",
    ]);
    assert_eq!(env, "/tmp\n1 busybox\n");
    assert_eq!(b.ctr(&["containers", "ls", "-q"]), "");
    let ran = b.daemon.ctr(&["run", "--rm", &b.image, "c3", "/no/such"]).unwrap();
    assert_ne!(ran.code, 0);
    assert!(ran.stderr.contains("no such file or directory"), "{}", ran.stderr);
    b.finish();
}

#[test]
fn runs_detached_execs_pauses_kills_and_deletes() {
    let b = bench("god");
    b.pull();
    b.ctr(&["run", "-d", &b.image, "c1", "sleep", "1000"]);
    assert!(b.ctr(&["tasks", "ls"]).contains("RUNNING"));
    assert_eq!(b.ctr(&["tasks", "exec", "--exec-id", "e1", "c1", "echo", "hi"]), "hi\n");
    let exec = b.daemon.ctr(&["tasks", "exec", "--exec-id", "e2", "c1", "sh", "-c", "exit 3"]).unwrap();
    assert_eq!(exec.code, 3);
    b.ctr(&["tasks", "pause", "c1"]);
    assert!(b.ctr(&["tasks", "ls"]).contains("PAUSED"));
    b.ctr(&["tasks", "resume", "c1"]);
    assert!(b.ctr(&["tasks", "ps", "c1"]).lines().count() >= 2);
    assert!(b.ctr(&["tasks", "metrics", "c1"]).contains("memory"));
    b.ctr(&["tasks", "kill", "-s", "SIGKILL", "c1"]);
    eventually("the task to stop", || b.ctr(&["tasks", "ls"]).contains("STOPPED").then_some(()));
    let deleted = b.daemon.ctr(&["tasks", "rm", "c1"]).unwrap();
    assert!(deleted.stderr.contains("exit code 137"), "{}", deleted.stderr);
    b.ctr(&["containers", "rm", "c1"]);
    let gone = b.daemon.ctr(&["tasks", "kill", "c1"]).unwrap();
    assert!(gone.stderr.contains("not found"), "{}", gone.stderr);
    b.finish();
}

#[test]
fn a_terminal_is_one() {
    let b = bench("gotty");
    b.pull();
    // `script` gives ctr a terminal of its own.
    let ctr = b.daemon.ctr_command(&["run", "--rm", "-t", &b.image, "t1", "sh", "-c", "tty; stty size"]);
    let line = std::iter::once(ctr.get_program())
        .chain(ctr.get_args())
        .map(|a| format!("'{}'", a.to_string_lossy()))
        .collect::<Vec<_>>()
        .join(" ");
    let ran = integration::program::run(
        std::process::Command::new("script").env("CONTAINERD_NAMESPACE", b.daemon.namespace()).args([
            "-qec",
            &line,
            "/dev/null",
        ]),
    )
    .unwrap();
    assert!(ran.stdout.contains("/dev/pts/0"), "{} {}", ran.stdout, ran.stderr);
    b.finish();
}

#[test]
fn events_are_streamed() {
    let b = bench("goev");
    b.pull();
    let mut child = b.daemon.ctr_command(&["events"]).stdout(Stdio::piped()).spawn().unwrap();
    let (send, lines) = std::sync::mpsc::channel();
    let out = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                return;
            }
        }
    });
    // The subscription is there once an event of our own comes back.
    let mut n = 0;
    eventually("the first event", || {
        n += 1;
        b.ctr(&["namespaces", "create", &format!("probe{n}")]);
        lines.try_recv().ok()
    });
    b.ctr(&["run", "--rm", &b.image, "c1", "true"]);
    let mut seen: Vec<String> = Vec::new();
    eventually("the delete event", || {
        seen.extend(lines.try_iter());
        seen.iter().any(|l| l.contains("/containers/delete")).then_some(())
    });
    let topics = [
        "/snapshot/prepare",
        "/containers/create",
        "/tasks/create",
        "/tasks/start",
        "/tasks/exit",
        "/tasks/delete",
        "/snapshot/remove",
    ];
    for topic in topics {
        assert_eq!(seen.iter().filter(|l| l.contains(topic)).count(), 1, "{topic} in {seen:#?}");
    }
    let place = |topic: &str| seen.iter().position(|l| l.contains(topic));
    assert!(
        place("/tasks/create") < place("/tasks/start") && place("/tasks/start") < place("/tasks/exit"),
        "{seen:#?}"
    );
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap();
    b.finish();
}

#[test]
fn imports_and_exports_archives() {
    let b = bench("goimp");
    let archive = b._scratch.join("in.tar");
    std::fs::write(&archive, Image::busybox().unwrap().oci_archive("docker.io/test/imported:1").unwrap())
        .unwrap();
    b.ctr(&["images", "import", archive.to_str().unwrap()]);
    assert_eq!(b.ctr(&["run", "--rm", "docker.io/test/imported:1", "c1", "echo", "ok"]), "ok\n");
    let out = b._scratch.join("out.tar");
    b.ctr(&["images", "export", out.to_str().unwrap(), "docker.io/test/imported:1"]);
    assert!(std::fs::metadata(out).unwrap().len() > 100_000);
    b.finish();
}
