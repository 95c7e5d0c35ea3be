//! `snapshots mounts DIRECTORY KEY`.

use protos::api::snapshots::MountsRequest;

use super::{Target, print_commands};
use crate::error::{Answered, Result};

/// Arguments of `snapshots mounts`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where it is to be mounted
    directory: String,
    /// Key of the snapshot
    key: String,
}

/// Prints the commands.
pub async fn run(target: &Target, args: Args) -> Result<()> {
    let what = format!("cannot get the mounts of snapshot {}", args.key);
    let request = MountsRequest { snapshotter: target.snapshotter.clone(), key: args.key };
    let answer = target.client.snapshots().mounts(request).await.or_say(what)?;
    print_commands(&args.directory, &answer.mounts)
}
