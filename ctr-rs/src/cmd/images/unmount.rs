//! `images unmount DIRECTORY`.

use protos::api::snapshots::RemoveSnapshotRequest;

use crate::cli::Global;
use crate::client::{activation, lease};
use crate::cmd::flags::SnapshotterFlag;
use crate::error::{Answered, Result};
use crate::io::output;
use crate::spec::host_mount;

/// Arguments of `images unmount`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    snapshotter: SnapshotterFlag,
    /// Remove the snapshot too
    #[arg(long)]
    rm: bool,
    /// Where it is mounted
    directory: String,
}

/// Unmounts it.
pub async fn run(global: &Global, args: Args) -> Result<()> {
    host_mount::unmount_all(args.directory.as_ref())?;
    let client = global.client()?;
    // Without --rm the daemon need not be there; what it keeps mounted goes with the lease.
    let deactivated = activation::deactivate(&client, &args.directory).await;
    if args.rm {
        deactivated?;
        let snapshotter = args.snapshotter.resolve(&client).await?;
        lease::delete(&client, &args.directory).await?;
        let request = RemoveSnapshotRequest { snapshotter, key: args.directory.clone() };
        match client
            .snapshots()
            .remove(request)
            .await
            .or_say(format!("cannot remove snapshot {}", args.directory))
        {
            Err(e) if !e.is_not_found() => return Err(e),
            _ => {}
        }
    }
    output::line(&args.directory)
}
