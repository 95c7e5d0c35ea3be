//! Parts in other processes: one of our daemons is the snapshotter, the differ or the content store of another.
#![allow(clippy::unwrap_used)]

use integration::{Daemon, Image, Kind, Registry, Scratch};

struct Pair {
    far: Daemon,
    near: Daemon,
    image: String,
    _registry: Registry,
    _scratch: Scratch,
}

/// Two daemons; what `near` has as `name` (a plugin of `kind`) is done by `far`.
fn pair(name: &str, kind: &str) -> Pair {
    let scratch = Scratch::new("proxy").unwrap();
    let registry = Registry::start(scratch.path()).unwrap();
    let image = registry.push(&Image::busybox().unwrap(), "test/busybox", "latest").unwrap();
    // The far one holds things for which it has no reference of its own: it must not collect them.
    let patient = "[plugins.'io.containerd.gc.v1.scheduler']\nstartup_delay = '1h'\nmutation_threshold = 1000000\npause_threshold = 0.0\n";
    let mut far = Daemon::new(Kind::Ours, scratch.join("far")).config(patient);
    far.start().unwrap();
    let table =
        format!("[proxy_plugins.{name}]\ntype = \"{kind}\"\naddress = \"{}\"\n", far.address().display());
    let mut near = Daemon::new(Kind::Ours, scratch.join("near")).config(&table);
    near.start().unwrap();
    Pair { far, near, image, _registry: registry, _scratch: scratch }
}

impl Pair {
    fn near(&self, args: &[&str]) -> String {
        self.near.ctr_rs(args).unwrap().ok().unwrap()
    }

    /// The client on `far`, in the namespace of `near`.
    fn far(&self, args: &[&str]) -> String {
        let args = [&["--namespace", self.near.namespace()], args].concat();
        self.far.ctr_rs(&args).unwrap().ok().unwrap()
    }

    fn finish(mut self) {
        self.near.stop().unwrap();
        self.far.stop().unwrap();
        self.near.assert_clean();
    }
}

#[test]
fn a_snapshotter_may_be_another_process() {
    let p = pair("native", "snapshot");
    p.near(&["images", "pull", "--snapshotter", "native", &p.image]);
    let run = ["run", "--rm", "--snapshotter", "native", &p.image, "c", "echo", "from afar"];
    assert_eq!(p.near(&run), "from afar\n");
    assert!(p.far(&["snapshots", "--snapshotter", "native", "ls"]).contains("Committed"));
    p.finish();
}

#[test]
fn a_snapshotter_that_is_away_fails_one_call_and_comes_back() {
    let mut p = pair("native", "snapshot");
    p.near(&["images", "pull", "--snapshotter", "native", &p.image]);
    p.far.kill9().unwrap();
    let run = ["run", "--rm", "--snapshotter", "native", &p.image, "c", "echo", "back"];
    let ran = p.near.ctr_rs(&run).unwrap();
    assert!(ran.code != 0 && ran.stderr.lines().count() == 1, "{}", ran.stderr);
    // Nothing else is held up.
    p.near(&["images", "ls"]);
    p.far.start().unwrap();
    assert_eq!(p.near(&run), "back\n");
    p.finish();
}

#[test]
fn a_content_store_may_be_another_process() {
    let p = pair("content", "content");
    p.near(&["images", "pull", &p.image]);
    assert_eq!(p.far(&["content", "ls", "-q"]).lines().count(), 3);
    assert_eq!(p.near(&["run", "--rm", &p.image, "c", "echo", "read from afar"]), "read from afar\n");
    p.finish();
}
