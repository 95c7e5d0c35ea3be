//! `images`: named content.

mod check;
mod delete;
mod export;
mod import;
mod label;
mod list;
mod mount;
mod pull;
mod push;
mod survey;
mod tag;
mod unmount;
mod usage;

use clap::Subcommand;

use crate::cli::Global;
use crate::error::Result;

/// Verbs of `images`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Say whether all content of images is here, and unpacked
    Check(check::Args),
    /// Remove images by name
    #[command(visible_alias = "rm", aliases = ["del", "remove"])]
    Delete(delete::Args),
    /// Write images to a tar archive
    Export(export::Args),
    /// Read images from a tar archive
    Import(import::Args),
    /// Set labels of an image; an empty value removes one
    Label(label::Args),
    /// List images
    #[command(visible_alias = "ls")]
    List(list::Args),
    /// Mount an image on a directory
    Mount(mount::Args),
    /// Get an image from a registry
    Pull(pull::Args),
    /// Put an image into a registry
    Push(push::Args),
    /// Give an image another name
    Tag(tag::Args),
    /// Unmount what `images mount` has mounted
    Unmount(unmount::Args),
    /// Print what the snapshots of an image take up
    Usage(usage::Args),
}

/// Carries out one.
pub async fn run(global: &Global, command: Command) -> Result<()> {
    match command {
        Command::Check(args) => check::run(global, args).await,
        Command::Delete(args) => delete::run(global, args).await,
        Command::Export(args) => export::run(global, args).await,
        Command::Import(args) => import::run(global, args).await,
        Command::Label(args) => label::run(global, args).await,
        Command::List(args) => list::run(global, args).await,
        Command::Mount(args) => mount::run(global, args).await,
        Command::Pull(args) => pull::run(global, args).await,
        Command::Push(args) => push::run(global, args).await,
        Command::Tag(args) => tag::run(global, args).await,
        Command::Unmount(args) => unmount::run(global, args).await,
        Command::Usage(args) => usage::run(global, args).await,
    }
}
