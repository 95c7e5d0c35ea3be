//! `images export FILE NAME...`.

use std::fs::File;
use std::io::Write;

use base::Platform;
use protos::api::Any;
use protos::api::types_transfer::{ImageExportStream, ImageReference, ImageStore};

use tokio::sync::watch;

use crate::cli::Global;
use crate::client::stream;
use crate::cmd::flags::{platform, wire_platform};
use crate::error::{Error, Result};
use crate::transfer::progress::Display;
use crate::transfer::{Beside, archive, transfer};

/// Arguments of `images export`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Leave out Docker's manifest.json
    #[arg(long)]
    skip_manifest_json: bool,
    /// Leave out layers that may not be passed on
    #[arg(long)]
    skip_non_distributable: bool,
    /// Platform to write; this machine's when left out
    #[arg(long, conflicts_with = "all_platforms")]
    platform: Vec<String>,
    /// Write all platforms
    #[arg(long)]
    all_platforms: bool,
    /// The archive; - for standard output
    file: String,
    /// Names of the images
    #[arg(required = true)]
    names: Vec<String>,
}

/// Streams an archive from the daemon. A file that was not finished is removed.
pub async fn run(global: &Global, args: Args) -> Result<()> {
    if args.file == "-" {
        return export(global, &args, std::io::stdout(), Display::Stderr).await;
    }
    let what = format!("cannot write {}", args.file);
    let file = File::create(&args.file).map_err(Error::io(what))?;
    export(global, &args, file, Display::Stdout).await.inspect_err(|_| {
        let _removed = std::fs::remove_file(&args.file);
    })
}

async fn export(global: &Global, args: &Args, out: impl Write, display: Display) -> Result<()> {
    let client = global.client()?;
    let platforms: Vec<Platform> = args.platform.iter().map(|p| platform(p)).collect::<Result<_>>()?;
    let stream = stream::open(&client, "export").await?;
    let reference = |name: &String| ImageReference { name: name.clone(), ..ImageReference::default() };
    let store =
        ImageStore { extra_references: args.names.iter().map(reference).collect(), ..ImageStore::default() };
    let destination = ImageExportStream {
        stream: stream.id.clone(),
        platforms: platforms.iter().map(wire_platform).collect(),
        all_platforms: args.all_platforms,
        skip_compatibility_manifest: args.skip_manifest_json,
        skip_non_distributable: args.skip_non_distributable,
        ..ImageExportStream::default()
    };
    let what = format!("cannot export {}", args.names.join(", "));
    let (answered, answer) = watch::channel(false);
    let receive = archive::receive(stream, out, args.file.clone(), answer);
    let (store, destination) = (Any::pack(&store), Any::pack(&destination));
    transfer(&client, &what, store, destination, display, (receive, Beside::ToItsEnd(answered))).await
}
