//! `plugins`: parts of the daemon.

mod list;

use clap::Subcommand;

use crate::cli::Global;
use crate::error::Result;

/// Verbs of `plugins`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List plugins
    #[command(visible_alias = "ls")]
    List(list::Args),
}

/// Carries out one.
pub async fn run(global: &Global, command: Command) -> Result<()> {
    match command {
        Command::List(args) => list::run(global, args).await,
    }
}
