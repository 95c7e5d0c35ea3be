//! `content active`.

use protos::api::content::ListStatusesRequest;

use crate::cli::Global;
use crate::cmd::flags::age;
use crate::error::{Answered, Result};
use crate::table::{self, Table};

/// Arguments of `content active`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Filters, such as ref~=layer; any of them may match
    filters: Vec<String>,
}

/// Prints one line per ingest.
pub async fn run(global: &Global, args: Args) -> Result<()> {
    let client = global.client()?;
    let request = ListStatusesRequest { filters: args.filters };
    let answer = client.content().list_statuses(request).await.or_say("cannot list ingests")?;
    let mut table = Table::new(["REF", "SIZE", "AGE"]);
    for ingest in answer.statuses {
        table.row([ingest.r#ref, table::bytes(ingest.offset), age(ingest.started_at.as_ref())]);
    }
    table.print()
}
