//! `snapshots usage [KEY...]`.

use protos::api::snapshots::UsageRequest;

use super::Target;
use crate::error::{Answered, Result};
use crate::table::{self, Table};

/// Arguments of `snapshots usage`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Sizes in bytes
    #[arg(short)]
    bytes: bool,
    /// Keys; all snapshots when left out
    keys: Vec<String>,
}

/// Prints one line per snapshot.
pub async fn run(target: &Target, args: Args) -> Result<()> {
    let keys = match args.keys.is_empty() {
        true => target.all().await?.into_iter().map(|info| info.name).collect(),
        false => args.keys,
    };
    let mut table = Table::new(["KEY", "SIZE", "INODES"]);
    for key in keys {
        let what = format!("cannot get the usage of snapshot {key}");
        let request = UsageRequest { snapshotter: target.snapshotter.clone(), key: key.clone() };
        let usage = target.client.snapshots().usage(request).await.or_say(what)?;
        let size = if args.bytes { usage.size.to_string() } else { table::bytes(usage.size) };
        table.row([key, size, usage.inodes.to_string()]);
    }
    table.print()
}
