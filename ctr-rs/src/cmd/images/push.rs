//! `images push NAME [LOCAL]`.

use base::Platform;
use protos::api::Any;
use protos::api::types_transfer::ImageStore;

use crate::cli::Global;
use crate::cmd::flags::{platform, wire_platform};
use crate::error::Result;
use crate::transfer::progress::Display;
use crate::transfer::registry::{RegistryFlags, full_name};
use crate::transfer::{Beside, transfer};

/// Arguments of `images push`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    registry: RegistryFlags,
    /// Platform to push; all that are here when left out
    #[arg(long)]
    platform: Vec<String>,
    /// Name in the registry
    name: String,
    /// Name of the image here, when it is another
    local: Option<String>,
}

/// Lets the daemon send it.
pub async fn run(global: &Global, args: Args) -> Result<()> {
    let client = global.client()?;
    let name = full_name(&args.name)?;
    let local = match &args.local {
        Some(local) => full_name(local)?,
        None => name.clone(),
    };
    let platforms: Vec<Platform> = args.platform.iter().map(|p| platform(p)).collect::<Result<_>>()?;
    let store = ImageStore {
        name: local,
        platforms: platforms.iter().map(wire_platform).collect(),
        ..ImageStore::default()
    };
    let (registry, answers) = args.registry.registry(&client, &name).await?;
    let what = format!("cannot push {name}");
    transfer(&client, &what, Any::pack(&store), registry, Display::Stdout, (answers, Beside::UntilAnswered))
        .await
}
