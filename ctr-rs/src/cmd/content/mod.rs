//! `content`: blobs by their digests.

mod active;
mod delete;
mod get;
mod ingest;
mod label;
mod list;

use base::Digest;
use clap::Subcommand;

use crate::cli::Global;
use crate::error::{Error, Result};

/// Verbs of `content`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List ingests that are under way
    Active(active::Args),
    /// Delete blobs
    #[command(visible_alias = "rm", aliases = ["del", "remove"])]
    Delete(delete::Args),
    /// Print a blob
    Get(get::Args),
    /// Write standard input to a blob
    Ingest(ingest::Args),
    /// Set labels of a blob; an empty value removes one
    Label(label::Args),
    /// List blobs
    #[command(visible_alias = "ls")]
    List(list::Args),
}

/// Carries out one.
pub async fn run(global: &Global, command: Command) -> Result<()> {
    match command {
        Command::Active(args) => active::run(global, args).await,
        Command::Delete(args) => delete::run(global, args).await,
        Command::Get(args) => get::run(global, args).await,
        Command::Ingest(args) => ingest::run(global, args).await,
        Command::Label(args) => label::run(global, args).await,
        Command::List(args) => list::run(global, args).await,
    }
}

/// Reads a digest.
fn digest(text: &str) -> Result<Digest> {
    Digest::parse(text).map_err(|e| Error::refused(format!("digest {text:?} cannot be used"), e))
}
