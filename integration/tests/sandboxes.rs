//! Pods that live in their shim, without a pause container, under our daemon.
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use integration::leftovers::entries;
use integration::{Daemon, Image, Kind, Registry, Scratch, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

struct Bench {
    daemon: Daemon,
    image: String,
    pod: PathBuf,
    events: PathBuf,
    listener: Option<Child>,
    _registry: Registry,
    _scratch: Scratch,
}

fn bench(name: &str, pod: &str) -> Bench {
    let scratch = Scratch::new(name).unwrap();
    let registry = Registry::start(scratch.path()).unwrap();
    let image = registry.push(&Image::busybox().unwrap(), "test/busybox", "latest").unwrap();
    let mut daemon = Daemon::new(Kind::Ours, scratch.join("d"));
    daemon.start().unwrap();
    let config = scratch.join("pod.json");
    std::fs::write(&config, pod).unwrap();
    let events = scratch.join("events");
    let mut bench =
        Bench { daemon, image, pod: config, events, listener: None, _registry: registry, _scratch: scratch };
    bench.ctr(&["images", "pull", "--plain-http", &bench.image.clone()]);
    bench.listen();
    bench
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.deafen();
    }
}

impl Bench {
    fn ctr(&self, args: &[&str]) -> String {
        self.daemon.ctr_rs(args).unwrap().ok().unwrap()
    }

    fn refused(&self, args: &[&str]) -> String {
        let ran = self.daemon.ctr_rs(args).unwrap();
        assert_ne!(ran.code, 0, "{}", ran.stdout);
        ran.stderr
    }

    /// Takes down every event from now on.
    fn listen(&mut self) {
        let file = File::options().create(true).append(true).open(&self.events).unwrap();
        let child = self
            .daemon
            .ctr_rs_command(&["events"])
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.listener = Some(child);
        // It hears something: then it is there.
        let mut n = 0;
        eventually("the listener", || {
            n += 1;
            let name = format!("probe{n}");
            let before = self.heard("/namespaces/create").len();
            self.ctr(&["namespaces", "create", &name]);
            self.ctr(&["namespaces", "rm", &name]);
            (self.heard("/namespaces/create").len() > before).then_some(())
        });
    }

    fn deafen(&mut self) {
        if let Some(mut child) = self.listener.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn heard(&self, topic: &str) -> Vec<String> {
        let text = std::fs::read_to_string(&self.events).unwrap_or_default();
        text.lines().filter(|l| l.split_whitespace().any(|w| w == topic)).map(str::to_owned).collect()
    }

    fn run_pod(&self, id: &str) {
        assert_eq!(self.ctr(&["sandboxes", "run", self.pod.to_str().unwrap(), id]).trim(), id);
    }

    /// `(state, pid)`
    fn status(&self, id: &str) -> (String, u32) {
        let text = self.ctr(&["sandboxes", "info", "--status", id]);
        let info: serde_json::Value = serde_json::from_str(&text).unwrap();
        let status = &info["Status"];
        (status["State"].as_str().unwrap().to_owned(), status["Pid"].as_u64().unwrap().try_into().unwrap())
    }

    /// Runs a container in the pod, in those of its namespaces that are named.
    fn member(&self, pod: &str, id: &str, shared: &[&str]) -> u32 {
        let (_, pid) = self.status(pod);
        let spaces: Vec<String> =
            shared.iter().map(|kind| format!("--with-ns={kind}:/proc/{pid}/ns/{}", file(kind))).collect();
        let mut args = vec!["run", "-d", "--sandbox", pod];
        args.extend(spaces.iter().map(String::as_str));
        args.extend([self.image.as_str(), id, "sleep", "1000"]);
        self.ctr(&args);
        self.task(id).unwrap().0
    }

    /// `(pid, status)`
    fn task(&self, id: &str) -> Option<(u32, String)> {
        let listed = self.daemon.ctr_rs(&["tasks", "ls"]).unwrap().ok().ok()?;
        let line = listed.lines().find(|l| l.split_whitespace().next() == Some(id))?;
        let mut words = line.split_whitespace().skip(1);
        Some((words.next()?.parse().ok()?, words.next()?.to_owned()))
    }

    fn bundles(&self, plugin: &str) -> Vec<String> {
        entries(&self.daemon.state().join(plugin).join(self.daemon.namespace()))
    }

    fn none_left(&self) {
        for plugin in ["io.containerd.sandbox.controller.v1.shim", "io.containerd.runtime.v2.task"] {
            eventually(&format!("no bundles in {plugin}"), || self.bundles(plugin).is_empty().then_some(()));
        }
        eventually("no shims", || self.daemon.shims().is_empty().then_some(()));
    }

    fn finish(mut self) {
        for id in self.ctr(&["containers", "ls", "-q"]).lines() {
            let _ = self.daemon.ctr_rs(&["tasks", "rm", "-f", id]);
            self.ctr(&["containers", "rm", id]);
        }
        assert_eq!(self.ctr(&["sandboxes", "ls", "-q"]), "");
        self.none_left();
        self.deafen();
        self.daemon.stop().unwrap();
        self.daemon.assert_clean();
    }
}

fn file(kind: &str) -> &str {
    if kind == "network" { "net" } else { kind }
}

fn namespace(pid: u32, kind: &str) -> String {
    std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap().to_string_lossy().into_owned()
}

fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
}

fn gone(pid: u32) {
    eventually("a process to go", || (!PathBuf::from(format!("/proc/{pid}")).exists()).then_some(()));
}

const SHARED: &str = r#"{"hostname":"pod","linux":{"namespaces":[{"type":"ipc"},{"type":"uts"},{"type":"pid"},{"type":"network"}]}}"#;

#[test]
fn a_pod_and_its_containers_live_in_one_shim() {
    let b = bench("pod", SHARED);
    b.run_pod("pod");
    let (state, pid) = b.status("pod");
    assert_eq!(state, "SANDBOX_READY");
    assert_eq!((b.heard("/sandboxes/create").len(), b.heard("/sandboxes/start").len()), (1, 1));
    let said = b.refused(&["sandboxes", "run", b.pod.to_str().unwrap(), "pod"]);
    assert!(said.contains("already exists"), "{said}");
    let all = ["ipc", "uts", "pid", "network"];
    let (one, two) = (b.member("pod", "one", &all), b.member("pod", "two", &all));
    for kind in all {
        let kind = file(kind);
        assert_eq!(namespace(one, kind), namespace(pid, kind), "{kind}");
        assert_eq!(namespace(two, kind), namespace(pid, kind), "{kind}");
    }
    assert_eq!(b.daemon.shims().len(), 1, "one shim for all");
    // A container that is deleted does not end the pod.
    // Its exit status is the task's.
    assert_eq!(b.daemon.ctr_rs(&["tasks", "rm", "-f", "one"]).unwrap().code, 137);
    assert_eq!(b.status("pod"), ("SANDBOX_READY".to_owned(), pid));
    assert_eq!(b.task("two").unwrap().1, "RUNNING");
    assert_eq!(b.ctr(&["tasks", "exec", "--exec-id", "e", "two", "hostname"]), "pod\n");
    // The pod takes the rest along.
    assert_eq!(b.ctr(&["sandboxes", "rm", "pod"]).trim(), "pod");
    gone(pid);
    gone(two);
    eventually("its end to be told", || (b.heard("/sandboxes/exit").len() == 1).then_some(()));
    eventually("the task to be gone", || b.task("two").is_none().then_some(()));
    assert_eq!(
        b.heard("/tasks/exit").iter().filter(|l| l.contains("\"two\"") && !l.contains("\"e\"")).count(),
        1
    );
    b.finish();
}

#[test]
fn pods_outlive_the_daemon() {
    let mut b = bench("podlive", SHARED);
    for id in ["stays", "ends"] {
        b.run_pod(id);
    }
    let (_, stays) = b.status("stays");
    let (_, ends) = b.status("ends");
    let inside = b.member("stays", "one", &["ipc", "pid"]);
    b.deafen();
    b.daemon.kill9().unwrap();
    signal(ends, Signal::SIGKILL);
    gone(ends);
    b.daemon.start().unwrap();
    b.listen();
    eventually("the pod to be taken over", || {
        (b.status("stays") == ("SANDBOX_READY".to_owned(), stays)).then_some(())
    });
    assert_eq!(b.task("one").unwrap(), (inside, "RUNNING".to_owned()));
    assert_eq!(b.status("ends"), ("SANDBOX_NOTREADY".to_owned(), 0));
    b.member("stays", "two", &["ipc", "pid"]);
    assert_eq!(b.daemon.shims().len(), 2, "one shim for each pod");
    for id in ["stays", "ends"] {
        b.ctr(&["sandboxes", "rm", id]);
    }
    b.finish();
}

#[test]
fn a_shim_that_is_killed_takes_its_pod_along() {
    let b = bench("podkill", SHARED);
    b.run_pod("pod");
    let (_, pid) = b.status("pod");
    let inside = b.member("pod", "one", &["ipc", "uts"]);
    let shims = b.daemon.shims();
    assert_eq!(shims.len(), 1);
    signal(shims[0], Signal::SIGKILL);
    gone(pid);
    gone(inside);
    eventually("the end of the pod to be told", || (b.heard("/sandboxes/exit").len() == 1).then_some(()));
    eventually("the end of the task to be told", || {
        (b.heard("/tasks/exit").iter().filter(|l| l.contains("\"one\"")).count() == 1).then_some(())
    });
    assert_eq!(b.status("pod"), (String::new(), 0));
    // Its record is left, and can be removed.
    assert_eq!(b.ctr(&["sandboxes", "rm", "pod"]).trim(), "pod");
    assert_eq!(b.heard("/sandboxes/exit").len(), 1);
    // The name is free.
    b.run_pod("pod");
    b.ctr(&["sandboxes", "rm", "pod"]);
    b.finish();
}

#[test]
fn what_cannot_start_leaves_nothing() {
    let b = bench("podbad", r#"{"linux":{"namespaces":[{"type":"network"}],"sysctl":{"net.no.such":"1"}}}"#);
    let said = b.refused(&["sandboxes", "run", b.pod.to_str().unwrap(), "pod"]);
    assert!(said.contains("net.no.such"), "{said}");
    b.none_left();
    for (spec, words) in [
        (r#"{"linux":{"namespaces":[{"type":"nonsense"}]}}"#, "unknown namespace"),
        (r#"{"linux":{"sysctl":{"vm.swappiness":"1"}}}"#, "separate kernel namespace"),
        ("{", "failed to parse sandbox config"),
    ] {
        std::fs::write(&b.pod, spec).unwrap();
        let said = b.refused(&["sandboxes", "run", b.pod.to_str().unwrap(), "pod"]);
        assert!(said.contains(words), "{said}");
        b.none_left();
    }
    let said = b.refused(&[
        "sandboxes",
        "run",
        "--runtime",
        "io.containerd.nope.v9",
        b.pod.to_str().unwrap(),
        "pod",
    ]);
    assert!(said.contains("failed to"), "{said}");
    b.finish();
}

#[test]
fn a_daemon_killed_while_it_makes_pods_leaves_none_behind() {
    let mut b = bench("podmid", SHARED);
    for round in 0..8_u64 {
        let config = b.pod.to_str().unwrap();
        let mut child = b
            .daemon
            .ctr_rs_command(&["sandboxes", "run", config, "pod"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Another moment each time, from the record to the running pod.
        std::thread::sleep(Duration::from_millis(round * 8));
        b.deafen();
        b.daemon.kill9().unwrap();
        child.wait().unwrap();
        b.daemon.start().unwrap();
        // Finished or not, what has a record can be removed, and what has none is gone.
        eventually("the pod to be removed", || {
            let listed = b.daemon.ctr_rs(&["sandboxes", "ls", "-q"]).ok()?.ok().ok()?;
            if listed.trim().is_empty() {
                return Some(());
            }
            let _ = b.daemon.ctr_rs(&["sandboxes", "rm", "-f", "pod"]);
            None
        });
        b.none_left();
    }
    b.finish();
}
