//! `images pull NAME`.

use base::Platform;
use protos::api::Any;
use protos::api::types_transfer::{ImageStore, UnpackConfiguration};

use crate::cli::Global;
use crate::cmd::flags::{SnapshotterFlag, labels, platform, wire_platform};
use crate::error::Result;
use crate::transfer::progress::Display;
use crate::transfer::registry::{RegistryFlags, full_name};
use crate::transfer::{Beside, transfer};

/// Arguments of `images pull`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    registry: RegistryFlags,
    #[command(flatten)]
    snapshotter: SnapshotterFlag,
    /// Label (key=value) of the image
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<String>,
    /// Platform to get (linux/arm64); this machine's when left out
    #[arg(long, conflicts_with = "all_platforms")]
    platform: Vec<String>,
    /// Get all platforms; none is unpacked
    #[arg(long)]
    all_platforms: bool,
    /// Leave out manifests and configs of the other platforms
    #[arg(long)]
    skip_metadata: bool,
    /// Name of the image; short names are Docker Hub's
    name: String,
}

/// Lets the daemon fetch and unpack it.
pub async fn run(global: &Global, args: Args) -> Result<()> {
    let client = global.client()?;
    let name = full_name(&args.name)?;
    let mut platforms: Vec<Platform> = args.platform.iter().map(|p| platform(p)).collect::<Result<_>>()?;
    if platforms.is_empty() && !args.all_platforms {
        platforms.push(Platform::host());
    }
    let snapshotter = args.snapshotter.chosen(&client).await?;
    let unpacks = platforms
        .iter()
        .map(|p| UnpackConfiguration { platform: Some(wire_platform(p)), snapshotter: snapshotter.clone() });
    let store = ImageStore {
        name: name.clone(),
        labels: labels(&args.label),
        platforms: platforms.iter().map(wire_platform).collect(),
        all_metadata: !args.skip_metadata,
        unpacks: unpacks.collect(),
        ..ImageStore::default()
    };
    let (registry, answers) = args.registry.registry(&client, &name).await?;
    let what = format!("cannot pull {name}");
    transfer(&client, &what, registry, Any::pack(&store), Display::Stdout, (answers, Beside::UntilAnswered))
        .await
}
