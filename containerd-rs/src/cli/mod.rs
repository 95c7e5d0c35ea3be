//! The command line: containerd's flags and sub-commands.

mod config;
mod oci_hook;
mod publish;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::config::load::Flags;

/// A container runtime daemon: the place of containerd, in Rust.
#[derive(Debug, Parser)]
#[command(name = "containerd-rs", disable_version_flag = true, max_term_width = 100)]
pub(crate) struct Cli {
    /// Path to the configuration file
    #[arg(long, short, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Logging level: trace, debug, info, warn, error, fatal or panic
    #[arg(long, short, global = true, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
    /// Logging format: text or json
    #[arg(long, global = true, value_name = "FORMAT")]
    pub(crate) log_format: Option<String>,
    /// Address of the gRPC socket; the ttrpc socket gets `.ttrpc` appended
    #[arg(long, short, global = true, value_name = "PATH")]
    pub(crate) address: Option<String>,
    /// Directory for what must survive a reboot
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) root: Option<String>,
    /// Directory for what goes with a reboot
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) state: Option<String>,
    /// Print the version
    #[arg(long, short)]
    pub(crate) version: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Information on the configuration
    Config {
        #[command(subcommand)]
        command: config::Command,
    },
    /// Publish an event (a protobuf Any on standard input) to the daemon
    Publish(publish::Args),
    /// Run a program as an OCI hook, with the container's state expanded into its arguments
    OciHook(oci_hook::Args),
    /// Print the manual page
    #[command(hide = true)]
    Man,
}

impl Cli {
    /// The values that replace those of the configuration files.
    pub(crate) fn flags(&self) -> Flags {
        Flags {
            root: self.root.clone(),
            state: self.state.clone(),
            address: self.address.clone(),
            log_level: self.log_level.clone(),
            log_format: self.log_format.clone(),
        }
    }

    /// Run the sub-command, or the daemon when there is none.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        if self.version {
            println!("{}", crate::version::line());
            return Ok(ExitCode::SUCCESS);
        }
        match &self.command {
            None => crate::daemon::run(&self).map(|()| ExitCode::SUCCESS),
            Some(Command::Config { command }) => config::run(&self, *command).map(|()| ExitCode::SUCCESS),
            Some(Command::Publish(args)) => publish::run(&self, args).map(|()| ExitCode::SUCCESS),
            Some(Command::OciHook(args)) => oci_hook::run(args),
            Some(Command::Man) => {
                clap_mangen::Man::new(Self::command()).render(&mut std::io::stdout())?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}
