//! `tasks attach ID`.

use crate::cli::Global;
use crate::cmd::run::exit_code;
use crate::error::Result;
use crate::task::attached;
use crate::task::call::{ProcessRef, streams};
use crate::task::signals::Signals;
use crate::task::stdio::Stdio;

/// Arguments of `tasks attach`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Id of the container
    id: String,
}

/// Stays with a task until it ends, then forgets it; gives its exit status.
pub async fn run(global: &Global, args: Args) -> Result<u8> {
    let client = global.client()?;
    let process = ProcessRef::task(&client, &args.id);
    let streams = streams(&process.get().await?);
    let mut stdio = Stdio::attach(&streams)?;
    let signals = Signals::take()?;
    let (status, copies) = attached::join(&process, &mut stdio, &signals).await?;
    process.delete_surely().await?;
    attached::drain(copies).await;
    drop(stdio);
    crate::io::fifo::remove(&streams);
    Ok(exit_code(status))
}
