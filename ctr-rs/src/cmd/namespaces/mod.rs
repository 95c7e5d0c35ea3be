//! `namespaces`: which everything else lives in.

mod create;
mod label;
mod list;
mod remove;

use clap::Subcommand;

use crate::cli::Global;
use crate::error::Result;

/// Verbs of `namespaces`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a namespace
    #[command(visible_alias = "c")]
    Create(create::Args),
    /// Set labels of a namespace; an empty value removes one
    Label(label::Args),
    /// List namespaces
    #[command(visible_alias = "ls")]
    List(list::Args),
    /// Remove namespaces, which must be empty
    #[command(visible_alias = "rm", aliases = ["del", "delete"])]
    Remove(remove::Args),
}

/// Carries out one.
pub async fn run(global: &Global, command: Command) -> Result<()> {
    match command {
        Command::Create(args) => create::run(global, args).await,
        Command::Label(args) => label::run(global, args).await,
        Command::List(args) => list::run(global, args).await,
        Command::Remove(args) => remove::run(global, args).await,
    }
}
