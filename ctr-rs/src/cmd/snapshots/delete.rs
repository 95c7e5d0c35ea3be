//! `snapshots rm KEY...`.

use protos::api::snapshots::RemoveSnapshotRequest;

use super::Target;
use crate::error::{Answered, Result};

/// Arguments of `snapshots rm`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Keys of the snapshots
    #[arg(required = true)]
    keys: Vec<String>,
}

/// Removes them; stops at the first that fails, as later ones may be its parents.
pub async fn run(target: &Target, args: Args) -> Result<()> {
    for key in args.keys {
        let what = format!("cannot remove snapshot {key}");
        let request = RemoveSnapshotRequest { snapshotter: target.snapshotter.clone(), key };
        target.client.snapshots().remove(request).await.or_say(what)?;
    }
    Ok(())
}
