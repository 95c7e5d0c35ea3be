//! `content ls`.

use protos::api::content::ListContentRequest;

use crate::cli::Global;
use crate::cmd::flags::age;
use crate::error::{Answered, Error, Result};
use crate::io::output;
use crate::table::{self, Table};

/// Arguments of `content ls`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Digests only
    #[arg(long, short)]
    quiet: bool,
    /// Filters, such as labels.key==value; any of them may match
    filters: Vec<String>,
}

/// Prints one line per blob.
pub async fn run(global: &Global, args: Args) -> Result<()> {
    const WHAT: &str = "cannot list content";
    let client = global.client()?;
    let request = ListContentRequest { filters: args.filters };
    let mut stream = client.content().list(request).await.or_say(WHAT)?;
    let mut table = Table::new(["DIGEST", "SIZE", "AGE", "LABELS"]);
    while let Some(page) = stream.message().await.map_err(|s| Error::rpc(WHAT, &s))? {
        for info in page.info {
            if args.quiet {
                output::line(&info.digest)?;
            } else {
                let age = age(info.created_at.as_ref());
                table.row([info.digest, table::bytes(info.size), age, table::labels(&info.labels)]);
            }
        }
    }
    if args.quiet { Ok(()) } else { table.print() }
}
