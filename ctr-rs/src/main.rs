//! `ctr-rs`: a client of containerd's gRPC API for operators and tests.
//!
//! One process, one thread for all calls (plus one per copied stream), one connection. Commands live in `cmd/<noun>/<verb>.rs`;
//! `client` makes calls, `spec` writes runtime specs, `task` follows processes, `io` copies their streams.

#![forbid(unsafe_code)]

mod cli;
mod client;
mod cmd;
mod error;
mod io;
mod spec;
mod table;
mod task;
mod transfer;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;
use crate::error::{Error, Result};

/// Status of a command that failed.
const FAILED: u8 = 1;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let debug = cli.global.debug;
    match run(cli) {
        Ok(status) => ExitCode::from(status),
        Err(e) if e.is_broken_pipe() => ExitCode::from(FAILED),
        Err(e) => {
            io::output::warn_error(&e);
            if debug {
                io::output::warn(format!("{}: {e:?}", base::Kinded::kind(&e)));
            }
            match e {
                // as a shell has it
                Error::Interrupted(number) => {
                    ExitCode::from(128_u8.saturating_add(number.unsigned_abs().try_into().unwrap_or(0)))
                }
                _ => ExitCode::from(FAILED),
            }
        }
    }
}

/// Carries out one command; gives the exit status.
fn run(cli: Cli) -> Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Error::io("cannot start"))?;
    let limit = cli.global.timeout;
    let status = runtime.block_on(async {
        if limit.is_zero() {
            return cmd::run(cli).await;
        }
        let what = || Error::Timeout { what: "the command".into(), limit };
        tokio::time::timeout(limit, cmd::run(cli)).await.unwrap_or_else(|_| Err(what()))
    });
    // a thread may still wait for our standard input
    runtime.shutdown_background();
    status
}
