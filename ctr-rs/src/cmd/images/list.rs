//! `images ls`.

use base::platform::Matcher;
use futures_util::{StreamExt, stream};
use protos::api::images::{Image, ListImagesRequest};

use super::survey::survey;
use crate::cli::Global;
use crate::client::{Client, image};
use crate::error::{Answered, Result};
use crate::io::output::{self, warn_error};
use crate::table::{self, Table};

/// Images that are looked at at the same time.
const AT_ONCE: usize = 8;

/// Arguments of `images ls`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Names only
    #[arg(long, short)]
    quiet: bool,
    /// Filters, such as name~=busybox; any of them may match
    filters: Vec<String>,
}

/// Prints one line per image.
pub async fn run(global: &Global, args: Args) -> Result<()> {
    let client = global.client()?;
    let request = ListImagesRequest { filters: args.filters };
    let images = client.images().list(request).await.or_say("cannot list images")?.images;
    if args.quiet {
        return images.iter().try_for_each(|image| output::line(&image.name));
    }
    let mut table = Table::new(["REF", "TYPE", "DIGEST", "SIZE", "PLATFORMS", "LABELS"]);
    let mut rows = stream::iter(images).map(|image| row(&client, image)).buffered(AT_ONCE);
    while let Some(cells) = rows.next().await {
        table.row(cells);
    }
    table.print()
}

async fn row(client: &Client, record: Image) -> [String; 6] {
    let looked = match image::target(&record) {
        Ok(target) => survey(client, &target, &Matcher::host_default()).await,
        Err(e) => Err(e),
    };
    let (size, platforms) = match looked {
        Ok(survey) => {
            let platforms: Vec<String> = survey.platforms.iter().cloned().collect();
            (survey.size(), platforms.join(","))
        }
        Err(e) => {
            warn_error(&e);
            (0, String::new())
        }
    };
    let target = record.target.unwrap_or_default();
    let platforms = if platforms.is_empty() { "-".into() } else { platforms };
    let labels = table::labels(&record.labels);
    [record.name, target.media_type, target.digest, table::bytes(size), platforms, labels]
}
