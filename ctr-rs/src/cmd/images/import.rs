//! `images import FILE`.

use std::fs::File;
use std::io::Read;

use base::Platform;
use protos::api::Any;
use protos::api::types_transfer::{ImageImportStream, ImageReference, ImageStore, UnpackConfiguration};

use crate::cli::Global;
use crate::client::stream;
use crate::cmd::flags::{SnapshotterFlag, labels, platform, wire_platform};
use crate::error::{Error, Result};
use crate::transfer::progress::Display;
use crate::transfer::{Beside, archive, transfer};

/// Arguments of `images import`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    snapshotter: SnapshotterFlag,
    /// Base of names for images whose archive gives only a tag
    #[arg(long, value_name = "NAME")]
    base_name: Option<String>,
    /// Name images by their digests too
    #[arg(long)]
    digests: bool,
    /// No digest names for images that have a name
    #[arg(long)]
    skip_digest_for_named: bool,
    /// Name of the archive's index itself
    #[arg(long, value_name = "NAME")]
    index_name: Option<String>,
    /// Label (key=value) of the images
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<String>,
    /// Platform to read (linux/arm64); this machine's when left out
    #[arg(long, conflicts_with = "all_platforms")]
    platform: Vec<String>,
    /// Read all platforms
    #[arg(long)]
    all_platforms: bool,
    /// Do not unpack
    #[arg(long)]
    no_unpack: bool,
    /// Compress layers that are not
    #[arg(long)]
    compress_blobs: bool,
    /// The archive; - for standard input
    file: String,
}

/// Streams the archive to the daemon.
pub async fn run(global: &Global, args: Args) -> Result<()> {
    let client = global.client()?;
    let input: Box<dyn Read + Send> = match args.file.as_str() {
        "-" => Box::new(std::io::stdin()),
        path => Box::new(File::open(path).map_err(Error::io(format!("cannot open {path}")))?),
    };
    let mut platforms: Vec<Platform> = args.platform.iter().map(|p| platform(p)).collect::<Result<_>>()?;
    if platforms.is_empty() && !args.all_platforms {
        platforms.push(Platform::host());
    }
    let mut unpacks = Vec::new();
    if !args.no_unpack {
        let snapshotter = args.snapshotter.chosen(&client).await?;
        let host = [Platform::host()];
        let wanted = if platforms.is_empty() { &host[..] } else { &platforms };
        unpacks.extend(wanted.iter().map(|p| UnpackConfiguration {
            platform: Some(wire_platform(p)),
            snapshotter: snapshotter.clone(),
        }));
    }
    let stream = stream::open(&client, "import").await?;
    let source = ImageImportStream {
        stream: stream.id.clone(),
        force_compress: args.compress_blobs,
        ..ImageImportStream::default()
    };
    let store = ImageStore {
        name: args.index_name.clone().unwrap_or_default(),
        labels: labels(&args.label),
        platforms: platforms.iter().map(wire_platform).collect(),
        extra_references: references(&args),
        unpacks,
        ..ImageStore::default()
    };
    let what = format!("cannot import {}", args.file);
    let send = archive::send(stream, input, args.file.clone());
    let (source, store) = (Any::pack(&source), Any::pack(&store));
    transfer(&client, &what, source, store, Display::Stdout, (send, Beside::UntilAnswered)).await
}

/// How images of the archive are named.
fn references(args: &Args) -> Vec<ImageReference> {
    // without a base, tags need one that tells where they came from
    let prefix = match &args.base_name {
        Some(name) => name.clone(),
        None => format!("import-{}", today()),
    };
    let digests = args.digests || args.skip_digest_for_named;
    vec![ImageReference {
        name: prefix,
        is_prefix: true,
        // a base that is given is a rule: names without it are left alone
        allow_overwrite: args.base_name.is_none(),
        add_digest: digests,
        skip_named_digest: args.skip_digest_for_named,
    }]
}

fn today() -> String {
    base::timestamp::to_rfc3339_nano(std::time::SystemTime::now()).chars().take(10).collect()
}
