//! `containerd-shim-runc-v2`: owns the processes of its containers and outlives the daemon.
//!
//! A daemon runs `start` and `delete` and waits for them; `start` runs this program once more, without a
//! verb, as the process that stays (`serve`). That one has a single thread (and others only while the kernel
//! may hold them up, `beside`), answers the Task service over
//! ttrpc (`rpc`), drives the OCI runtime as a program (`runc`), moves stdio (`io`), collects every child
//! in one place (`reaper`), may be a pod itself (`sandbox`, `pause`), writes each exit down before it tells anyone (`task::exit`), and tells the
//! daemon in order, however long that is away (`events`).
//!
//! It must never: wait for a peer that may not come, hold a lock across a wait, or trust a pid that it
//! has collected.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod beside;
mod bootstrap;
mod bundle;
mod cgroup;
mod events;
mod flags;
mod io;
mod logger;
mod pause;
mod reaper;
mod rpc;
mod runc;
mod sandbox;
mod serve;
mod socket;
mod spec;
mod systemd;
mod task;
mod verb;
mod words;

use std::io::Write;
use std::process::ExitCode;

use base::Error;
use flags::Flags;

/// Name in messages, as the original's.
const NAME: &str = "io.containerd.runc.v2";

fn main() -> ExitCode {
    let mut words = std::env::args_os().map(|w| w.to_string_lossy().into_owned());
    let program = words.next().unwrap_or_default();
    let flags = match flags::parse(words) {
        Ok(flags) if flags.help => return say(&flags::usage(&program), 0),
        Ok(flags) => flags,
        // As Go's flag package ends.
        Err(e) => return say(&format!("{e}\n{}", flags::usage(&program)), 2),
    };
    match run(&flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => say(&format!("{NAME}: {}", words::as_go(&base::error::wire_text(&e, &e))), 1),
    }
}

/// Writes to standard error, and ends so.
fn say(text: &str, code: u8) -> ExitCode {
    let _ = std::io::stderr().write_all(text.as_bytes());
    ExitCode::from(code)
}

fn run(flags: &Flags) -> Result<(), Error> {
    if flags.version {
        return print(concat!(
            "containerd-shim-runc-v2:\n  Version:  ",
            env!("CARGO_PKG_VERSION"),
            "\n  Revision: \n  Language: Rust\n\n"
        ));
    }
    if flags.info {
        return verb::info::main();
    }
    if flags.namespace.is_empty() {
        return Err(Error::unknown("shim namespace cannot be empty"));
    }
    match flags.verb.as_str() {
        "start" => verb::start::main(flags),
        pause::SETUP => pause::setup::main(flags),
        pause::PAUSE => pause::hold::main(),
        "delete" => verb::delete::main(flags),
        _ => serve::main(flags),
    }
}

fn print(text: &str) -> Result<(), Error> {
    std::io::stdout().write_all(text.as_bytes()).map_err(|e| Error::unknown("print").with_source(e))
}
