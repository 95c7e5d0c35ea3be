//! `sandboxes run POD-CONFIG ID`.

use std::path::PathBuf;

use protos::api::Any;
use protos::api::sandbox::{
    ControllerCreateRequest, ControllerShutdownRequest, ControllerStartRequest, StoreCreateRequest,
    StoreDeleteRequest,
};
use protos::api::types::{Sandbox, sandbox};

use crate::cli::Global;
use crate::client::Client;
use crate::error::{Answered, Error, Result};
use crate::io::output;

/// Arguments of `sandboxes run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the runtime
    #[arg(long, default_value = base::defaults::RUNTIME)]
    runtime: String,
    /// Path of a network namespace for it
    #[arg(long, default_value = "", hide_default_value = true)]
    netns: String,
    /// File with an OCI runtime spec: its namespaces, hostname, sysctls and cgroup are the pod's
    config: PathBuf,
    /// Id of the sandbox
    id: String,
}

/// Makes the record and the sandbox, starts it, and prints its id. What fails is taken back.
pub async fn run(global: &Global, args: Args) -> Result<()> {
    let client = global.client()?;
    let text = std::fs::read(&args.config).map_err(Error::io("failed to read sandbox config"))?;
    let spec: serde::de::IgnoredAny = serde_json::from_slice(&text)
        .map_err(|e| Error::invalid(format!("failed to parse sandbox config: {e}")))?;
    let _ = spec;
    let record = Sandbox {
        sandbox_id: args.id.clone(),
        runtime: Some(sandbox::Runtime { name: args.runtime.clone(), options: None }),
        spec: Some(Any { type_url: base::any::type_url::SPEC.to_owned(), value: text.into() }),
        sandboxer: super::default_sandboxer(&client).await?,
        ..Sandbox::default()
    };
    let request = StoreCreateRequest { sandbox: Some(record.clone()) };
    client.sandboxes().create(request).await.or_say("failed to create new sandbox")?;
    let made = make(&client, &args, &record).await;
    if made.is_err() {
        // The first failure counts.
        let request = StoreDeleteRequest { sandbox_id: args.id.clone() };
        let _ = client.sandboxes().delete(request).await;
    }
    made?;
    output::line(&args.id)
}

async fn make(client: &Client, args: &Args, record: &Sandbox) -> Result<()> {
    let (id, sandboxer) = (args.id.clone(), record.sandboxer.clone());
    let request = ControllerCreateRequest {
        sandbox_id: id.clone(),
        netns_path: args.netns.clone(),
        sandbox: Some(record.clone()),
        sandboxer: sandboxer.clone(),
        ..ControllerCreateRequest::default()
    };
    client.sandbox_controllers().create(request).await.or_say("failed to create new sandbox")?;
    let request = ControllerStartRequest { sandbox_id: id.clone(), sandboxer: sandboxer.clone() };
    let started = client.sandbox_controllers().start(request).await.or_say("failed to start");
    if started.is_err() {
        let request = ControllerShutdownRequest { sandbox_id: id, sandboxer };
        let _ = client.sandbox_controllers().shutdown(request).await;
    }
    started.map(|_| ())
}
