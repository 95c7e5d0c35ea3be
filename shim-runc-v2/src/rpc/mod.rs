//! The Task service, versions 2 and 3: their messages are the same, so one set of handlers serves both. The Sandbox
//! service is in `sandbox.rs`.
//!
//! ttrpc drops a handler when its client goes or its deadline passes. Whatever changes the world therefore
//! runs in a task of its own, which ends when the change is complete, whoever still listens.

pub(crate) mod convert;
mod metrics;
pub(crate) mod sandbox;

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use base::{Error, ErrorKind, Kinded};
use protobuf::Message;
use protos::shim::Empty;
use protos::shim::task_v3 as v3;
use ttrpc::r#async::{MethodHandler, Service, TtrpcContext};
use ttrpc::{Request, Response};

use crate::task::Tasks;

/// Names under which the service is served.
const SERVICES: [&str; 2] = ["containerd.task.v2.Task", "containerd.task.v3.Task"];

const METHODS: [&str; 17] = [
    "State",
    "Create",
    "Start",
    "Delete",
    "Pids",
    "Pause",
    "Resume",
    "Checkpoint",
    "Kill",
    "Exec",
    "ResizePty",
    "CloseIO",
    "Update",
    "Wait",
    "Stats",
    "Connect",
    "Shutdown",
];

/// Both services, ready to be registered.
pub(crate) fn services(tasks: &Tasks) -> HashMap<String, Service> {
    SERVICES
        .iter()
        .map(|name| {
            let handler = |method: &&'static str| {
                let handler: Box<dyn MethodHandler + Send + Sync> =
                    Box::new(Method { name: method, tasks: tasks.clone() });
                ((*method).to_owned(), handler)
            };
            (
                (*name).to_owned(),
                Service { methods: METHODS.iter().map(handler).collect(), streams: HashMap::new() },
            )
        })
        .collect()
}

struct Method {
    name: &'static str,
    tasks: Tasks,
}

#[async_trait]
impl MethodHandler for Method {
    async fn handler(&self, ctx: TtrpcContext, request: Request) -> ttrpc::Result<Response> {
        let limit = u64::try_from(ctx.timeout_nano).ok().filter(|n| *n > 0).map(Duration::from_nanos);
        let (name, tasks, payload) = (self.name, self.tasks.clone(), request.payload);
        let answer = match name {
            // Reads: nothing is lost when they are dropped.
            "State" | "Wait" | "Connect" => dispatch(tasks, name, payload, limit).await,
            _ => match tokio::spawn(dispatch(tasks, name, payload, limit)).await {
                Ok(answer) => answer,
                Err(e) => Err(Error::internal(format!("{name} broke off: {e}"))),
            },
        };
        Ok(response(answer))
    }
}

fn response(answer: Result<Vec<u8>, Error>) -> Response {
    let mut response = Response::new();
    match answer {
        Ok(payload) => {
            response.set_status(ttrpc::get_status(ttrpc::Code::OK, ""));
            response.payload = payload;
        }
        Err(e) => response.set_status(status(&e)),
    }
    response
}

/// The one place where an error becomes a status.
fn status(e: &Error) -> ttrpc::Status {
    let code = match e.kind() {
        ErrorKind::Unknown => ttrpc::Code::UNKNOWN,
        ErrorKind::InvalidArgument => ttrpc::Code::INVALID_ARGUMENT,
        ErrorKind::NotFound => ttrpc::Code::NOT_FOUND,
        ErrorKind::AlreadyExists => ttrpc::Code::ALREADY_EXISTS,
        ErrorKind::FailedPrecondition => ttrpc::Code::FAILED_PRECONDITION,
        ErrorKind::Unavailable => ttrpc::Code::UNAVAILABLE,
        ErrorKind::Unimplemented => ttrpc::Code::UNIMPLEMENTED,
        ErrorKind::Canceled => ttrpc::Code::CANCELLED,
        ErrorKind::DeadlineExceeded => ttrpc::Code::DEADLINE_EXCEEDED,
        ErrorKind::PermissionDenied => ttrpc::Code::PERMISSION_DENIED,
        ErrorKind::ResourceExhausted => ttrpc::Code::RESOURCE_EXHAUSTED,
        ErrorKind::OutOfRange => ttrpc::Code::OUT_OF_RANGE,
        ErrorKind::Aborted => ttrpc::Code::ABORTED,
        ErrorKind::Internal => ttrpc::Code::INTERNAL,
        ErrorKind::DataLoss => ttrpc::Code::DATA_LOSS,
        ErrorKind::Unauthenticated => ttrpc::Code::UNAUTHENTICATED,
    };
    ttrpc::get_status(code, crate::words::as_go(&base::error::wire_text(e, e)))
}

fn read<M: Message>(payload: &[u8]) -> Result<M, Error> {
    M::parse_from_bytes(payload).map_err(|e| Error::invalid("unpack request").with_source(e))
}

fn write<M: Message>(message: &M) -> Result<Vec<u8>, Error> {
    message.write_to_bytes().map_err(|e| Error::internal("encode response").with_source(e))
}

fn nothing() -> Result<Vec<u8>, Error> {
    write(&Empty::new())
}

async fn dispatch(
    tasks: Tasks,
    name: &'static str,
    payload: Vec<u8>,
    limit: Option<Duration>,
) -> Result<Vec<u8>, Error> {
    match name {
        "State" => {
            let r: v3::StateRequest = read(&payload)?;
            write(&convert::state(&r.id, &r.exec_id, tasks.state(&r.id, &r.exec_id)?))
        }
        "Create" => {
            let mut response = v3::CreateTaskResponse::new();
            response.pid = tasks.create(read(&payload)?, limit).await?;
            write(&response)
        }
        "Start" => {
            let r: v3::StartRequest = read(&payload)?;
            let mut response = v3::StartResponse::new();
            response.pid = tasks.start(&r.id, &r.exec_id, limit).await?;
            write(&response)
        }
        "Delete" => {
            let r: v3::DeleteRequest = read(&payload)?;
            write(&convert::deleted(tasks.delete(&r.id, &r.exec_id).await?))
        }
        "Pids" => write(&convert::pids(tasks.pids(&read::<v3::PidsRequest>(&payload)?.id).await?)),
        "Wait" => {
            let r: v3::WaitRequest = read(&payload)?;
            write(&convert::waited(tasks.wait(&r.id, &r.exec_id).await?))
        }
        "Stats" => {
            let mut response = v3::StatsResponse::new();
            response.stats =
                Some(metrics::metrics(&tasks.stats(&read::<v3::StatsRequest>(&payload)?.id)?)?).into();
            write(&response)
        }
        "Connect" => {
            let mut response = v3::ConnectResponse::new();
            response.shim_pid = std::process::id();
            response.task_pid = tasks.init_pid(&read::<v3::ConnectRequest>(&payload)?.id);
            write(&response)
        }
        _ => without_answer(tasks, name, &payload).await,
    }
}

/// The calls that answer with nothing.
async fn without_answer(tasks: Tasks, name: &'static str, payload: &[u8]) -> Result<Vec<u8>, Error> {
    match name {
        "Pause" => tasks.pause(&read::<v3::PauseRequest>(payload)?.id).await?,
        "Resume" => tasks.resume(&read::<v3::ResumeRequest>(payload)?.id).await?,
        "Checkpoint" => tasks.checkpoint(&read(payload)?).await?,
        "Kill" => {
            let r: v3::KillRequest = read(payload)?;
            tasks.kill(&r.id, &r.exec_id, r.signal, r.all).await?;
        }
        "Exec" => tasks.exec(&read(payload)?)?,
        "ResizePty" => {
            let r: v3::ResizePtyRequest = read(payload)?;
            tasks.resize(&r.id, &r.exec_id, r.width, r.height)?;
        }
        "CloseIO" => {
            let r: v3::CloseIORequest = read(payload)?;
            tasks.close_io(&r.id, &r.exec_id)?;
        }
        "Update" => {
            let r: v3::UpdateTaskRequest = read(payload)?;
            tasks.update(&r.id, r.resources.as_ref().map_or(&[], |any| &any.value)).await?;
        }
        "Shutdown" => {
            read::<v3::ShutdownRequest>(payload)?;
            tasks.shutdown();
        }
        other => return Err(Error::unimplemented(format!("method {other}"))),
    }
    nothing()
}
