//! `tasks kill [-s SIGNAL] ID`.

use crate::cli::Global;
use crate::cmd::containers::get;
use crate::error::Result;
use crate::task::call::ProcessRef;
use crate::task::signals::parse;

const STOP_SIGNAL_LABEL: &str = "io.containerd.image.config.stop-signal";

/// Arguments of `tasks kill`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Signal, by name or number; what the image says, or SIGTERM, when left out
    #[arg(long, short)]
    signal: Option<String>,
    /// Send it to this exec
    #[arg(long, value_name = "ID", conflicts_with = "all")]
    exec_id: Option<String>,
    /// Send it to all processes of the container
    #[arg(long, short)]
    all: bool,
    /// Id of the container
    id: String,
}

/// Sends it.
pub async fn run(global: &Global, args: Args) -> Result<()> {
    let client = global.client()?;
    let signal = match &args.signal {
        Some(text) => parse(text)?,
        None => {
            let container = get(&client, &args.id).await?;
            parse(container.labels.get(STOP_SIGNAL_LABEL).map_or("SIGTERM", String::as_str))?
        }
    };
    let process = match &args.exec_id {
        Some(exec) => ProcessRef::exec(&client, &args.id, exec),
        None => ProcessRef::task(&client, &args.id),
    };
    process.kill(signal, args.all).await
}
