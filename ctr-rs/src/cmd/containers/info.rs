//! `containers info ID`.

use serde_json::{Value, json};

use crate::cli::Global;
use crate::cmd::flags::{json_any, rfc3339};
use crate::error::Result;
use crate::io::output;
use protos::api::Any;

/// Arguments of `containers info`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The runtime spec only
    #[arg(long)]
    spec: bool,
    /// Id of the container
    id: String,
}

/// Prints the record.
pub async fn run(global: &Global, args: Args) -> Result<()> {
    let container = super::get(&global.client()?, &args.id).await?;
    let spec = container.spec.as_ref().and_then(json_any).unwrap_or(Value::Null);
    if args.spec {
        return output::json(&spec);
    }
    let runtime = container.runtime.unwrap_or_default();
    let extensions: serde_json::Map<String, Value> =
        container.extensions.iter().map(|(name, any)| (name.clone(), opaque(any))).collect();
    output::json(&json!({
        "ID": container.id,
        "Labels": container.labels,
        "Image": container.image,
        "Runtime": { "Name": runtime.name, "Options": runtime.options.as_ref().map(opaque) },
        "SnapshotKey": container.snapshot_key,
        "Snapshotter": container.snapshotter,
        "CreatedAt": container.created_at.as_ref().map(rfc3339),
        "UpdatedAt": container.updated_at.as_ref().map(rfc3339),
        "Extensions": extensions,
        "SandboxID": container.sandbox,
        "Spec": spec,
    }))
}

/// A message by its type: as JSON when it is, else in hexadecimal.
fn opaque(any: &Any) -> Value {
    let value = json_any(any).unwrap_or_else(|| {
        let digits: Vec<String> = any.value.iter().map(|b| format!("{b:02x}")).collect();
        digits.concat().into()
    });
    json!({ "type_url": any.type_url, "value": value })
}
