//! `containers rm ID...`.

use protos::api::types_task::Status;

use crate::cli::Global;
use crate::client::Client;
use crate::cmd::flags::all_done;
use crate::cmd::run::create::remove;
use crate::error::{Error, Result};
use crate::io::fifo;
use crate::io::output::warn_error;
use crate::task::call::{ProcessRef, streams};

/// Arguments of `containers rm`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Leave the snapshots
    #[arg(long)]
    keep_snapshot: bool,
    /// Ids of the containers
    #[arg(required = true)]
    ids: Vec<String>,
}

/// Removes them all, even when one fails.
pub async fn run(global: &Global, args: Args) -> Result<()> {
    let client = global.client()?;
    let mut failed = 0;
    for id in &args.ids {
        match delete(&client, id, args.keep_snapshot).await {
            Ok(()) => {}
            Err(e) if args.ids.len() == 1 => return Err(e),
            Err(e) => {
                warn_error(&e);
                failed += 1;
            }
        }
    }
    all_done(failed, args.ids.len())
}

async fn delete(client: &Client, id: &str, keep_snapshot: bool) -> Result<()> {
    let task = ProcessRef::task(client, id);
    let (container, process) = tokio::join!(super::get(client, id), task.get());
    let container = container?;
    match process {
        Ok(process) => match process.status() {
            Status::Stopped | Status::Created | Status::Unknown => {
                task.delete().await?;
                fifo::remove(&streams(&process));
            }
            status => {
                let status = status.as_str_name().to_lowercase();
                return Err(Error::invalid(format!(
                    "cannot delete container {id}: its task is {status}; stop it with: ctr-rs tasks rm -f {id}"
                )));
            }
        },
        Err(e) if e.is_not_found() => {}
        Err(e) => return Err(e),
    }
    let snapshot = Some((container.snapshotter.as_str(), container.snapshot_key.as_str()));
    let snapshot = snapshot.filter(|(_, key)| !key.is_empty() && !keep_snapshot);
    remove(client, Some(id), snapshot).await
}
