//! `snapshots commit NAME KEY`.

use protos::api::snapshots::CommitSnapshotRequest;

use super::{Target, root_label};
use crate::error::{Answered, Result};

/// Arguments of `snapshots commit`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the committed snapshot
    name: String,
    /// Key of the active snapshot
    key: String,
}

/// Commits it. It is kept until it is removed.
pub async fn run(target: &Target, args: Args) -> Result<()> {
    let what = format!("cannot commit snapshot {}", args.key);
    let request = CommitSnapshotRequest {
        snapshotter: target.snapshotter.clone(),
        name: args.name,
        key: args.key,
        labels: root_label(),
        parent: String::new(),
    };
    target.client.snapshots().commit(request).await.or_say(what)
}
