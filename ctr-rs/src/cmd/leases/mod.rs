//! `leases`: what keeps things from being collected.

mod create;
mod delete;
mod list;

use clap::Subcommand;

use crate::cli::Global;
use crate::error::Result;

/// Verbs of `leases`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a lease
    Create(create::Args),
    /// End leases
    #[command(visible_alias = "rm", aliases = ["del", "remove"])]
    Delete(delete::Args),
    /// List leases
    #[command(visible_alias = "ls")]
    List(list::Args),
}

/// Carries out one.
pub async fn run(global: &Global, command: Command) -> Result<()> {
    match command {
        Command::Create(args) => create::run(global, args).await,
        Command::Delete(args) => delete::run(global, args).await,
        Command::List(args) => list::run(global, args).await,
    }
}
