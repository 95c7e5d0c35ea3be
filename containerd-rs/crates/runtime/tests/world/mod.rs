//! A place to run real shims in: directories, a root file system, recorded containers, and daemons that come and go.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base::any::type_url;
use base::filter::FilterSet;
use base::{Any, Mount, Namespace};
use events::{Envelope, Exchange, Subscription};
use protobuf::Message;
use protos::shim::events::{TaskDelete, TaskExit};
use protos::shim::events_service::{Events, ForwardRequest, create_events};
use runtime::{CreateTask, Exit, Records, Runtime, RuntimeOptions, Status, Timeouts};

/// Debian's shim of containerd 1.6.
pub const GO_SHIM: &str = "/usr/bin/containerd-shim-runc-v2";

/// Containers that are "recorded".
#[derive(Clone, Default)]
pub struct Recorded(Arc<Mutex<HashMap<String, String>>>);

impl Records for Recorded {
    fn runtime_of(&self, _: &Namespace, id: &str) -> Result<Option<String>, base::Error> {
        Ok(self.0.lock().unwrap().get(id).cloned())
    }
    fn has_sandbox(&self, _: &Namespace, id: &str) -> Result<bool, base::Error> {
        Ok(id.starts_with("sandbox") && self.0.lock().unwrap().contains_key(id))
    }
}

pub struct World {
    dir: tempfile::TempDir,
    pub namespace: Namespace,
    pub recorded: Recorded,
    pub shim: PathBuf,
}

impl World {
    /// A world whose containers run under `shim`.
    pub fn new(shim: impl Into<PathBuf>) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let dir = tempfile::Builder::new().prefix("crt-").tempdir_in("/tmp").unwrap();
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let namespace = Namespace::new(format!("crt{}-{n}", std::process::id())).unwrap();
        // The same promises under another shim.
        let shim = std::env::var_os("TEST_SHIM").map_or_else(|| shim.into(), PathBuf::from);
        let world = Self { dir, namespace, recorded: Recorded::default(), shim };
        let bin = world.path("rootfs/bin");
        fs::create_dir_all(&bin).unwrap();
        for name in ["proc", "dev", "sys", "tmp"] {
            fs::create_dir_all(world.path("rootfs").join(name)).unwrap();
        }
        fs::copy("/bin/busybox", bin.join("busybox")).unwrap();
        std::os::unix::fs::symlink("busybox", bin.join("sh")).unwrap();
        world
    }

    /// Whether the shim under test is the original's.
    pub fn is_original(&self) -> bool {
        let version = std::process::Command::new(&self.shim).arg("-v").output().unwrap();
        String::from_utf8_lossy(&version.stdout).contains("Go version")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn state(&self) -> PathBuf {
        self.path("state")
    }

    pub fn bundle(&self, id: &str) -> PathBuf {
        self.state().join(self.namespace.as_str()).join(id)
    }

    /// A daemon over this world's directories.
    pub fn daemon(&self) -> Daemon {
        self.daemon_with(|_| {})
    }

    pub fn daemon_with(&self, change: impl FnOnce(&mut RuntimeOptions)) -> Daemon {
        self.daemon_of(self.recorded.clone(), change)
    }

    /// A daemon that reads other records.
    pub fn daemon_of(&self, records: impl Records, change: impl FnOnce(&mut RuntimeOptions)) -> Daemon {
        let rt = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let exchange = Exchange::new(Arc::new(|_: &Any, _: &[&str]| None));
        let events = exchange.subscribe(FilterSet::parse(&[""; 0]).unwrap());
        let mut options = RuntimeOptions {
            root: self.path("root"),
            state: self.state(),
            address: self.path("d.sock").display().to_string(),
            ttrpc_address: self.path("d.sock.ttrpc").display().to_string(),
            daemon_binary: self.path("bin/containerd-rs"),
            version: "2.3.4".to_owned(),
            shim_env: vec![],
            socket_dir: None,
            debug: false,
            timeouts: Timeouts::default(),
            mounts: None,
            log_sink: Some(Arc::new(|_: &[u8]| ())),
        };
        change(&mut options);
        let _ = fs::remove_file(&options.ttrpc_address);
        let ttrpc = options.ttrpc_address.clone();
        let runtime = rt.block_on(async { Runtime::new(options, records, exchange.clone()) });
        Daemon {
            rt: Some(rt),
            runtime,
            exchange,
            events,
            stop_events: Mutex::default(),
            ttrpc,
            namespace: self.namespace.clone(),
        }
    }

    /// Records a container and gives what creates its task: `sh -c script`.
    pub fn container(&self, id: &str, script: &str) -> CreateTask {
        self.record(id);
        CreateTask {
            container_id: id.to_owned(),
            runtime_name: self.shim.display().to_string(),
            spec: Some(Any::new(type_url::SPEC, self.spec(id, script))),
            rootfs: vec![Mount::new(
                "bind",
                self.path("rootfs").display().to_string(),
                vec!["rbind".to_owned(), "rw".to_owned()],
            )],
            ..CreateTask::default()
        }
    }

    pub fn record(&self, id: &str) {
        let name = self.shim.display().to_string();
        self.recorded.0.lock().unwrap().insert(id.to_owned(), name);
    }

    pub fn forget(&self, id: &str) {
        self.recorded.0.lock().unwrap().remove(id);
    }

    fn spec(&self, id: &str, script: &str) -> String {
        let script = serde_json::to_string(script).unwrap();
        format!(
            r#"{{"ociVersion":"1.0.2","process":{{"user":{{"uid":0,"gid":0}},"args":["/bin/sh","-c",{script}],
            "env":["PATH=/bin"],"cwd":"/"}},"root":{{"path":"rootfs"}},"hostname":"c",
            "mounts":[{{"destination":"/proc","type":"proc","source":"proc"}},{{"destination":"/dev","type":"tmpfs","source":"tmpfs"}}],
            "linux":{{"cgroupsPath":"/{ns}/{id}","namespaces":[{{"type":"pid"}},{{"type":"mount"}},{{"type":"ipc"}},{{"type":"uts"}}]}}}}"#,
            ns = self.namespace
        )
    }

    /// A program that stands in for a shim.
    pub fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// The pids of processes that run below the state directory: shims and what they called.
    pub fn shims(&self) -> Vec<i32> {
        let all = fs::read_dir("/proc").unwrap().flatten();
        all.filter_map(|p| p.file_name().to_str()?.parse::<i32>().ok())
            .filter(|pid| {
                fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(self.dir.path()))
            })
            .collect()
    }

    /// Fails unless everything that was started is gone.
    pub fn assert_clean(&self) {
        eventually("no shim is left", || self.shims().is_empty().then_some(()));
        let files = |dir: &Path| -> Vec<PathBuf> {
            let namespaces = fs::read_dir(dir).map(|d| d.flatten().collect::<Vec<_>>()).unwrap_or_default();
            namespaces
                .iter()
                .filter_map(|n| fs::read_dir(n.path()).ok())
                .flatten()
                .flatten()
                .map(|e| e.path())
                .collect()
        };
        for dir in [self.state(), self.path("root")] {
            eventually(&format!("{dir:?} is empty, has {:?}", files(&dir)), || {
                files(&dir).is_empty().then_some(())
            });
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(self.dir.path().to_str().unwrap()), "mounts are left");
        let runc = Path::new("/run/containerd/runc").join(self.namespace.as_str());
        let left = fs::read_dir(&runc).map(|d| d.count()).unwrap_or(0);
        assert_eq!(left, 0, "runc state is left");
        let _ = fs::remove_dir(runc);
        for ours in self.groups() {
            let containers = fs::read_dir(&ours).map(|d| d.flatten().filter(|e| e.path().is_dir()).count());
            assert_eq!(containers.unwrap_or(0), 0, "a cgroup is left in {ours:?}");
        }
    }

    /// The group above all containers of this world, in each hierarchy.
    fn groups(&self) -> Vec<PathBuf> {
        let hierarchies = fs::read_dir("/sys/fs/cgroup").unwrap().flatten();
        hierarchies.map(|h| h.path().join(self.namespace.as_str())).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // A failed test must not leave processes: only what runs in this world's own directory.
        for pid in self.shims() {
            signal(pid, rustix::process::Signal::KILL);
        }
        let runc = Path::new("/run/containerd/runc").join(self.namespace.as_str());
        for entry in fs::read_dir(&runc).into_iter().flatten().flatten() {
            let id = entry.file_name();
            let _ = std::process::Command::new("runc")
                .arg("--root")
                .arg(&runc)
                .args(["delete", "--force"])
                .arg(id)
                .output();
        }
        let _ = fs::remove_dir_all(&runc);
        for group in self.groups() {
            let _ = fs::remove_dir(group);
        }
        let _ = sys::mount::unmount_recursive(self.dir.path(), sys::mount::UnmountFlags::DETACH);
    }
}

struct Forwarding(Exchange);

#[async_trait::async_trait]
impl Events for Forwarding {
    async fn forward(
        &self,
        _: &ttrpc::r#async::TtrpcContext,
        request: ForwardRequest,
    ) -> ttrpc::Result<protos::shim::Empty> {
        let envelope = request.envelope.unwrap_or_default();
        let stamp = envelope.timestamp.unwrap_or_default();
        let event = envelope.event.unwrap_or_default();
        let forwarded = self.0.forward(Envelope {
            timestamp: std::time::SystemTime::UNIX_EPOCH
                + Duration::new(stamp.seconds.unsigned_abs(), stamp.nanos.unsigned_abs()),
            namespace: envelope.namespace,
            topic: envelope.topic,
            event: Any::new(event.type_url, event.value),
        });
        forwarded.map_err(|e| ttrpc::Error::Others(e.to_string()))?;
        Ok(protos::shim::Empty::default())
    }
}

/// A daemon's part that this crate is; dropping it is `kill -9`: every task of it ends on the spot.
pub struct Daemon {
    rt: Option<tokio::runtime::Runtime>,
    pub runtime: Runtime,
    pub exchange: Exchange,
    events: Subscription,
    stop_events: Mutex<Option<tokio::sync::oneshot::Sender<()>>>,
    ttrpc: String,
    pub namespace: Namespace,
}

impl Daemon {
    pub fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.rt.as_ref().unwrap().block_on(work)
    }

    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.rt.as_ref().unwrap().spawn(work)
    }

    /// From now on shims can send their events; a daemon opens this after it has looked for what is there.
    pub fn serve(&self) {
        let mut stop_events = self.stop_events.lock().unwrap();
        if stop_events.is_some() {
            return;
        }
        let forwarding = Arc::new(Forwarding(self.exchange.clone()));
        let address = format!("unix://{}", self.ttrpc);
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        self.run(async {
            let server = ttrpc::r#async::Server::new().bind(&address).unwrap();
            let mut server = server.register_service(create_events(forwarding));
            server.start().await.unwrap();
            tokio::spawn(async move {
                let _ = stopped.await;
                let _ = server.shutdown().await;
            });
        });
        *stop_events = Some(stop);
    }

    pub fn create(&self, task: CreateTask) -> Result<u32, runtime::Error> {
        self.serve();
        self.run(self.runtime.create(&self.namespace, task))
    }

    pub fn start(&self, id: &str) -> u32 {
        self.run(self.runtime.start(&self.namespace, id, "")).unwrap()
    }

    pub fn wait(&self, id: &str) -> Exit {
        self.run(async {
            tokio::time::timeout(PATIENCE, self.runtime.wait(&self.namespace, id, ""))
                .await
                .expect("wait ends")
        })
        .unwrap()
    }

    pub fn delete(&self, id: &str) -> Result<Exit, runtime::Error> {
        self.run(self.runtime.delete(&self.namespace, id))
    }

    pub fn kill(&self, id: &str) -> Result<(), runtime::Error> {
        self.run(self.runtime.kill(&self.namespace, id, "", 9, true))
    }

    pub fn status(&self, id: &str) -> Result<Status, runtime::Error> {
        self.run(self.runtime.state(&self.namespace, id, "")).map(|state| state.status)
    }

    /// Kills, waits, deletes.
    pub fn finish(&self, id: &str) -> Exit {
        let _ = self.kill(id);
        self.wait(id);
        self.delete(id).unwrap()
    }

    /// Everything that was published since the last call.
    pub fn events(&mut self) -> Vec<Arc<Envelope>> {
        std::iter::from_fn(|| self.events.try_recv()).collect()
    }

    /// Waits until there was an event of `topic`, then a little for its doubles; gives all events.
    pub fn events_until(&mut self, topic: &str) -> Vec<Arc<Envelope>> {
        let mut all = Vec::new();
        eventually(&format!("event {topic}"), || {
            all.extend(self.events());
            all.iter().any(|e| e.topic == topic).then_some(())
        });
        std::thread::sleep(Duration::from_millis(200));
        all.extend(self.events());
        all
    }

    pub fn endpoint(&self, id: &str) -> runtime::Endpoint {
        eventually("the shim tells its pid", || {
            let endpoint = self.run(self.runtime.endpoint(&self.namespace, id)).unwrap();
            (endpoint.shim_pid != 0).then_some(endpoint)
        })
    }

    /// Recovery, to its end.
    pub fn recover(&self) -> runtime::Recovered {
        let rest = self.run(self.runtime.recover()).unwrap();
        self.serve();
        self.run(rest).unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(rt) = self.rt.take() {
            rt.shutdown_timeout(Duration::from_secs(2));
        }
    }
}

pub fn topics(events: &[Arc<Envelope>]) -> Vec<&str> {
    events.iter().map(|e| e.topic.as_str()).collect()
}

pub fn exits(events: &[Arc<Envelope>]) -> Vec<TaskExit> {
    let exits = events.iter().filter(|e| e.topic == "/tasks/exit");
    exits.map(|e| TaskExit::parse_from_bytes(&e.event.value).unwrap()).collect()
}

pub fn deletes(events: &[Arc<Envelope>]) -> Vec<TaskDelete> {
    let deletes = events.iter().filter(|e| e.topic == "/tasks/delete");
    deletes.map(|e| TaskDelete::parse_from_bytes(&e.event.value).unwrap()).collect()
}

pub fn signal(pid: i32, signal: rustix::process::Signal) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// Stops a process, and waits until each of its threads stands still: the signal alone is obeyed a little later.
pub fn freeze(pid: i32) {
    signal(pid, rustix::process::Signal::STOP);
    eventually("all threads to stand still", || {
        let mut threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten();
        let stopped = |stat: String| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'));
        threads.all(|t| fs::read_to_string(t.path().join("stat")).is_ok_and(stopped)).then_some(())
    });
}

pub fn alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|s| !s.contains(") Z "))
}

/// Longer than anything takes, on a machine however busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Polls until `check` gives something; panics after [`PATIENCE`].
pub fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "waited for: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
