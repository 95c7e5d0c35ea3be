//! The commands: one module per noun, one file per verb.

mod completion;
mod containers;
mod content;
mod events;
mod flags;
mod images;
mod info;
mod leases;
mod man;
mod namespaces;
mod oci;
mod plugins;
mod run;
mod sandboxes;
mod shim;
mod snapshots;
mod tasks;
mod version;

use clap::Subcommand;

use crate::cli::{Cli, Global};
use crate::error::Result;

/// Everything that can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Plugins of the daemon
    #[command(alias = "plugin", subcommand)]
    Plugins(plugins::Command),
    /// Print the versions of client and daemon
    Version,
    /// Print what the daemon says of itself, as JSON
    Info,
    /// Containers: what could run
    #[command(visible_alias = "c", alias = "container", subcommand)]
    Containers(containers::Command),
    /// Content: blobs by their digests
    #[command(subcommand)]
    Content(content::Command),
    /// Print events as they happen
    #[command(alias = "event")]
    Events(events::Args),
    /// Images: named content
    #[command(visible_alias = "i", alias = "image", subcommand)]
    Images(images::Command),
    /// Leases: what keeps things from being collected
    #[command(subcommand)]
    Leases(leases::Command),
    /// Namespaces of everything else
    #[command(visible_alias = "ns", alias = "namespace", subcommand)]
    Namespaces(namespaces::Command),
    /// Create a container and run it
    Run(Box<run::Args>),
    /// One shim, spoken to directly
    Shim(shim::Args),
    /// Sandboxes: what pods run in
    #[command(visible_alias = "s", aliases = ["sandbox", "sb"], subcommand)]
    Sandboxes(sandboxes::Command),
    /// Snapshots: file systems of images and containers
    #[command(alias = "snapshot")]
    Snapshots(snapshots::Args),
    /// Tasks: what runs
    #[command(visible_alias = "t", alias = "task", subcommand)]
    Tasks(tasks::Command),
    /// Documents of the OCI runtime-spec
    #[command(subcommand)]
    Oci(oci::Command),
    /// Print the completion script of a shell
    Completion(completion::Args),
    /// Print the manual page, of all commands
    Man,
}

/// Carries out a command; gives the exit status.
pub async fn run(cli: Cli) -> Result<u8> {
    let Cli { global, command } = cli;
    match command {
        Command::Run(args) => run::run(&global, *args).await,
        Command::Tasks(command) => tasks::run(&global, command).await,
        command => plain(&global, command).await.map(|()| 0),
    }
}

/// Commands that have no exit status of their own.
async fn plain(global: &Global, command: Command) -> Result<()> {
    match command {
        Command::Plugins(command) => plugins::run(global, command).await,
        Command::Version => version::run(global).await,
        Command::Info => info::run(global).await,
        Command::Containers(command) => containers::run(global, command).await,
        Command::Content(command) => content::run(global, command).await,
        Command::Events(args) => events::run(global, args).await,
        Command::Images(command) => images::run(global, command).await,
        Command::Leases(command) => leases::run(global, command).await,
        Command::Namespaces(command) => namespaces::run(global, command).await,
        Command::Shim(args) => shim::run(global, args).await,
        Command::Sandboxes(command) => sandboxes::run(global, command).await,
        Command::Snapshots(args) => snapshots::run(global, args).await,
        Command::Oci(command) => oci::run(global, command),
        Command::Completion(args) => completion::run(args),
        Command::Man => man::run(),
        // these two have been dealt with
        Command::Run(_) | Command::Tasks(_) => Ok(()),
    }
}
