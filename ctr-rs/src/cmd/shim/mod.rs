//! `shim`: one shim, spoken to directly, without the daemon.

mod connect;
mod delete;
mod exec;
mod shutdown;
mod start;
mod state;

use clap::Subcommand;

use crate::cli::Global;
use crate::error::Result;

/// Arguments of `shim`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Id of the shim: of its container, or of the group of containers that it serves
    #[arg(long)]
    id: Option<String>,
    /// Where it listens; else that is made of --address, --namespace and --id
    #[arg(long, value_name = "ADDRESS")]
    shim_address: Option<String>,
    /// What to do
    #[command(subcommand)]
    command: Command,
}

/// Verbs of `shim`.
#[derive(Debug, Subcommand)]
enum Command {
    /// Forget a container whose process has ended
    Delete(delete::Args),
    /// Run another process in a container
    Exec(exec::Args),
    /// Ask the shim to leave, which it does when it has no containers
    Shutdown,
    /// Start a container that was created
    Start(start::Args),
    /// Print the state of a container's first process, as JSON
    State(state::Args),
}

/// Carries out one.
pub async fn run(global: &Global, args: Args) -> Result<()> {
    let shim = connect::connect(global, args.id, args.shim_address.as_deref()).await?;
    match args.command {
        Command::Delete(args) => delete::run(&shim, args).await,
        Command::Exec(args) => exec::run(&shim, args).await,
        Command::Shutdown => shutdown::run(&shim).await,
        Command::Start(args) => start::run(&shim, args).await,
        Command::State(args) => state::run(&shim, args).await,
    }
}
