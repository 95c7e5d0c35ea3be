//! `shim-ctl`: talks to any containerd shim without a daemon. For operators (what does this shim think?) and for those
//! who write or compare shims. See `docs/operating.md`.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout)]

#[path = "shim-ctl/args.rs"]
mod args;
#[path = "shim-ctl/calls.rs"]
mod calls;
#[path = "shim-ctl/show.rs"]
mod show;
#[path = "shim-ctl/verbs.rs"]
mod verbs;

use std::process::ExitCode;

use args::{Cli, Command};
use clap::Parser;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Verb(verb) => verbs::run(verb).await,
        Command::Call(call) => calls::run(call).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("shim-ctl: {e:#}");
            ExitCode::FAILURE
        }
    }
}
