//! `leases rm ID...`.

use protos::api::leases::DeleteRequest;

use crate::cli::Global;
use crate::error::{Answered, Result};
use crate::io::output;

/// Arguments of `leases rm`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Wait until what nothing refers to any more is collected
    #[arg(long)]
    sync: bool,
    /// Ids of the leases
    #[arg(required = true)]
    ids: Vec<String>,
}

/// Ends them; prints those that have ended.
pub async fn run(global: &Global, args: Args) -> Result<()> {
    let client = global.client()?;
    for (at, id) in args.ids.iter().enumerate() {
        let request = DeleteRequest { id: id.clone(), sync: args.sync && at + 1 == args.ids.len() };
        client.leases().delete(request).await.or_say(format!("cannot delete lease {id}"))?;
        output::line(id)?;
    }
    Ok(())
}
