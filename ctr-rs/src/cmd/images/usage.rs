//! `images usage NAME`.

use base::oci::chain_ids;
use base::platform::Matcher;
use protos::api::snapshots::UsageRequest;

use crate::cli::Global;
use crate::client::image;
use crate::cmd::flags::SnapshotterFlag;
use crate::error::{Answered, Error, Result};
use crate::table::{self, Table};

/// Arguments of `images usage`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    snapshotter: SnapshotterFlag,
    /// Name of the image
    name: String,
}

/// Prints one line per layer, the top one first.
pub async fn run(global: &Global, args: Args) -> Result<()> {
    let client = global.client()?;
    let snapshotter = args.snapshotter.resolve(&client).await?;
    let record = image::get(&client, &args.name).await?;
    let resolved = image::resolve(&client, &image::target(&record)?, &Matcher::host_default()).await?;
    let mut table = Table::new(["KEY", "SIZE", "INODES"]);
    for key in chain_ids(&resolved.config.rootfs.diff_ids).iter().rev() {
        let request = UsageRequest { snapshotter: snapshotter.clone(), key: key.to_string() };
        let usage =
            match client.snapshots().usage(request).await.or_say(format!("cannot get the usage of {key}")) {
                Err(e) if e.is_not_found() => {
                    let name = &args.name;
                    return Err(Error::invalid(format!(
                        "image {name} is not unpacked in snapshotter {snapshotter}"
                    )));
                }
                usage => usage?,
            };
        table.row([key.to_string(), table::bytes(usage.size), usage.inodes.to_string()]);
    }
    table.print()
}
