//! `sandboxes ls`.

use protos::api::sandbox::StoreListRequest;

use crate::cli::Global;
use crate::cmd::flags::rfc3339;
use crate::error::{Answered, Result};
use crate::io::output;
use crate::table::Table;

/// Arguments of `sandboxes ls`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Ids only
    #[arg(long, short)]
    quiet: bool,
    /// Filters, such as labels.key==value; any of them may match
    #[arg(long)]
    filters: Vec<String>,
}

/// Prints one line per sandbox.
pub async fn run(global: &Global, args: Args) -> Result<()> {
    let client = global.client()?;
    let request = StoreListRequest { filters: args.filters };
    let answer = client.sandboxes().list(request).await.or_say("failed to list sandboxes")?;
    let mut table = Table::new(["ID", "CREATED", "RUNTIME"]);
    for sandbox in answer.list {
        if args.quiet {
            output::line(&sandbox.sandbox_id)?;
        } else {
            let created = sandbox.created_at.as_ref().map(rfc3339).unwrap_or_default();
            table.row([sandbox.sandbox_id, created, sandbox.runtime.unwrap_or_default().name]);
        }
    }
    if args.quiet { Ok(()) } else { table.print() }
}
