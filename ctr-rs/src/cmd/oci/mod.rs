//! `oci`: documents of the runtime-spec.

mod spec;

use clap::Subcommand;

use crate::cli::Global;
use crate::error::Result;

/// Verbs of `oci`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print the default spec
    Spec,
}

/// Carries out one.
pub fn run(global: &Global, command: Command) -> Result<()> {
    match command {
        Command::Spec => spec::run(global),
    }
}
