//! `config default | dump | migrate`

use std::path::Path;

use clap::Subcommand;

use super::Cli;
use crate::config::load::load;
use crate::config::{DEFAULT_PATH, print, schema};

#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum Command {
    /// Print the default configuration
    Default,
    /// Print what the daemon would run with: defaults, files and flags merged
    Dump,
    /// Print the configuration in the newest version
    Migrate,
}

pub(super) fn run(cli: &Cli, command: Command) -> anyhow::Result<()> {
    let table = match command {
        Command::Default => schema::defaults(),
        Command::Dump | Command::Migrate => {
            let path = cli.config.as_deref().unwrap_or(Path::new(DEFAULT_PATH));
            let loaded = load(path, cli.config.is_some(), &cli.flags())?;
            for problem in &loaded.problems {
                eprintln!("warning: {problem}");
            }
            loaded.table
        }
    };
    print!("{}", print::to_text(&table));
    Ok(())
}
