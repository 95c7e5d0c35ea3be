//! `tasks ps ID`.

use protos::api::runc_options::ProcessDetails;
use protos::api::tasks::ListPidsRequest;

use crate::cli::Global;
use crate::error::{Answered, Result};
use crate::table::Table;

/// Arguments of `tasks ps`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Id of the container
    id: String,
}

/// Prints the processes of a container, with the exec id of those that have one.
pub async fn run(global: &Global, args: Args) -> Result<()> {
    let client = global.client()?;
    let what = format!("cannot list the processes of task {}", args.id);
    let answer = client.tasks().list_pids(ListPidsRequest { container_id: args.id }).await.or_say(what)?;
    let mut table = Table::wide(["PID", "INFO"]);
    for process in &answer.processes {
        let details = process.info.as_ref().and_then(|any| any.unpack::<ProcessDetails>().ok());
        let info = details.map_or_else(|| "-".to_owned(), |d| format!("exec_id:{:?}", d.exec_id));
        table.row([process.pid.to_string(), info]);
    }
    table.print()
}
