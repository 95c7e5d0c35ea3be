//! `snapshots prepare KEY [PARENT]`.

use protos::api::snapshots::PrepareSnapshotRequest;

use super::{PrintFlags, Target, root_label};
use crate::error::{Answered, Result};

/// Arguments of `snapshots prepare`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    print: PrintFlags,
    /// Key of the new snapshot
    key: String,
    /// Committed snapshot that it begins with
    #[arg(default_value = "", hide_default_value = true)]
    parent: String,
}

/// Makes it. It is kept until it is removed.
pub async fn run(target: &Target, args: Args) -> Result<()> {
    let what = format!("cannot prepare snapshot {}", args.key);
    let request = PrepareSnapshotRequest {
        snapshotter: target.snapshotter.clone(),
        key: args.key,
        parent: args.parent,
        labels: root_label(),
    };
    let answer = target.client.snapshots().prepare(request).await.or_say(what)?;
    args.print.print(&answer.mounts)
}
