//! `snapshots label KEY LABEL=VALUE...`.

use protos::api::snapshots::{Info, UpdateSnapshotRequest};

use super::Target;
use crate::cmd::flags::labels;
use crate::error::{Answered, Result};
use crate::io::output;
use crate::table;

/// Arguments of `snapshots label`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Key of the snapshot
    key: String,
    /// Labels; an empty value removes one
    #[arg(value_name = "KEY=VALUE", required = true)]
    labels: Vec<String>,
}

/// Sets them and prints all.
pub async fn run(target: &Target, args: Args) -> Result<()> {
    let what = format!("cannot label snapshot {}", args.key);
    let labels = labels(&args.labels);
    let paths = labels.keys().map(|key| format!("labels.{key}")).collect();
    let request = UpdateSnapshotRequest {
        snapshotter: target.snapshotter.clone(),
        info: Some(Info { name: args.key, labels, ..Info::default() }),
        update_mask: Some(prost_types::FieldMask { paths }),
    };
    let answer = target.client.snapshots().update(request).await.or_say(what)?;
    output::line(table::labels(&answer.info.unwrap_or_default().labels))
}
