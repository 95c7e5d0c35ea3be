//! `namespaces ls`.

use protos::api::namespaces::ListNamespacesRequest;

use crate::cli::Global;
use crate::error::{Answered, Result};
use crate::io::output;
use crate::table::{self, Table};

/// Arguments of `namespaces ls`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Names only
    #[arg(long, short)]
    quiet: bool,
}

/// Prints one line per namespace.
pub async fn run(global: &Global, args: Args) -> Result<()> {
    let client = global.client()?;
    let request = ListNamespacesRequest::default();
    let answer = client.namespaces().list(request).await.or_say("cannot list namespaces")?;
    let mut table = Table::new(["NAME", "LABELS"]);
    for namespace in answer.namespaces {
        if args.quiet {
            output::line(&namespace.name)?;
        } else {
            let labels =
                if namespace.labels.is_empty() { String::new() } else { table::labels(&namespace.labels) };
            table.row([namespace.name, labels]);
        }
    }
    if args.quiet { Ok(()) } else { table.print() }
}
