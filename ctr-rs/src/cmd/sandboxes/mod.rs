//! `sandboxes`: what pods run in.

mod info;
mod list;
mod remove;
mod run;

use clap::Subcommand;
use protos::api::namespaces::GetNamespaceRequest;
use protos::api::sandbox::StoreGetRequest;
use protos::api::types::Sandbox;

use crate::cli::Global;
use crate::client::Client;
use crate::error::{Answered, Result};

/// The kind of sandboxes of a namespace that names none.
const SANDBOXER: &str = "shim";

/// Verbs of `sandboxes`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a sandbox and start it
    #[command(visible_aliases = ["create", "c", "r"])]
    Run(run::Args),
    /// List sandboxes
    #[command(visible_alias = "ls")]
    List(list::Args),
    /// End sandboxes, with their containers, and remove them
    #[command(visible_alias = "rm", aliases = ["del", "delete"])]
    Remove(remove::Args),
    /// Print the record of a sandbox, as JSON
    #[command(visible_alias = "i")]
    Info(info::Args),
}

/// Carries out one.
pub async fn run(global: &Global, command: Command) -> Result<()> {
    match command {
        Command::Run(args) => run::run(global, args).await,
        Command::List(args) => list::run(global, args).await,
        Command::Remove(args) => remove::run(global, args).await,
        Command::Info(args) => info::run(global, args).await,
    }
}

/// The namespace's own kind, or the usual one.
async fn default_sandboxer(client: &Client) -> Result<String> {
    let request = GetNamespaceRequest { name: client.namespace().to_string() };
    let chosen = match client.namespaces().get(request).await.or_say("cannot get the namespace") {
        Ok(answer) => answer.namespace.unwrap_or_default().labels.remove(base::labels::defaults::SANDBOXER),
        Err(e) if e.is_not_found() => None,
        Err(e) => return Err(e),
    };
    Ok(chosen.filter(|name| !name.is_empty()).unwrap_or_else(|| SANDBOXER.to_owned()))
}

/// The record of a sandbox.
async fn get(client: &Client, id: &str) -> Result<Sandbox> {
    let request = StoreGetRequest { sandbox_id: id.to_owned() };
    let answer = client.sandboxes().get(request).await.or_say(format!("cannot get sandbox {id}"))?;
    Ok(answer.sandbox.unwrap_or_default())
}
