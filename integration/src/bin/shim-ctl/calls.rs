//! The methods of the Task service.

use anyhow::{Context, bail};
use integration::shim::{Task, Version, endpoint, process};
use protos::shim::Any;
use protos::shim::any::pack;
use protos::shim::options::CheckpointOptions;
use protos::shim::task_v3::*;
use protos::shim::types::Mount;
use ttrpc::context::{Context as Deadline, with_duration};

use crate::args::{At, Call, Streams, Which, Whole};
use crate::show;

/// What a call may take; a wait has no end.
const CALL: std::time::Duration = std::time::Duration::from_secs(300);

fn bound() -> Deadline {
    with_duration(CALL)
}

pub(crate) async fn run(call: Call) -> anyhow::Result<()> {
    match call {
        Call::Create { which, bundle, streams, runtime, checkpoint, rootfs } => {
            let mut request = CreateTaskRequest::new();
            request.id = which.id.clone();
            let bundle = bundle.canonicalize().with_context(|| bundle.display().to_string())?;
            request.bundle = bundle.to_string_lossy().into_owned();
            (request.stdin, request.stdout, request.stderr, request.terminal) = streams.parts();
            request.options = runtime.options()?.into();
            request.checkpoint = checkpoint;
            request.rootfs = rootfs.iter().map(|text| mount(text)).collect::<Result<_, _>>()?;
            println!("pid={}", which.task().await?.0.create(bound(), &request).await?.pid);
        }
        Call::Run(which) => {
            println!("pid={}", which.task().await?.start(&which.id, &which.exec_id).await?.pid)
        }
        Call::State(which) => show::state(&which.task().await?.state(&which.id, &which.exec_id).await?),
        Call::Pids(which) => show::pids(&which.task().await?.pids(&which.id).await?),
        Call::Wait(which) => {
            let mut request = WaitRequest::new();
            (request.id, request.exec_id) = (which.id.clone(), which.exec_id.clone());
            let waited = which.task().await?.0.wait(Deadline::default(), &request).await?;
            show::exit(waited.exit_status, waited.exited_at.as_ref());
        }
        Call::Kill { which, signal, all } => {
            let mut request = KillRequest::new();
            (request.id, request.exec_id) = (which.id.clone(), which.exec_id.clone());
            (request.signal, request.all) = (signal, all);
            which.task().await?.0.kill(bound(), &request).await?;
        }
        Call::Exec { at, id, exec_id, streams, spec, args } => {
            exec(at, id, exec_id, streams, spec.as_deref(), &args).await?;
        }
        other => on_container(other).await?,
    }
    Ok(())
}

async fn on_container(call: Call) -> anyhow::Result<()> {
    match call {
        Call::Resize { which, width, height } => {
            which.task().await?.resize(&which.id, &which.exec_id, width, height).await?;
        }
        Call::CloseIo(which) => {
            which.task().await?.close_stdin(&which.id, &which.exec_id).await?;
        }
        Call::Pause(which) => {
            which.task().await?.pause(&which.id).await?;
        }
        Call::Resume(which) => {
            which.task().await?.resume(&which.id).await?;
        }
        Call::Update { which, resources } => {
            which.task().await?.update(&which.id, resources.as_bytes()).await?;
        }
        Call::Stats(which) => show::stats(&which.task().await?.stats(&which.id).await?)?,
        Call::Checkpoint { which, path, exit } => {
            let mut options = CheckpointOptions::new();
            options.exit = exit;
            let mut request = CheckpointTaskRequest::new();
            (request.id, request.path) = (which.id.clone(), path.to_string_lossy().into_owned());
            request.options = Some(pack(&options)?).into();
            which.task().await?.0.checkpoint(bound(), &request).await?;
        }
        Call::Delete(which) => show::deleted(&which.task().await?.delete(&which.id, &which.exec_id).await?),
        Call::Connect(which) => {
            let answer = which.task().await?.connect(&which.id).await?;
            println!("shim_pid={} task_pid={} version={}", answer.shim_pid, answer.task_pid, answer.version);
        }
        Call::Shutdown { at, id, now } => {
            let mut request = ShutdownRequest::new();
            (request.id, request.now) = (id.clone(), now);
            match at.task(&id).await?.0.shutdown(bound(), &request).await {
                // It may be gone before its answer is on the way.
                Ok(_) | Err(ttrpc::Error::RemoteClosed) => {}
                Err(e) => return Err(e.into()),
            }
        }
        _ => bail!("no such call"),
    }
    Ok(())
}

async fn exec(
    at: At,
    id: String,
    exec_id: String,
    streams: Streams,
    spec: Option<&std::path::Path>,
    args: &[String],
) -> anyhow::Result<()> {
    let value = match spec {
        Some(file) => std::fs::read(file).with_context(|| format!("read {}", file.display()))?,
        None if args.is_empty() => bail!("nothing to run: give --spec, or the command after --"),
        None => {
            let words: Vec<&str> = args.iter().map(String::as_str).collect();
            let mut process = process(&words, streams.terminal);
            process["env"] = serde_json::json!(["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"]);
            process.to_string().into_bytes()
        }
    };
    let mut request = ExecProcessRequest::new();
    let url = "types.containerd.io/opencontainers/runtime-spec/1/Process";
    request.spec = Some(Any { type_url: url.into(), value, ..Any::default() }).into();
    (request.stdin, request.stdout, request.stderr, request.terminal) = streams.parts();
    let task = at.task(&id).await?;
    (request.id, request.exec_id) = (id, exec_id);
    task.0.exec(bound(), &request).await?;
    Ok(())
}

impl At {
    /// Connects. Without a version it asks for one: a shim that does not know the newer service is spoken to in the older.
    async fn task(&self, id: &str) -> anyhow::Result<Task> {
        let address = endpoint::named(&self.place)?.address;
        let dial = Task::dial(&address, self.api_version.unwrap_or(Version::V3)).await;
        let task = dial.with_context(|| format!("connect to {address}"))?;
        if self.api_version.is_some() {
            return Ok(task);
        }
        match task.connect(id).await {
            // The libraries of Go and of Rust tell it in different ways.
            Err(ttrpc::Error::RpcStatus(status))
                if status.code() == ttrpc::Code::UNIMPLEMENTED
                    || status.message.ends_with("service does not exist") =>
            {
                Ok(task.speaking(Version::V2))
            }
            _ => Ok(task),
        }
    }
}

impl Which {
    async fn task(&self) -> anyhow::Result<Task> {
        self.at.task(&self.id).await
    }
}

impl Whole {
    async fn task(&self) -> anyhow::Result<Task> {
        self.at.task(&self.id).await
    }
}

impl Streams {
    fn parts(&self) -> (String, String, String, bool) {
        (self.stdin.clone(), self.stdout.clone(), self.stderr.clone(), self.terminal)
    }
}

/// `TYPE,SOURCE[,OPTION...]`.
fn mount(text: &str) -> anyhow::Result<Mount> {
    let mut parts = text.split(',').map(str::to_owned);
    let mut mount = Mount::new();
    let (Some(fstype), Some(source)) = (parts.next(), parts.next()) else {
        bail!("{text}: want TYPE,SOURCE[,OPTION...]");
    };
    (mount.type_, mount.source, mount.options) = (fstype, source, parts.collect());
    Ok(mount)
}
