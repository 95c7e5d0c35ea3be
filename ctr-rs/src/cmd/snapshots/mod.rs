//! `snapshots`: file systems of images and containers.

mod commit;
mod delete;
mod info;
mod label;
mod list;
mod mounts;
mod prepare;
mod tree;
mod usage;
mod view;

use clap::Subcommand;
use protos::api::snapshots::{Info, ListSnapshotsRequest};
use protos::api::types::Mount;

use crate::cli::Global;
use crate::client::Client;
use crate::cmd::flags::SnapshotterFlag;
use crate::error::{Answered, Error, Result};
use crate::io::output;

/// Arguments of `snapshots`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    snapshotter: SnapshotterFlag,
    #[command(subcommand)]
    command: Command,
}

/// Verbs of `snapshots`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make an active snapshot a committed one
    Commit(commit::Args),
    /// Remove snapshots
    #[command(visible_alias = "rm", aliases = ["del", "remove"])]
    Delete(delete::Args),
    /// Print a snapshot's record as JSON
    Info(info::Args),
    /// Set labels of a snapshot; an empty value removes one
    Label(label::Args),
    /// List snapshots
    #[command(visible_alias = "ls")]
    List,
    /// Print the commands that mount a snapshot
    #[command(visible_alias = "mount", alias = "m")]
    Mounts(mounts::Args),
    /// Make a snapshot that can be written to
    Prepare(prepare::Args),
    /// Print snapshots as trees
    Tree,
    /// Print what snapshots take up
    Usage(usage::Args),
    /// Make a snapshot that can only be read
    View(view::Args),
}

/// Which snapshotter of which daemon.
struct Target {
    client: Client,
    snapshotter: String,
}

/// Carries out one.
pub async fn run(global: &Global, args: Args) -> Result<()> {
    let client = global.client()?;
    let snapshotter = args.snapshotter.resolve(&client).await?;
    let target = Target { client, snapshotter };
    match args.command {
        Command::Commit(args) => commit::run(&target, args).await,
        Command::Delete(args) => delete::run(&target, args).await,
        Command::Info(args) => info::run(&target, args).await,
        Command::Label(args) => label::run(&target, args).await,
        Command::List => list::run(&target).await,
        Command::Mounts(args) => mounts::run(&target, args).await,
        Command::Prepare(args) => prepare::run(&target, args).await,
        Command::Tree => tree::run(&target).await,
        Command::Usage(args) => usage::run(&target, args).await,
        Command::View(args) => view::run(&target, args).await,
    }
}

impl Target {
    /// All snapshots.
    async fn all(&self) -> Result<Vec<Info>> {
        const WHAT: &str = "cannot list snapshots";
        let request = ListSnapshotsRequest { snapshotter: self.snapshotter.clone(), filters: Vec::new() };
        let mut stream = self.client.snapshots().list(request).await.or_say(WHAT)?;
        let mut all = Vec::new();
        while let Some(page) = stream.message().await.map_err(|s| Error::rpc(WHAT, &s))? {
            all.extend(page.info);
        }
        Ok(all)
    }
}

/// How a kind is written.
fn kind(info: &Info) -> &'static str {
    use protos::api::snapshots::Kind;
    match info.kind() {
        Kind::Active => "Active",
        Kind::View => "View",
        Kind::Committed => "Committed",
        Kind::Unknown => "Unknown",
    }
}

/// Flags that say how mounts are printed.
#[derive(Debug, clap::Args)]
struct PrintFlags {
    /// Print the commands that mount it here
    #[arg(long, short, value_name = "DIRECTORY")]
    target: Option<String>,
    /// Print the mounts as JSON
    #[arg(long)]
    mounts: bool,
}

impl PrintFlags {
    fn print(&self, mounts: &[Mount]) -> Result<()> {
        if let Some(target) = &self.target {
            print_commands(target, mounts)?;
        }
        if self.mounts {
            let all: Vec<_> = mounts
                .iter()
                .map(|m| serde_json::json!({ "Type": m.r#type, "Source": m.source, "Target": m.target, "Options": m.options }))
                .collect();
            output::json(&all)?;
        }
        Ok(())
    }
}

/// Prints a `mount` command for each.
fn print_commands(target: &str, mounts: &[Mount]) -> Result<()> {
    for mount in mounts {
        let options = mount.options.join(",");
        let options = if options.is_empty() { String::new() } else { format!(" -o {options}") };
        output::line(format!("mount -t {} {} {target}{options}", mount.r#type, mount.source))?;
    }
    Ok(())
}

/// A label that keeps a snapshot without anything that refers to it.
fn root_label() -> std::collections::BTreeMap<String, String> {
    let now = base::timestamp::to_rfc3339_nano(std::time::SystemTime::now());
    [(base::labels::gc::ROOT.to_owned(), now)].into()
}
