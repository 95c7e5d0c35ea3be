//! `tasks`: what runs.

mod attach;
mod checkpoint;
mod delete;
mod exec;
mod kill;
mod list;
mod metrics;
mod pause;
mod ps;
mod resume;
mod start;

use clap::Subcommand;

use crate::cli::Global;
use crate::error::Result;

/// Verbs of `tasks`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Follow the streams of a running task
    Attach(attach::Args),
    /// Dump the processes of a task with CRIU
    Checkpoint(checkpoint::Args),
    /// Forget tasks that have ended
    #[command(visible_alias = "rm", aliases = ["del", "remove"])]
    Delete(delete::Args),
    /// Run another process in a container
    Exec(exec::Args),
    /// Send a signal
    Kill(kill::Args),
    /// List tasks
    #[command(visible_alias = "ls")]
    List(list::Args),
    /// Print one reading of a task's resources
    #[command(alias = "metric")]
    Metrics(metrics::Args),
    /// Freeze a task
    Pause(pause::Args),
    /// List the processes of a container
    Ps(ps::Args),
    /// Let a frozen task go on
    Resume(resume::Args),
    /// Start a container that was created
    Start(start::Args),
}

/// Carries out one; gives the exit status.
pub async fn run(global: &Global, command: Command) -> Result<u8> {
    match command {
        Command::Attach(args) => attach::run(global, args).await,
        Command::Delete(args) => delete::run(global, args).await,
        Command::Exec(args) => exec::run(global, args).await,
        Command::Start(args) => start::run(global, args).await,
        Command::Checkpoint(args) => checkpoint::run(global, args).await.map(|()| 0),
        Command::Kill(args) => kill::run(global, args).await.map(|()| 0),
        Command::List(args) => list::run(global, args).await.map(|()| 0),
        Command::Metrics(args) => metrics::run(global, args).await.map(|()| 0),
        Command::Pause(args) => pause::run(global, args).await.map(|()| 0),
        Command::Ps(args) => ps::run(global, args).await.map(|()| 0),
        Command::Resume(args) => resume::run(global, args).await.map(|()| 0),
    }
}
