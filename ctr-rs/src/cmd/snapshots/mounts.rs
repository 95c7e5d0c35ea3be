//! `snapshots mounts DIRECTORY KEY`.

use protos::api::snapshots::MountsRequest;

use super::{Target, print_commands};
use crate::client::activation;
use crate::error::{Answered, Result};

/// Arguments of `snapshots mounts`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where it is to be mounted
    directory: String,
    /// Key of the snapshot
    key: String,
    /// Have the daemon mount it, and print how to bind that
    #[arg(long)]
    temp: bool,
}

/// Prints the commands. What the daemon has to make first it makes, as `ctr<key>`, until a garbage collection.
pub async fn run(target: &Target, args: Args) -> Result<()> {
    let what = format!("cannot get the mounts of snapshot {}", args.key);
    let request = MountsRequest { snapshotter: target.snapshotter.clone(), key: args.key.clone() };
    let answer = target.client.snapshots().mounts(request).await.or_say(what)?;
    let name = format!("ctr{}", args.key);
    let mounts = activation::activate(&target.client, &name, answer.mounts, args.temp).await?;
    print_commands(&args.directory, &mounts)
}
