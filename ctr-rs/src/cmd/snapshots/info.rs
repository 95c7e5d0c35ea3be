//! `snapshots info KEY`.

use protos::api::snapshots::StatSnapshotRequest;
use serde_json::json;

use super::{Target, kind};
use crate::cmd::flags::rfc3339;
use crate::error::{Answered, Result};
use crate::io::output;

/// Arguments of `snapshots info`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Key of the snapshot
    key: String,
}

/// Prints the record.
pub async fn run(target: &Target, args: Args) -> Result<()> {
    let what = format!("cannot get snapshot {}", args.key);
    let request = StatSnapshotRequest { snapshotter: target.snapshotter.clone(), key: args.key };
    let info = target.client.snapshots().stat(request).await.or_say(what)?.info.unwrap_or_default();
    let mut record = json!({
        "Kind": kind(&info),
        "Name": info.name,
        "Created": info.created_at.as_ref().map(rfc3339),
        "Updated": info.updated_at.as_ref().map(rfc3339),
    });
    if !info.parent.is_empty() {
        record["Parent"] = json!(info.parent);
    }
    if !info.labels.is_empty() {
        record["Labels"] = json!(info.labels);
    }
    output::json(&record)
}
