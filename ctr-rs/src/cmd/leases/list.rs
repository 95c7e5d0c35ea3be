//! `leases ls`.

use protos::api::leases::ListRequest;

use crate::cli::Global;
use crate::cmd::flags::rfc3339;
use crate::error::{Answered, Result};
use crate::io::output;
use crate::table::{self, Table};

/// Arguments of `leases ls`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Ids only
    #[arg(long, short)]
    quiet: bool,
    /// Filters, such as labels.key==value; any of them may match
    filters: Vec<String>,
}

/// Prints one line per lease.
pub async fn run(global: &Global, args: Args) -> Result<()> {
    let client = global.client()?;
    let request = ListRequest { filters: args.filters };
    let answer = client.leases().list(request).await.or_say("cannot list leases")?;
    let mut table = Table::new(["ID", "CREATED AT", "LABELS"]);
    for lease in answer.leases {
        if args.quiet {
            output::line(&lease.id)?;
        } else {
            let created = lease.created_at.as_ref().map(rfc3339).unwrap_or_default();
            table.row([lease.id, created, table::labels(&lease.labels)]);
        }
    }
    if args.quiet { Ok(()) } else { table.print() }
}
