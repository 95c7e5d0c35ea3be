//! The command line: flags before the noun, then noun and verb.

use std::time::Duration;

use clap::{Args, Parser};

use crate::client::Client;
use crate::cmd::Command;
use crate::error::Result;

/// Talk to containerd.
#[derive(Debug, Parser)]
#[command(
    name = "ctr-rs",
    version,
    arg_required_else_help = true,
    disable_version_flag = true,
    max_term_width = 100
)]
pub struct Cli {
    /// Flags of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Say more about what goes wrong
    #[arg(long)]
    pub debug: bool,
    /// Socket of the daemon
    #[arg(long, short, env = "CONTAINERD_ADDRESS", default_value = base::defaults::ADDRESS)]
    pub address: String,
    /// Give the whole command up after this long (10s, 2m); 0: never
    #[arg(long, value_parser = duration, default_value = "0")]
    pub timeout: Duration,
    /// Try to connect for this long (10s, 500ms); 0: once
    #[arg(long, value_parser = duration, default_value = "0")]
    pub connect_timeout: Duration,
    /// Namespace that the command works in
    #[arg(long, short, env = "CONTAINERD_NAMESPACE", default_value = base::defaults::NAMESPACE)]
    pub namespace: String,
    /// Print the version
    #[arg(long, short, action = clap::ArgAction::Version)]
    pub version: Option<bool>,
}

impl Global {
    /// A client; it connects when it is used.
    pub fn client(&self) -> Result<Client> {
        Client::new(&self.address, &self.namespace, self.connect_timeout)
    }
}

/// Reads a length of time as Go writes it: `1h2m3.5s`, `100ms`, `0`.
pub fn duration(text: &str) -> std::result::Result<Duration, String> {
    const UNITS: [(&str, f64); 7] =
        [("ms", 1e-3), ("us", 1e-6), ("µs", 1e-6), ("ns", 1e-9), ("h", 3600.0), ("m", 60.0), ("s", 1.0)];
    let bad = || format!("{text:?} is not a length of time like 10s, 500ms or 1h30m");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
        let number: f64 = rest[..end].parse().map_err(|_| bad())?;
        rest = &rest[end..];
        let (unit, seconds) = UNITS.iter().find(|(unit, _)| rest.starts_with(unit)).ok_or_else(bad)?;
        total += number * seconds;
        rest = &rest[unit.len()..];
    }
    if text.is_empty() { Err(bad()) } else { Duration::try_from_secs_f64(total).map_err(|_| bad()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_tree_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn lengths_of_time() {
        for (text, millis) in
            [("0", 0), ("10s", 10_000), ("1m30s", 90_000), ("1.5s", 1500), ("250ms", 250), ("1h", 3_600_000)]
        {
            assert_eq!(duration(text).unwrap(), Duration::from_millis(millis), "{text}");
        }
        for text in ["", "10", "s", "1x", "1..2s", "99999999999999999999h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
