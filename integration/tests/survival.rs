//! What outlives what: daemons and shims are killed and frozen, and nothing is lost, doubled or left behind.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use integration::leftovers::entries;
use integration::{Daemon, Image, Kind, Registry, Scratch, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

struct Bench {
    daemon: Daemon,
    image: String,
    registry: Registry,
    scratch: Scratch,
}

fn bench(name: &str) -> Bench {
    bench_with(name, "")
}

/// With more tables for the daemon's configuration.
fn bench_with(name: &str, config: &str) -> Bench {
    let scratch = Scratch::new(name).unwrap();
    let registry = Registry::start(scratch.path()).unwrap();
    let image = registry.push(&Image::busybox().unwrap(), "test/busybox", "latest").unwrap();
    let mut daemon = Daemon::new(Kind::Ours, scratch.join("d")).config(config);
    daemon.start().unwrap();
    Bench { daemon, image, registry, scratch }
}

fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
}

impl Bench {
    fn ctr(&self, args: &[&str]) -> String {
        self.daemon.ctr(args).unwrap().ok().unwrap()
    }

    fn pull(&self) {
        self.ctr(&["images", "pull", "--plain-http", &self.image]);
    }

    /// `(pid, status)` of a task.
    fn task(&self, id: &str) -> Option<(u32, String)> {
        let listed = self.daemon.ctr(&["tasks", "ls"]).unwrap().ok().ok()?;
        let line = listed.lines().find(|l| l.split_whitespace().next() == Some(id))?;
        let mut words = line.split_whitespace().skip(1);
        Some((words.next()?.parse().ok()?, words.next()?.to_owned()))
    }

    fn status(&self, id: &str, wanted: &str) {
        eventually(&format!("{id} to be {wanted}"), || self.task(id).filter(|t| t.1 == wanted));
    }

    fn remove(&self, id: &str) {
        let _ = self.daemon.ctr(&["tasks", "kill", "-s", "SIGKILL", id]);
        eventually(&format!("{id} to be deleted"), || {
            let _ = self.daemon.ctr(&["tasks", "rm", "-f", id]);
            self.task(id).is_none().then_some(())
        });
        let _ = self.daemon.ctr(&["containers", "rm", id]);
    }

    /// Nothing is left that no record names.
    fn finish(mut self) {
        for id in self.ctr(&["containers", "ls", "-q"]).lines() {
            self.remove(id);
        }
        let bundles = self.daemon.state().join("io.containerd.runtime.v2.task").join(self.daemon.namespace());
        eventually("the bundles to be gone", || entries(&bundles).is_empty().then_some(()));
        // A shim hangs up first and ends a little later.
        eventually("the shims to be gone", || self.daemon.shims().is_empty().then_some(()));
        self.daemon.stop().unwrap();
        self.daemon.assert_clean();
    }
}

#[test]
fn a_container_outlives_the_daemon_and_its_exit_is_not_lost() {
    let mut b = bench("live");
    b.pull();
    for id in ["stays", "ends", "fails"] {
        b.ctr(&["run", "-d", &b.image, id, "sleep", "1000"]);
    }
    let pid = |id: &str| b.task(id).unwrap().0;
    let (stays, ends, fails) = (pid("stays"), pid("ends"), pid("fails"));
    b.daemon.kill9().unwrap();
    assert!(Path::new(&format!("/proc/{stays}")).exists());
    signal(ends, Signal::SIGKILL);
    signal(fails, Signal::SIGTERM); // init without a handler ignores it: it must still run afterwards
    eventually("the process to go", || (!Path::new(&format!("/proc/{ends}")).exists()).then_some(()));
    b.daemon.start().unwrap();
    b.status("stays", "RUNNING");
    assert_eq!(b.task("stays").unwrap().0, stays);
    b.status("ends", "STOPPED");
    b.status("fails", "RUNNING");
    let said = b.daemon.ctr(&["tasks", "rm", "ends"]).unwrap().stderr;
    assert!(said.contains("exit code 137"), "{said}");
    assert_eq!(b.ctr(&["tasks", "exec", "--exec-id", "e", "stays", "echo", "hi"]), "hi\n");
    b.finish();
}

#[test]
fn output_is_not_lost_while_the_daemon_is_away() {
    let mut b = bench("output");
    b.pull();
    let log = b.scratch.join("out.log");
    let uri = format!("file://{}", log.display());
    b.ctr(&[
        "run",
        "-d",
        "--log-uri",
        &uri,
        &b.image,
        "w",
        "sh",
        "-c",
        "i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo $i; usleep 5000; done",
    ]);
    eventually("the first lines", || std::fs::read_to_string(&log).ok().filter(|t| t.lines().count() > 3));
    b.daemon.kill9().unwrap();
    let all: String = (1..=300).map(|i| format!("{i}\n")).collect();
    eventually("all lines", || (std::fs::read_to_string(&log).ok()? == all).then_some(()));
    b.daemon.start().unwrap();
    b.status("w", "STOPPED");
    let deleted = b.daemon.ctr(&["tasks", "rm", "w"]).unwrap();
    assert!(deleted.code == 0 && !deleted.stderr.contains("exit code"), "{}", deleted.stderr);
    b.finish();
}

#[test]
fn a_killed_shim_gives_one_exit_and_leaves_nothing() {
    let b = bench("shimkill");
    b.pull();
    let events = b.scratch.join("events");
    let out = std::fs::File::create(&events).unwrap();
    let mut listener = b.daemon.ctr_command(&["events"]).stdout(Stdio::from(out)).spawn().unwrap();
    let mut n = 0;
    eventually("the subscription", || {
        n += 1;
        b.ctr(&["namespaces", "create", &format!("probe{n}")]);
        (!std::fs::read_to_string(&events).ok()?.is_empty()).then_some(())
    });
    b.ctr(&["run", "-d", &b.image, "c", "sleep", "1000"]);
    let container = b.task("c").unwrap().0;
    let shims = b.daemon.shims();
    assert_eq!(shims.len(), 1);
    signal(shims[0], Signal::SIGKILL);
    eventually("the exit event", || {
        std::fs::read_to_string(&events).ok().filter(|t| t.contains("/tasks/exit"))
    });
    eventually("the process to be killed", || {
        (!Path::new(&format!("/proc/{container}")).exists()).then_some(())
    });
    eventually("the task to be gone", || b.task("c").is_none().then_some(()));
    b.ctr(&["namespaces", "create", "last"]);
    let seen =
        eventually("the last event", || std::fs::read_to_string(&events).ok().filter(|t| t.contains("last")));
    assert_eq!(seen.matches("/tasks/exit").count(), 1, "{seen}");
    listener.kill().unwrap();
    listener.wait().unwrap();
    b.finish();
}

/// The shim dies right after it has written an exit down, while the daemon cannot listen.
#[test]
fn an_exit_of_which_a_dead_shim_left_only_the_record_is_told_as_it_was() {
    let b = bench("record");
    b.pull();
    let events = b.scratch.join("events");
    let out = std::fs::File::create(&events).unwrap();
    let mut listener = b.daemon.ctr_command(&["events"]).stdout(Stdio::from(out)).spawn().unwrap();
    let told = || std::fs::read_to_string(&events).ok();
    let mut n = 0;
    eventually("the subscription", || {
        n += 1;
        b.ctr(&["namespaces", "create", &format!("probe{n}")]);
        told().filter(|t| !t.is_empty())
    });
    let script = "trap 'exit 23' TERM; echo ready; while :; do usleep 10000; done";
    let log = b.scratch.join("out.log");
    let uri = format!("file://{}", log.display());
    b.ctr(&["run", "-d", "--log-uri", &uri, &b.image, "c", "sh", "-c", script]);
    eventually("the trap to be set", || std::fs::read_to_string(&log).ok().filter(|t| t.contains("ready")));
    let container = b.task("c").unwrap().0;
    let (daemon, shim) = (b.daemon.pid().unwrap(), b.daemon.shims()[0]);
    let bundles = b.daemon.state().join("io.containerd.runtime.v2.task").join(b.daemon.namespace());
    signal(daemon, Signal::SIGSTOP);
    signal(container, Signal::SIGTERM);
    eventually("the record", || bundles.join("c/exits/init.json").exists().then_some(()));
    signal(shim, Signal::SIGKILL);
    signal(daemon, Signal::SIGCONT);
    eventually("the deletion", || told().filter(|t| t.contains("/tasks/delete")));
    let seen = told().unwrap();
    let exits: Vec<_> = seen.lines().filter(|line| line.contains("/tasks/exit")).collect();
    assert!(exits.len() == 1 && exits[0].contains("\"exit_status\":23"), "{seen}");
    eventually("the task to be gone", || b.task("c").is_none().then_some(()));
    listener.kill().unwrap();
    listener.wait().unwrap();
    b.finish();
}

#[test]
fn a_frozen_shim_delays_neither_start_up_nor_others() {
    // Whoever waits for the frozen one waits for minutes.
    let mut b = bench_with("frozen", "[timeouts]\n\"io.containerd.timeout.shim.load\" = \"5m\"\n");
    b.pull();
    b.ctr(&["run", "-d", &b.image, "ice", "sleep", "1000"]);
    let frozen = b.daemon.shims()[0];
    b.ctr(&["run", "-d", &b.image, "fine", "sleep", "1000"]);
    b.daemon.kill9().unwrap();
    signal(frozen, Signal::SIGSTOP);
    let asked = Instant::now();
    b.daemon.start().unwrap();
    assert_eq!(b.ctr(&["run", "--rm", &b.image, "new", "echo", "hi"]), "hi\n");
    assert_eq!(b.ctr(&["tasks", "exec", "--exec-id", "e", "fine", "echo", "hi"]), "hi\n");
    assert!(asked.elapsed() < Duration::from_secs(120), "{:?}", asked.elapsed());
    signal(frozen, Signal::SIGCONT);
    b.status("ice", "RUNNING");
    assert_eq!(b.ctr(&["tasks", "exec", "--exec-id", "e", "ice", "echo", "thawed"]), "thawed\n");
    b.finish();
}

/// A small generator, so that a failing run can be had again from its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

fn seed() -> u64 {
    let seed = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(0x5eed_2026);
    eprintln!("SEED={seed}");
    seed
}

#[test]
fn the_daemon_may_die_at_any_moment_of_a_run() {
    let mut b = bench("anyrun");
    b.pull();
    let mut random = Random(seed());
    for round in 0..25 {
        let id = format!("r{round}");
        let mut child = b
            .daemon
            .ctr_command(&["run", "-d", &b.image, &id, "sleep", "1000"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_micros(random.below(120_000)));
        b.daemon.kill9().unwrap();
        let _ = child.wait();
        b.daemon.start().unwrap();
        b.ctr(&["version"]);
        // Whatever was half-made can be removed, and its name used again.
        b.remove(&id);
        let _ = b.daemon.ctr(&["snapshots", "rm", &id]);
        assert_eq!(b.ctr(&["run", "--rm", &b.image, &id, "echo", "again"]), "again\n", "round {round}");
    }
    b.finish();
}

#[test]
fn the_daemon_may_die_at_any_moment_of_a_pull() {
    let mut b = bench("anypull");
    let image = Image::large(3, 12, 700_000).unwrap();
    let name = b.registry.push(&image, "test/large", "1").unwrap();
    let mut random = Random(seed());
    for _ in 0..8 {
        let mut child = b
            .daemon
            .ctr_command(&["images", "pull", "--plain-http", &name])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_micros(random.below(400_000)));
        b.daemon.kill9().unwrap();
        let _ = child.wait();
        b.daemon.start().unwrap();
    }
    b.ctr(&["images", "pull", "--plain-http", &name]);
    let sizes = b.ctr(&["run", "--rm", &name, "c", "sh", "-c", "cat /data*/* | wc -c"]);
    assert_eq!(sizes.trim(), (3 * 12 * 700_000).to_string());
    // Interrupted ingests and extractions belong to nobody any more: they go with their leases.
    for lease in b.ctr(&["leases", "ls", "-q"]).lines() {
        b.ctr(&["leases", "rm", "--sync", lease]);
    }
    b.ctr(&["images", "rm", "--sync", &name]);
    let kept = b.ctr(&["snapshots", "ls"]);
    assert_eq!(kept.lines().count(), 1, "{kept}");
    let dirs = b.daemon.root().join("io.containerd.snapshotter.v1.overlayfs/snapshots");
    eventually("the snapshot directories to go", || entries(&dirs).is_empty().then_some(()));
    b.finish();
}

#[test]
fn the_daemon_may_die_at_any_moment_of_an_exec() {
    let mut b = bench("anyexec");
    b.pull();
    b.ctr(&["run", "-d", &b.image, "c", "sleep", "1000"]);
    let pid = b.task("c").unwrap().0;
    let mut random = Random(seed());
    for round in 0..12 {
        let id = format!("e{round}");
        let mut exec = b.daemon.ctr_command(&[
            "tasks",
            "exec",
            "--exec-id",
            &id,
            "c",
            "sh",
            "-c",
            "usleep 20000; exit 4",
        ]);
        let mut child = exec.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(random.below(90_000)));
        b.daemon.kill9().unwrap();
        let _ = child.wait();
        b.daemon.start().unwrap();
        b.status("c", "RUNNING");
        assert_eq!(b.task("c").unwrap().0, pid);
        assert_eq!(
            b.ctr(&["tasks", "exec", "--exec-id", "next", "c", "echo", "fine"]),
            "fine\n",
            "round {round}"
        );
    }
    b.finish();
}

#[test]
fn the_daemon_may_die_at_any_moment_of_an_exit() {
    let mut b = bench("anyexit");
    b.pull();
    let mut random = Random(seed());
    for round in 0..12 {
        let id = format!("x{round}");
        b.ctr(&["run", "-d", &b.image, &id, "sh", "-c", "usleep 60000; exit 23"]);
        std::thread::sleep(Duration::from_micros(random.below(80_000)));
        b.daemon.kill9().unwrap();
        std::thread::sleep(Duration::from_micros(random.below(60_000)));
        b.daemon.start().unwrap();
        b.status(&id, "STOPPED");
        let said = b.daemon.ctr(&["tasks", "rm", &id]).unwrap().stderr;
        assert!(said.contains("exit code 23"), "round {round}: {said}");
        b.ctr(&["containers", "rm", &id]);
    }
    b.finish();
}
