//! The Sandbox service (`containerd.runtime.sandbox.v1`).

use std::collections::HashMap;

use async_trait::async_trait;
use base::Error;
use protos::shim::sandbox as api;
use protos::shim::types::{Metric, Platform};
use ttrpc::r#async::{MethodHandler, Service, TtrpcContext};
use ttrpc::{Request, Response};

use crate::rpc::convert::timestamp;
use crate::rpc::{metrics, read, response, write};
use crate::sandbox::Sandbox;

const SERVICE: &str = "containerd.runtime.sandbox.v1.Sandbox";

const METHODS: [&str; 9] = [
    "CreateSandbox",
    "StartSandbox",
    "Platform",
    "StopSandbox",
    "WaitSandbox",
    "SandboxStatus",
    "PingSandbox",
    "ShutdownSandbox",
    "SandboxMetrics",
];

/// The service, ready to be registered.
pub(crate) fn service(sandbox: &Sandbox) -> HashMap<String, Service> {
    let handler = |name: &&'static str| {
        let handler: Box<dyn MethodHandler + Send + Sync> =
            Box::new(Method { name, sandbox: sandbox.clone() });
        ((*name).to_owned(), handler)
    };
    let service = Service { methods: METHODS.iter().map(handler).collect(), streams: HashMap::new() };
    HashMap::from([(SERVICE.to_owned(), service)])
}

struct Method {
    name: &'static str,
    sandbox: Sandbox,
}

#[async_trait]
impl MethodHandler for Method {
    async fn handler(&self, _: TtrpcContext, request: Request) -> ttrpc::Result<Response> {
        let (name, sandbox, payload) = (self.name, self.sandbox.clone(), request.payload);
        let answer = match name {
            // What changes the world is carried through when its client goes.
            "CreateSandbox" | "StartSandbox" | "StopSandbox" | "ShutdownSandbox" => {
                match tokio::spawn(change(sandbox, name, payload)).await {
                    Ok(answer) => answer,
                    Err(e) => Err(Error::internal(format!("{name} broke off: {e}"))),
                }
            }
            "WaitSandbox" => wait(&sandbox, &payload).await,
            _ => look(&sandbox, name, &payload),
        };
        Ok(response(answer))
    }
}

async fn change(sandbox: Sandbox, name: &'static str, payload: Vec<u8>) -> Result<Vec<u8>, Error> {
    match name {
        "CreateSandbox" => {
            sandbox.create(read(&payload)?).await?;
            write(&api::CreateSandboxResponse::new())
        }
        "StartSandbox" => {
            let started = sandbox.start(&read::<api::StartSandboxRequest>(&payload)?.sandbox_id).await?;
            let mut response = api::StartSandboxResponse::new();
            response.pid = started.pid;
            response.created_at = Some(timestamp(started.created_at)).into();
            write(&response)
        }
        "StopSandbox" => {
            let r: api::StopSandboxRequest = read(&payload)?;
            sandbox.stop(&r.sandbox_id, r.timeout_secs).await?;
            write(&api::StopSandboxResponse::new())
        }
        _ => {
            sandbox.shutdown(&read::<api::ShutdownSandboxRequest>(&payload)?.sandbox_id).await?;
            write(&api::ShutdownSandboxResponse::new())
        }
    }
}

async fn wait(sandbox: &Sandbox, payload: &[u8]) -> Result<Vec<u8>, Error> {
    let exit = sandbox.wait(&read::<api::WaitSandboxRequest>(payload)?.sandbox_id).await?;
    let mut response = api::WaitSandboxResponse::new();
    response.exit_status = exit.code;
    response.exited_at = Some(timestamp(exit.at)).into();
    write(&response)
}

fn look(sandbox: &Sandbox, name: &'static str, payload: &[u8]) -> Result<Vec<u8>, Error> {
    match name {
        "Platform" => {
            sandbox.exists(&read::<api::PlatformRequest>(payload)?.sandbox_id)?;
            let host = base::Platform::host();
            let mut platform = Platform::new();
            platform.os = host.os;
            platform.architecture = host.architecture;
            platform.variant = host.variant;
            let mut response = api::PlatformResponse::new();
            response.platform = Some(platform).into();
            write(&response)
        }
        "SandboxStatus" => status(sandbox, &read(payload)?),
        "PingSandbox" => {
            sandbox.ping(&read::<api::PingRequest>(payload)?.sandbox_id)?;
            write(&api::PingResponse::new())
        }
        _ => {
            let r: api::SandboxMetricsRequest = read(payload)?;
            let mut metric = Metric::new();
            metric.data = Some(metrics::metrics(&sandbox.metrics(&r.sandbox_id)?)?).into();
            metric.timestamp = Some(timestamp(std::time::SystemTime::now())).into();
            metric.id = r.sandbox_id;
            let mut response = api::SandboxMetricsResponse::new();
            response.metrics = Some(metric).into();
            write(&response)
        }
    }
}

fn status(sandbox: &Sandbox, request: &api::SandboxStatusRequest) -> Result<Vec<u8>, Error> {
    let status = sandbox.status(&request.sandbox_id, request.verbose)?;
    let mut response = api::SandboxStatusResponse::new();
    response.sandbox_id = request.sandbox_id.clone();
    response.pid = status.pid;
    response.state = status.state.to_owned();
    response.info = status.info.into_iter().collect();
    response.created_at = status.created_at.map(timestamp).into();
    response.exited_at = status.exit.map(|exit| timestamp(exit.at)).into();
    write(&response)
}
