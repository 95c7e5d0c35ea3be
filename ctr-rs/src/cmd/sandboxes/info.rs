//! `sandboxes info ID`.

use protos::api::sandbox::ControllerStatusRequest;
use serde_json::{Value, json};

use crate::cli::Global;
use crate::cmd::flags::{json_any, rfc3339};
use crate::error::{Answered, Result};
use crate::io::output;

/// Arguments of `sandboxes info`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Ask the sandbox how it is, too
    #[arg(long)]
    status: bool,
    /// Id of the sandbox
    id: String,
}

/// Prints the record, and how the sandbox is when that is asked for.
pub async fn run(global: &Global, args: Args) -> Result<()> {
    let client = global.client()?;
    let record = super::get(&client, &args.id).await?;
    let extensions: serde_json::Map<String, Value> = record
        .extensions
        .iter()
        .map(|(name, any)| (name.clone(), json!({ "type_url": any.type_url, "value": json_any(any) })))
        .collect();
    let mut shown = json!({
        "ID": record.sandbox_id,
        "Labels": record.labels,
        "Runtime": { "Name": record.runtime.unwrap_or_default().name },
        "Spec": record.spec.as_ref().and_then(json_any),
        "Sandboxer": record.sandboxer,
        "CreatedAt": record.created_at.as_ref().map(rfc3339),
        "UpdatedAt": record.updated_at.as_ref().map(rfc3339),
        "Extensions": extensions,
    });
    if args.status {
        let request =
            ControllerStatusRequest { sandbox_id: args.id, verbose: true, sandboxer: record.sandboxer };
        let status = client.sandbox_controllers().status(request).await.or_say("failed to get status")?;
        let info = status.info.get("info").and_then(|text| serde_json::from_str::<Value>(text).ok());
        shown["Status"] = json!({
            "Pid": status.pid,
            "State": status.state,
            "CreatedAt": status.created_at.as_ref().map(rfc3339),
            "ExitedAt": status.exited_at.as_ref().map(rfc3339),
            "Address": status.address,
            "Version": status.version,
            "Info": info,
        });
    }
    output::json(&shown)
}
