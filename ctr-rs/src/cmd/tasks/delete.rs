//! `tasks rm [-f] ID...`.

use crate::cli::Global;
use crate::client::Client;
use crate::cmd::flags::all_done;
use crate::cmd::run::exit_code;
use crate::error::Result;
use crate::io::fifo;
use crate::io::output::{warn, warn_error};
use crate::task::call::{ProcessRef, streams};

/// Arguments of `tasks rm`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Kill those that still run
    #[arg(long, short)]
    force: bool,
    /// Delete this exec of one task
    #[arg(long, value_name = "ID")]
    exec_id: Option<String>,
    /// Ids of the containers
    #[arg(required = true)]
    ids: Vec<String>,
}

/// Forgets them all, even when one fails. Gives the first exit status that is not 0.
pub async fn run(global: &Global, args: Args) -> Result<u8> {
    let client = global.client()?;
    let (mut status, mut failed) = (0, 0);
    for id in &args.ids {
        match delete(&client, &args, id).await {
            Ok(code) => {
                if code != 0 && args.exec_id.is_none() {
                    warn(format!("task {id} had ended with status {code}"));
                }
                if status == 0 {
                    status = exit_code(code);
                }
            }
            Err(e) if args.ids.len() == 1 => return Err(e),
            Err(e) => {
                warn_error(&e);
                failed += 1;
            }
        }
    }
    all_done(failed, args.ids.len()).map(|()| status)
}

async fn delete(client: &Client, args: &Args, id: &str) -> Result<u32> {
    let process = match &args.exec_id {
        Some(exec) => ProcessRef::exec(client, id, exec),
        None => ProcessRef::task(client, id),
    };
    let streams = streams(&process.get().await?);
    let status = if args.force { process.kill_and_delete().await? } else { process.delete().await? };
    fifo::remove(&streams);
    Ok(status)
}
