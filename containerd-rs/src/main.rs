//! `containerd-rs`: the core daemon. See `ARCHITECTURE.md` for the picture.
//!
//! Reading order: `cli` (what was asked), `config` (with what settings), `plugins` (how parts are loaded), `daemon`
//! (prepare, build, serve, recover, shut down). Tasks spawned: one per listener and connection, the recovery of bundles,
//! the GC scheduler, the restart monitor, and the signal loop, all named where they are spawned.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout)]

mod cli;
mod config;
mod daemon;
mod logging;
mod plugins;
mod version;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // The daemon's own helper process for one layer; what it was given is not for the command line's parser.
    if std::env::args_os().nth(1).is_some_and(|a| a == "unpack-worker") {
        snapshot::worker::main();
    }
    match cli::Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("containerd-rs: {error:#}");
            ExitCode::FAILURE
        }
    }
}
