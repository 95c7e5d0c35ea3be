//! `containers`: what could run.

mod create;
mod delete;
mod info;
mod label;
mod list;

use clap::Subcommand;
use protos::api::containers::{Container, GetContainerRequest};

use crate::cli::Global;
use crate::client::Client;
use crate::error::{Answered, Error, Result};
use crate::spec::Spec;

/// Verbs of `containers`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create a container; `tasks start` starts it
    Create(Box<create::Args>),
    /// Remove containers and their snapshots
    #[command(visible_alias = "rm", aliases = ["del", "remove"])]
    Delete(delete::Args),
    /// Print a container's record as JSON
    Info(info::Args),
    /// Set labels of a container; an empty value removes one
    Label(label::Args),
    /// List containers
    #[command(visible_alias = "ls")]
    List(list::Args),
}

/// Carries out one.
pub async fn run(global: &Global, command: Command) -> Result<()> {
    match command {
        Command::Create(args) => create::run(global, *args).await,
        Command::Delete(args) => delete::run(global, args).await,
        Command::Info(args) => info::run(global, args).await,
        Command::Label(args) => label::run(global, args).await,
        Command::List(args) => list::run(global, args).await,
    }
}

/// A container's record.
pub async fn get(client: &Client, id: &str) -> Result<Container> {
    let what = format!("cannot get container {id}");
    let answer = client.containers().get(GetContainerRequest { id: id.into() }).await.or_say(&what)?;
    answer.container.ok_or_else(|| Error::invalid(format!("{what}: the daemon gave no record")))
}

/// The runtime spec in a container's record.
pub fn spec_of(container: &Container) -> Result<Spec> {
    let what = || format!("the spec of container {} cannot be read", container.id);
    let any = container.spec.as_ref().ok_or_else(|| Error::invalid(format!("{}: it has none", what())))?;
    serde_json::from_slice(&any.value).map_err(|source| Error::Json { what: what(), source })
}
