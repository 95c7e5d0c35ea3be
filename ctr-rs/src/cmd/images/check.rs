//! `images check`.

use base::platform::Matcher;
use protos::api::images::{Image, ListImagesRequest};
use protos::api::snapshots::StatSnapshotRequest;

use super::survey::{is_here, survey};
use crate::cli::Global;
use crate::client::{Client, image};
use crate::cmd::flags::SnapshotterFlag;
use crate::error::{Answered, Result};
use crate::io::output;
use crate::table::{self, Table};

/// Arguments of `images check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Names of images only that are complete and unpacked
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    snapshotter: SnapshotterFlag,
    /// Filters, such as name~=busybox; any of them may match
    filters: Vec<String>,
}

/// Prints one line per image.
pub async fn run(global: &Global, args: Args) -> Result<()> {
    let client = global.client()?;
    let snapshotter = args.snapshotter.resolve(&client).await?;
    let request = ListImagesRequest { filters: args.filters };
    let images = client.images().list(request).await.or_say("cannot list images")?.images;
    let mut table = Table::new(["REF", "TYPE", "DIGEST", "STATUS", "SIZE", "UNPACKED"]);
    for image in images {
        let state = check(&client, &image, &snapshotter).await?;
        if !args.quiet {
            let target = image.target.unwrap_or_default();
            let unpacked = state.unpacked.to_string();
            table.row([image.name, target.media_type, target.digest, state.status, state.size, unpacked]);
        } else if state.complete && state.unpacked {
            output::line(&image.name)?;
        }
    }
    if args.quiet { Ok(()) } else { table.print() }
}

struct State {
    status: String,
    size: String,
    complete: bool,
    unpacked: bool,
}

async fn check(client: &Client, record: &Image, snapshotter: &str) -> Result<State> {
    let target = image::target(record)?;
    let matcher = Matcher::host_default();
    let survey = survey(client, &target, &matcher).await?;
    let (mut here, mut bytes_here) = (0, 0);
    for part in &survey.required {
        if is_here(client, &part.digest).await? {
            here += 1;
            bytes_here += part.size.max(0);
        }
    }
    if !survey.available {
        let size = format!("{}/?", table::bytes(bytes_here));
        return Ok(State {
            status: format!("unavailable ({here}/?)"),
            size,
            complete: false,
            unpacked: false,
        });
    }
    let all = survey.required.len();
    let complete = here == all;
    let word = if complete { "complete" } else { "incomplete" };
    let size = format!("{}/{}", table::bytes(bytes_here), table::bytes(survey.size()));
    let unpacked = is_unpacked(client, &target, &matcher, snapshotter).await?;
    Ok(State { status: format!("{word} ({here}/{all})"), size, complete, unpacked })
}

async fn is_unpacked(
    client: &Client,
    target: &base::Descriptor,
    matcher: &Matcher,
    snapshotter: &str,
) -> Result<bool> {
    let resolved = match image::resolve(client, target, matcher).await {
        Ok(resolved) => resolved,
        Err(e) if e.is_not_found() => return Ok(false),
        Err(e) => return Err(e),
    };
    let key = resolved.chain_id();
    if key.is_empty() {
        return Ok(true);
    }
    let request = StatSnapshotRequest { snapshotter: snapshotter.into(), key: key.clone() };
    match client.snapshots().stat(request).await.or_say(format!("cannot look for snapshot {key}")) {
        Ok(_) => Ok(true),
        Err(e) if e.is_not_found() => Ok(false),
        Err(e) => Err(e),
    }
}
