//! `images mount NAME DIRECTORY`.

use std::time::{Duration, SystemTime};

use protos::api::leases::CreateRequest;
use protos::api::snapshots::{MountsRequest, PrepareSnapshotRequest, ViewSnapshotRequest};
use protos::api::types::Mount;

use crate::cli::{Global, duration};
use crate::client::{Client, activation, image, lease, unpack};
use crate::cmd::flags::{SnapshotterFlag, matcher};
use crate::error::{Answered, Result};
use crate::io::output;
use crate::spec::host_mount;

/// Arguments of `images mount`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    snapshotter: SnapshotterFlag,
    /// Let it be written to
    #[arg(long)]
    rw: bool,
    /// Platform (linux/arm64); this machine's when left out
    #[arg(long)]
    platform: Option<String>,
    /// Flush the file system after each layer that must be unpacked
    #[arg(long)]
    sync_fs: bool,
    /// Forget the snapshot after this long, when it is not mounted; 0: never
    #[arg(long, short = 'x', value_parser = duration, default_value = "1h")]
    expiration: Duration,
    /// Name of the image
    name: String,
    /// Where to mount it
    directory: String,
}

/// Unpacks it if need be, makes a snapshot named like the directory, and mounts that.
pub async fn run(global: &Global, args: Args) -> Result<()> {
    let plain = global.client()?;
    let snapshotter = args.snapshotter.resolve(&plain).await?;
    hold(&plain, &args).await?;
    let client = plain.under_lease(&args.directory)?;
    let done = mount(&client, &args, &snapshotter).await;
    if done.is_err() {
        lease::delete(&plain, &args.directory).await?;
    }
    output::line(done?)?;
    output::line(&args.directory)
}

/// A lease with the directory's name: `images unmount --rm` ends it.
async fn hold(client: &Client, args: &Args) -> Result<()> {
    let mut labels = std::collections::BTreeMap::new();
    if !args.expiration.is_zero() {
        let at = base::timestamp::to_rfc3339_nano(SystemTime::now() + args.expiration);
        labels.insert(base::labels::gc::EXPIRE.to_owned(), at);
    }
    let request = CreateRequest { id: args.directory.clone(), labels };
    match client.leases().create(request).await.or_say("cannot create a lease") {
        Err(e) if !e.is_already_exists() => Err(e),
        _ => Ok(()),
    }
}

async fn mount(client: &Client, args: &Args, snapshotter: &str) -> Result<String> {
    let record = image::get(client, &args.name).await?;
    let platform = matcher(args.platform.as_ref())?;
    let resolved = image::resolve(client, &image::target(&record)?, &platform).await?;
    unpack::unpack(client, &resolved, snapshotter, args.sync_fs).await?;
    let chain = resolved.chain_id();
    let mounts = snapshot(client, args, snapshotter, &chain).await?;
    let mounts = activation::activate(client, &args.directory, mounts, false).await?;
    host_mount::mount_all(&mounts, args.directory.as_ref())?;
    Ok(chain)
}

async fn snapshot(client: &Client, args: &Args, snapshotter: &str, parent: &str) -> Result<Vec<Mount>> {
    let (snapshotter, key, parent) = (snapshotter.to_owned(), args.directory.clone(), parent.to_owned());
    let what = || format!("cannot make a snapshot for {}", args.directory);
    let labels = Default::default();
    let made = if args.rw {
        let request =
            PrepareSnapshotRequest { snapshotter: snapshotter.clone(), key: key.clone(), parent, labels };
        client.snapshots().prepare(request).await.or_say(what()).map(|answer| answer.mounts)
    } else {
        let request =
            ViewSnapshotRequest { snapshotter: snapshotter.clone(), key: key.clone(), parent, labels };
        client.snapshots().view(request).await.or_say(what()).map(|answer| answer.mounts)
    };
    match made {
        Err(e) if e.is_already_exists() => {
            let request = MountsRequest { snapshotter, key };
            Ok(client.snapshots().mounts(request).await.or_say(what())?.mounts)
        }
        made => made,
    }
}
