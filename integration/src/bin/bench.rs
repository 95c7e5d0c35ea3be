//! The side-by-side benchmark: ours and Debian's containerd, interleaved in one run, same runc, same images, same client
//! where the client is not the subject. Prints medians as a Markdown table with the ratio to the peer.
//!
//! usage: bench [--rounds N] [--pull-mb N] [--only NAME]
#![allow(clippy::print_stdout)]
#![forbid(unsafe_code)]

#[path = "bench/measure.rs"]
mod measure;
#[path = "bench/report.rs"]
mod report;
#[path = "bench/rows.rs"]
mod rows;

use anyhow::Context;
use integration::{Daemon, Image, Kind, Registry, Scratch};

/// What is measured on: two daemons that run beside each other, and a registry with the images.
pub struct Lab {
    pub scratch: Scratch,
    pub ours: Daemon,
    pub peer: Daemon,
    pub small: String,
    pub large: String,
    pub large_bytes: usize,
    pub rounds: usize,
    _registry: Registry,
}

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str| args.iter().position(|a| a == name).and_then(|i| args.get(i + 1)).cloned();
    let number = |name: &str, default: usize| option(name).and_then(|v| v.parse().ok()).unwrap_or(default);
    let only = option("--only");
    let lab = Lab::set_up(number("--rounds", 11), number("--pull-mb", 320))?;
    let mut table = report::Table::default();
    for (name, row) in rows::ALL {
        if only.as_deref().is_none_or(|o| o == *name) {
            eprintln!("measuring: {name}");
            row(&lab, &mut table).with_context(|| format!("measure {name}"))?;
        }
    }
    println!("{}", table.markdown());
    Ok(())
}

impl Lab {
    fn set_up(rounds: usize, pull_mb: usize) -> anyhow::Result<Self> {
        let scratch = Scratch::new("bench")?;
        let registry = Registry::start(scratch.path())?;
        let small = registry.push(&Image::busybox()?, "bench/busybox", "1")?;
        // Half of each file does not compress: a layer of 2n MB is about n MB on the wire.
        let image = Image::large(8, 40, pull_mb * 2 * (1 << 20) / (8 * 40))?;
        let large_bytes = image.size();
        let large = registry.push(&image, "bench/large", "1")?;
        drop(image);
        let mut ours = Daemon::new(Kind::Ours, scratch.join("o"));
        let mut peer = Daemon::new(Kind::Peer, scratch.join("p"));
        for daemon in [&mut ours, &mut peer] {
            daemon.start()?;
            daemon.ctr(&["images", "pull", "--plain-http", &small])?.ok()?;
        }
        Ok(Self { scratch, ours, peer, small, large, large_bytes, rounds, _registry: registry })
    }
}
