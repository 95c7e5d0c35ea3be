//! Drives a shim without a daemon: bundles, `start`, ttrpc, and a daemon's event socket.
#![allow(dead_code)] // each test file uses its own part

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use protobuf::Message;
use protos::shim::any::{FullName, is, unpack};
use protos::shim::events::TaskExit;
use protos::shim::events_service::{Events, ForwardRequest, create_events};
use protos::shim::options::Options;
use protos::shim::task_v3::*;
use protos::shim::types::Envelope;
use protos::shim::{Any, Empty};
use ttrpc::r#async::TtrpcContext;
use ttrpc::asynchronous::{Client, Server};
use ttrpc::context;

/// The shim under test: ours, or the one that `SHIM_UNDER_TEST` names (the static build; another implementation).
pub fn shim() -> String {
    std::env::var("SHIM_UNDER_TEST")
        .unwrap_or_else(|_| env!("CARGO_BIN_EXE_containerd-shim-runc-v2").to_owned())
}

pub const NAMESPACE: &str = "shimtest";
/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Polls until `probe` gives something.
pub async fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < until, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What a daemon's event service has got.
#[derive(Clone, Default)]
pub struct Seen(Arc<Mutex<Vec<Envelope>>>);

#[async_trait]
impl Events for Seen {
    async fn forward(&self, _: &TtrpcContext, request: ForwardRequest) -> ttrpc::Result<Empty> {
        self.0.lock().unwrap().push(request.envelope.unwrap());
        Ok(Empty::new())
    }
}

impl Seen {
    pub fn topics(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().map(|e| e.topic.clone()).collect()
    }

    pub fn all<M: Message + FullName>(&self) -> Vec<M> {
        let events = self.0.lock().unwrap();
        events.iter().filter(|e| is::<M>(&e.event)).map(|e| unpack(&e.event).unwrap()).collect()
    }

    pub async fn exit_of(&self, id: &str) -> TaskExit {
        eventually(&format!("exit of {id}"), || self.all::<TaskExit>().into_iter().find(|e| e.id == id)).await
    }
}

/// A place with an event socket, and the shims that were started in it.
pub struct Place {
    pub dir: tempfile::TempDir,
    pub seen: Seen,
    events: Option<Server>,
}

impl Place {
    pub async fn new() -> Place {
        let dir = tempfile::Builder::new().prefix("shim").tempdir().unwrap();
        let mut place = Place { dir, seen: Seen::default(), events: None };
        place.daemon_comes().await;
        place
    }

    pub fn ttrpc(&self) -> PathBuf {
        self.dir.path().join("d.ttrpc")
    }

    pub fn grpc(&self) -> PathBuf {
        self.dir.path().join("d")
    }

    pub async fn daemon_comes(&mut self) {
        let _ = std::fs::remove_file(self.ttrpc());
        let address = format!("unix://{}", self.ttrpc().display());
        let mut server = Server::new()
            .bind(&address)
            .unwrap()
            .register_service(create_events(Arc::new(self.seen.clone())));
        server.start().await.unwrap();
        self.events = Some(server);
    }

    pub async fn daemon_goes(&mut self) {
        if let Some(mut server) = self.events.take() {
            server.shutdown().await.unwrap();
        }
        let _ = std::fs::remove_file(self.ttrpc());
    }

    /// A bundle whose container runs `args`.
    pub fn bundle(&self, id: &str, args: &[&str]) -> Bundle {
        Bundle::new(self.dir.path(), id, args)
    }

    /// `start` in the dialect of 1.6.
    pub fn start(&self, bundle: &Bundle) -> Shim<'_> {
        let (output, took) = self.run_start(bundle, b"", &[]);
        let address = String::from_utf8(output).unwrap();
        Shim { place: self, address, start_took: took }
    }

    pub fn run_start(&self, bundle: &Bundle, stdin: &[u8], env: &[(&str, &str)]) -> (Vec<u8>, Duration) {
        let begun = Instant::now();
        let mut child =
            self.command(bundle, "start").envs(env.iter().copied()).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(stdin).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "start: {}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stderr.is_empty(), "start printed to stderr");
        (output.stdout, begun.elapsed())
    }

    pub fn command(&self, bundle: &Bundle, verb: &str) -> Command {
        let mut command = Command::new(shim());
        command
            .args(["-namespace", NAMESPACE, "-publish-binary", "/bin/false", "-id", &bundle.id, "-address"])
            .arg(self.grpc())
            .arg(verb)
            .env("TTRPC_ADDRESS", self.ttrpc())
            .env_remove("MAX_SHIM_VERSION")
            .current_dir(&bundle.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// The `delete` verb.
    pub fn delete(&self, bundle: &Bundle) -> DeleteResponse {
        let output = self.command(bundle, "delete").output().unwrap();
        assert!(output.status.success(), "delete: {}", String::from_utf8_lossy(&output.stderr));
        DeleteResponse::parse_from_bytes(&output.stdout).unwrap()
    }
}

impl Drop for Place {
    /// After a test that failed: nothing of it stays. (After one that passed there is nothing.)
    fn drop(&mut self) {
        let ours = self.dir.path().to_string_lossy().into_owned();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
            let words = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            if pid != std::process::id() && String::from_utf8_lossy(&words).contains(&ours) {
                let _ = sys::pidfd::Pidfd::open(pid).and_then(|p| p.send_signal(9));
            }
        }
        for entry in std::fs::read_dir(self.dir.path()).unwrap().flatten() {
            if entry.path().join("options.json").exists() {
                let id = entry.file_name().to_string_lossy().into_owned();
                let _ = self.command(&Bundle { id, dir: entry.path() }, "delete").output();
            }
        }
    }
}

/// A bundle on disk.
pub struct Bundle {
    pub id: String,
    pub dir: PathBuf,
}

impl Bundle {
    pub fn new(parent: &Path, id: &str, args: &[&str]) -> Bundle {
        let dir = parent.join(id);
        let rootfs = dir.join("rootfs");
        for sub in ["bin", "dev", "proc", "tmp", "sys"] {
            std::fs::create_dir_all(rootfs.join(sub)).unwrap();
        }
        let busybox =
            if Path::new("/usr/bin/busybox").exists() { "/usr/bin/busybox" } else { "/bin/busybox" };
        std::fs::copy(busybox, rootfs.join("bin/busybox")).unwrap();
        for applet in ["sh", "sleep", "cat", "true", "echo", "kill", "dd", "stty", "id"] {
            let _ = std::os::unix::fs::symlink("busybox", rootfs.join("bin").join(applet));
        }
        let bundle = Bundle { id: id.to_owned(), dir };
        bundle.write_spec(&bundle.spec(args));
        rustix::fs::mkfifoat(rustix::fs::CWD, bundle.dir.join("log"), rustix::fs::Mode::from_raw_mode(0o700))
            .unwrap();
        bundle
    }

    pub fn write_spec(&self, spec: &serde_json::Value) {
        std::fs::write(self.dir.join("config.json"), serde_json::to_vec(spec).unwrap()).unwrap();
    }

    pub fn spec(&self, args: &[&str]) -> serde_json::Value {
        serde_json::json!({
            "ociVersion": "1.0.2",
            "process": process(args, false),
            "root": {"path": "rootfs"},
            "hostname": "c",
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]},
                {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666", "mode=0620"]},
            ],
            "linux": {
                "cgroupsPath": format!("/{NAMESPACE}/{}", self.unique()),
                "namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}],
                "resources": {"devices": [{"allow": true, "access": "rwm"}]},
            },
        })
    }

    /// A name that no other run of the tests uses.
    pub fn unique(&self) -> String {
        let parent = self.dir.parent().unwrap().file_name().unwrap().to_string_lossy().into_owned();
        format!("{}-{}", parent.trim_start_matches('.'), self.id)
    }

    /// Runtime options: a runtime, whose state is this place's own.
    pub fn options(&self, binary: &str) -> Any {
        let mut options = Options::new();
        options.binary_name = binary.to_owned();
        options.root = self.dir.parent().unwrap().join("runc").to_string_lossy().into_owned();
        protos::shim::any::pack(&options).unwrap()
    }

    pub fn fifo(&self, name: &str) -> PathBuf {
        let path = self.dir.join(name);
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::from_raw_mode(0o700)).unwrap();
        path
    }

    pub fn create_request(&self) -> CreateTaskRequest {
        let mut request = CreateTaskRequest::new();
        request.id = self.id.clone();
        request.bundle = self.dir.to_string_lossy().into_owned();
        request.options = Some(self.options("")).into();
        request
    }
}

pub fn process(args: &[&str], terminal: bool) -> serde_json::Value {
    serde_json::json!({"terminal": terminal, "user": {"uid": 0, "gid": 0}, "args": args, "cwd": "/",
        "env": ["PATH=/bin"], "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"]}})
}

/// A shim that runs.
pub struct Shim<'a> {
    pub place: &'a Place,
    pub address: String,
    pub start_took: Duration,
}

impl Shim<'_> {
    pub async fn client(&self) -> Task {
        Task(TaskClient::new(Client::connect(&self.address).await.unwrap()))
    }

    pub async fn gone(&self) {
        let path = PathBuf::from(self.address.trim_start_matches("unix://"));
        eventually("shim leaves its socket", || (!path.exists()).then_some(())).await;
    }
}

pub fn forever() -> context::Context {
    context::with_timeout(i64::try_from(PATIENCE.as_nanos()).unwrap())
}

/// The task service, with less to write.
#[derive(Clone)]
pub struct Task(pub TaskClient);

macro_rules! by_id {
    ($($name:ident: $request:ident -> $response:ty),* $(,)?) => { impl Task { $(
        pub async fn $name(&self, id: &str) -> ttrpc::Result<$response> {
            let mut request = $request::new();
            request.id = id.to_owned();
            self.0.$name(forever(), &request).await
        }
    )* } };
}

macro_rules! by_exec {
    ($($name:ident: $request:ident -> $response:ty),* $(,)?) => { impl Task { $(
        pub async fn $name(&self, id: &str, exec_id: &str) -> ttrpc::Result<$response> {
            let mut request = $request::new();
            request.id = id.to_owned();
            request.exec_id = exec_id.to_owned();
            self.0.$name(forever(), &request).await
        }
    )* } };
}

by_id! { pids: PidsRequest -> PidsResponse, pause: PauseRequest -> Empty, resume: ResumeRequest -> Empty, stats: StatsRequest -> StatsResponse, connect: ConnectRequest -> ConnectResponse, shutdown: ShutdownRequest -> Empty }
by_exec! { state: StateRequest -> StateResponse, start: StartRequest -> StartResponse, delete: DeleteRequest -> DeleteResponse, wait: WaitRequest -> WaitResponse }

impl Task {
    pub async fn create(&self, request: &CreateTaskRequest) -> ttrpc::Result<CreateTaskResponse> {
        self.0.create(forever(), request).await
    }

    pub async fn kill(&self, id: &str, exec_id: &str, signal: u32) -> ttrpc::Result<Empty> {
        let mut request = KillRequest::new();
        request.id = id.to_owned();
        request.exec_id = exec_id.to_owned();
        request.signal = signal;
        self.0.kill(forever(), &request).await
    }

    pub async fn exec(
        &self,
        id: &str,
        exec_id: &str,
        args: &[&str],
        set: impl FnOnce(&mut ExecProcessRequest),
    ) -> ttrpc::Result<Empty> {
        let mut request = ExecProcessRequest::new();
        request.id = id.to_owned();
        request.exec_id = exec_id.to_owned();
        let mut spec = Any::new();
        spec.type_url = "types.containerd.io/opencontainers/runtime-spec/1/Process".into();
        spec.value = serde_json::to_vec(&process(args, false)).unwrap();
        request.spec = Some(spec).into();
        set(&mut request);
        self.0.exec(forever(), &request).await
    }

    /// create + start, then wait + delete + shutdown: the exit status.
    pub async fn run(&self, request: &CreateTaskRequest) -> u32 {
        self.create(request).await.unwrap();
        self.start(&request.id, "").await.unwrap();
        let status = self.wait(&request.id, "").await.unwrap().exit_status;
        assert_eq!(self.delete(&request.id, "").await.unwrap().exit_status, status);
        status
    }

    pub async fn shim_pid(&self, id: &str) -> u32 {
        self.connect(id).await.unwrap().shim_pid
    }
}

/// Code and message of a refusal.
pub fn refusal<T: std::fmt::Debug>(answer: ttrpc::Result<T>) -> (ttrpc::Code, String) {
    match answer.unwrap_err() {
        ttrpc::Error::RpcStatus(status) => (status.code(), status.message),
        other => panic!("no status: {other:?}"),
    }
}

/// Reads a fifo to its end in a thread.
pub fn collect(path: &Path) -> std::thread::JoinHandle<Vec<u8>> {
    let path = path.to_owned();
    std::thread::spawn(move || {
        let mut all = Vec::new();
        File::open(path).unwrap().read_to_end(&mut all).unwrap();
        all
    })
}

pub fn signal(pid: u32, signal: i32) {
    sys::pidfd::Pidfd::open(pid).unwrap().send_signal(signal).unwrap();
}

/// Whether a process is there and is no zombie.
pub fn is_alive(pid: u32) -> bool {
    sys::process::proc_stat(pid).is_ok_and(|s| !s.is_zombie())
}
