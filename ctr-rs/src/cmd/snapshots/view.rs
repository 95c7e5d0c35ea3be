//! `snapshots view KEY [PARENT]`.

use protos::api::snapshots::ViewSnapshotRequest;

use super::{PrintFlags, Target, root_label};
use crate::error::{Answered, Result};

/// Arguments of `snapshots view`.
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
    let what = format!("cannot view snapshot {}", args.key);
    let request = ViewSnapshotRequest {
        snapshotter: target.snapshotter.clone(),
        key: args.key,
        parent: args.parent,
        labels: root_label(),
    };
    let answer = target.client.snapshots().view(request).await.or_say(what)?;
    args.print.print(&answer.mounts)
}
