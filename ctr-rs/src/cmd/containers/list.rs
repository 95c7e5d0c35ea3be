//! `containers ls`.

use protos::api::containers::ListContainersRequest;

use crate::cli::Global;
use crate::error::{Answered, Result};
use crate::io::output;
use crate::table::Table;

/// Arguments of `containers ls`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Ids only
    #[arg(long, short)]
    quiet: bool,
    /// Filters, such as labels.key==value; any of them may match
    filters: Vec<String>,
}

/// Prints one line per container.
pub async fn run(global: &Global, args: Args) -> Result<()> {
    let client = global.client()?;
    let request = ListContainersRequest { filters: args.filters };
    let answer = client.containers().list(request).await.or_say("cannot list containers")?;
    let mut table = Table::wide(["CONTAINER", "IMAGE", "RUNTIME"]);
    for container in answer.containers {
        if args.quiet {
            output::line(&container.id)?;
        } else {
            let image = if container.image.is_empty() { "-".into() } else { container.image };
            table.row([container.id, image, container.runtime.unwrap_or_default().name]);
        }
    }
    if args.quiet { Ok(()) } else { table.print() }
}
