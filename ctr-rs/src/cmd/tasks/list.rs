//! `tasks ls`.

use protos::api::tasks::ListTasksRequest;

use crate::cli::Global;
use crate::error::{Answered, Result};
use crate::io::output;
use crate::table::Table;

/// Arguments of `tasks ls`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Ids only
    #[arg(long, short)]
    quiet: bool,
}

/// Prints one line per task.
pub async fn run(global: &Global, args: Args) -> Result<()> {
    let client = global.client()?;
    let answer = client.tasks().list(ListTasksRequest::default()).await.or_say("cannot list tasks")?;
    let mut table = Table::wide(["TASK", "PID", "STATUS"]);
    for task in &answer.tasks {
        if args.quiet {
            output::line(&task.id)?;
        } else {
            let status = task.status().as_str_name().to_owned();
            table.row([task.id.clone(), task.pid.to_string(), status]);
        }
    }
    if args.quiet { Ok(()) } else { table.print() }
}
