//! The Task service of a shim, in version 2 or 3: their messages are the same.

use std::time::Duration;

use protobuf::Message;
use protos::shim::task_v3::*;
use protos::shim::{Any, Empty};
use ttrpc::asynchronous::Client;
use ttrpc::context::Context;

use super::bundle::process;
use super::patience::forever;

/// Version of the Task service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    /// `containerd.task.v2.Task`, which the Go shim serves before 2.3.
    V2,
    /// `containerd.task.v3.Task`, which it serves from 2.0 on.
    V3,
}

impl Version {
    /// Full name of the service.
    pub fn service(self) -> &'static str {
        match self {
            Version::V2 => "containerd.task.v2.Task",
            Version::V3 => "containerd.task.v3.Task",
        }
    }
}

/// The methods with their messages, as generated clients have them, over either version.
#[derive(Clone)]
pub struct Methods {
    client: Client,
    version: Version,
}

macro_rules! methods {
    ($($name:ident $method:literal: $request:ident -> $response:ty),* $(,)?) => { impl Methods { $(
        #[doc = concat!("`", $method, "`.")]
        pub async fn $name(&self, ctx: Context, request: &$request) -> ttrpc::Result<$response> {
            self.call($method, ctx, request).await
        }
    )* } };
}

methods! {
    state "State": StateRequest -> StateResponse,
    create "Create": CreateTaskRequest -> CreateTaskResponse,
    start "Start": StartRequest -> StartResponse,
    delete "Delete": DeleteRequest -> DeleteResponse,
    pids "Pids": PidsRequest -> PidsResponse,
    pause "Pause": PauseRequest -> Empty,
    resume "Resume": ResumeRequest -> Empty,
    checkpoint "Checkpoint": CheckpointTaskRequest -> Empty,
    kill "Kill": KillRequest -> Empty,
    exec "Exec": ExecProcessRequest -> Empty,
    resize_pty "ResizePty": ResizePtyRequest -> Empty,
    close_io "CloseIO": CloseIORequest -> Empty,
    update "Update": UpdateTaskRequest -> Empty,
    wait "Wait": WaitRequest -> WaitResponse,
    stats "Stats": StatsRequest -> StatsResponse,
    connect "Connect": ConnectRequest -> ConnectResponse,
    shutdown "Shutdown": ShutdownRequest -> Empty,
}

impl Methods {
    async fn call<Q: Message, A: Message>(&self, method: &str, ctx: Context, q: &Q) -> ttrpc::Result<A> {
        let bytes = q.write_to_bytes().map_err(|e| ttrpc::Error::Others(format!("encode {method}: {e}")))?;
        let answer = self.request(self.version.service(), method, bytes, ctx.timeout_nano).await?;
        A::parse_from_bytes(&answer).map_err(|e| ttrpc::Error::Others(format!("decode {method}: {e}")))
    }

    async fn request(&self, service: &str, method: &str, bytes: Vec<u8>, ns: i64) -> ttrpc::Result<Vec<u8>> {
        let mut request = ttrpc::Request::new();
        (request.service, request.method) = (service.to_owned(), method.to_owned());
        (request.payload, request.timeout_nano) = (bytes, ns);
        self.client.request(request).await.map(|r| r.payload)
    }
}

/// The Task service, with less to write.
#[derive(Clone)]
pub struct Task(pub Methods);

macro_rules! by_id {
    ($($name:ident: $request:ident -> $response:ty),* $(,)?) => { impl Task { $(
        #[doc = concat!("`", stringify!($name), "` of a container.")]
        pub async fn $name(&self, id: &str) -> ttrpc::Result<$response> {
            let mut request = $request::new();
            request.id = id.to_owned();
            self.0.$name(forever(), &request).await
        }
    )* } };
}

macro_rules! by_exec {
    ($($name:ident: $request:ident -> $response:ty),* $(,)?) => { impl Task { $(
        #[doc = concat!("`", stringify!($name), "` of a process; `exec_id` is empty for the init.")]
        pub async fn $name(&self, id: &str, exec_id: &str) -> ttrpc::Result<$response> {
            let mut request = $request::new();
            request.id = id.to_owned();
            request.exec_id = exec_id.to_owned();
            self.0.$name(forever(), &request).await
        }
    )* } };
}

by_id! {
    pids: PidsRequest -> PidsResponse,
    pause: PauseRequest -> Empty,
    resume: ResumeRequest -> Empty,
    stats: StatsRequest -> StatsResponse,
    connect: ConnectRequest -> ConnectResponse,
    shutdown: ShutdownRequest -> Empty,
}
by_exec! {
    state: StateRequest -> StateResponse,
    start: StartRequest -> StartResponse,
    delete: DeleteRequest -> DeleteResponse,
    wait: WaitRequest -> WaitResponse,
}

impl Task {
    /// Connects to a shim (`unix:///path`).
    ///
    /// # Errors
    /// Nobody listens there.
    pub async fn dial(address: &str, version: Version) -> ttrpc::Result<Task> {
        Ok(Task(Methods { client: Client::connect(address).await?, version }))
    }

    /// The same connection, speaking another version.
    pub fn speaking(&self, version: Version) -> Task {
        Task(Methods { client: self.0.client.clone(), version })
    }

    /// Any bytes to any method of any service, for `limit` at most; gives the bytes of the answer.
    ///
    /// # Errors
    /// As ttrpc and the shim have them.
    pub async fn raw(
        &self,
        service: &str,
        method: &str,
        bytes: &[u8],
        limit: Duration,
    ) -> ttrpc::Result<Vec<u8>> {
        let ns = i64::try_from(limit.as_nanos()).unwrap_or(i64::MAX);
        self.0.request(service, method, bytes.to_vec(), ns).await
    }

    /// `create`.
    pub async fn create(&self, request: &CreateTaskRequest) -> ttrpc::Result<CreateTaskResponse> {
        self.0.create(forever(), request).await
    }

    /// `kill` of one process.
    pub async fn kill(&self, id: &str, exec_id: &str, signal: u32) -> ttrpc::Result<Empty> {
        let mut request = KillRequest::new();
        request.id = id.to_owned();
        request.exec_id = exec_id.to_owned();
        request.signal = signal;
        self.0.kill(forever(), &request).await
    }

    /// `kill` of all processes of a container.
    pub async fn kill_all(&self, id: &str, signal: u32) -> ttrpc::Result<Empty> {
        let mut request = KillRequest::new();
        (request.id, request.signal, request.all) = (id.to_owned(), signal, true);
        self.0.kill(forever(), &request).await
    }

    /// `close_io` of standard input.
    pub async fn close_stdin(&self, id: &str, exec_id: &str) -> ttrpc::Result<Empty> {
        let mut request = CloseIORequest::new();
        (request.id, request.exec_id, request.stdin) = (id.to_owned(), exec_id.to_owned(), true);
        self.0.close_io(forever(), &request).await
    }

    /// `resize_pty`.
    pub async fn resize(&self, id: &str, exec_id: &str, width: u32, height: u32) -> ttrpc::Result<Empty> {
        let mut request = ResizePtyRequest::new();
        (request.id, request.exec_id) = (id.to_owned(), exec_id.to_owned());
        (request.width, request.height) = (width, height);
        self.0.resize_pty(forever(), &request).await
    }

    /// `update` with OCI `LinuxResources` in JSON.
    pub async fn update(&self, id: &str, resources: &[u8]) -> ttrpc::Result<Empty> {
        let mut request = UpdateTaskRequest::new();
        request.id = id.to_owned();
        let any = Any {
            type_url: "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources".into(),
            value: resources.to_vec(),
            ..Any::default()
        };
        request.resources = Some(any).into();
        self.0.update(forever(), &request).await
    }

    /// `exec` of `args`; `set` may change the request.
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
        let any = Any {
            type_url: "types.containerd.io/opencontainers/runtime-spec/1/Process".into(),
            value: process(args, false).to_string().into_bytes(),
            ..Any::default()
        };
        request.spec = Some(any).into();
        set(&mut request);
        self.0.exec(forever(), &request).await
    }

    /// create, start, wait, delete: the exit status. Panics when one of them fails.
    pub async fn run(&self, request: &CreateTaskRequest) -> u32 {
        let done = async {
            self.create(request).await?;
            self.start(&request.id, "").await?;
            let status = self.wait(&request.id, "").await?.exit_status;
            Ok::<_, ttrpc::Error>((status, self.delete(&request.id, "").await?.exit_status))
        };
        match done.await {
            Ok((waited, deleted)) if waited == deleted => waited,
            other => panic!("run {}: {other:?}", request.id),
        }
    }

    /// The shim's pid. Panics when it does not answer.
    pub async fn shim_pid(&self, id: &str) -> u32 {
        match self.connect(id).await {
            Ok(answer) => answer.shim_pid,
            Err(e) => panic!("connect: {e}"),
        }
    }
}
