//! From settings to a serving daemon, and back down again, in containerd's order:
//!
//! ```text
//! signals -> prepare (checks, directories, temp mounts, oom score, cgroup)
//!         -> build   (plugin graph -> parts)
//!         -> serve   (ttrpc, gRPC, debug, metrics listeners)      sockets answer from here on
//!         -> recover (bundles, each on its own, beside the requests; restart monitor), READY=1
//!         -> wait for a signal -> STOPPING=1 -> shut down; containers are left alone
//! ```

mod build;
mod count;
mod debug;
mod listen;
mod prepare;
mod recover;
mod serve;
mod shutdown;
mod signals;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::cli::Cli;
use crate::config::load::{Loaded, load};
use crate::config::{DEFAULT_PATH, VERSION};
use crate::logging;

/// Threads that answer requests. The work that blocks (layers, fsync) runs elsewhere.
const WORKERS: usize = 4;

/// Run the daemon until it is told to stop.
pub(crate) fn run(cli: &Cli) -> anyhow::Result<()> {
    let started = Instant::now();
    let path = cli.config.as_deref().unwrap_or(Path::new(DEFAULT_PATH));
    let loaded = load(path, cli.config.is_some(), &cli.flags())?;
    logging::init(&loaded.config.debug.level, &loaded.config.debug.format)?;
    report(&loaded);
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .max_blocking_threads(64)
        .thread_keep_alive(Duration::from_secs(10))
        .thread_name("containerd-rs")
        .enable_all()
        .build()
        .context("start the async runtime")?;
    let result = runtime.block_on(live(loaded, started));
    // Blocking work that is still running (an unlink, a sync) must not hold up the end.
    runtime.shutdown_timeout(Duration::from_secs(2));
    result
}

fn report(loaded: &Loaded) {
    for problem in &loaded.problems {
        tracing::warn!("{problem}");
    }
    for (name, text) in loaded.config.bad_timeouts() {
        tracing::warn!("timeout {name} = {text:?} is not a duration, its default is used");
    }
    for (file, version) in &loaded.files {
        if *version < VERSION {
            tracing::warn!(
                file = %file.display(),
                "configuration migrated from version {version}, use `containerd-rs config migrate` to avoid migration"
            );
        }
    }
}

async fn live(loaded: Loaded, started: Instant) -> anyhow::Result<()> {
    let mut signals = signals::Signals::install().context("take over signals")?;
    let config = loaded.config;
    tracing::info!(
        version = crate::version::VERSION,
        revision = crate::version::REVISION,
        "starting containerd"
    );
    let prepared = prepare::prepare(&config)?;
    let dump_dir = if config.temp.is_empty() { std::env::temp_dir() } else { config.temp.clone().into() };
    let built = build::build(&config, &prepared)?;
    // Which tasks there may be is known before the first request; what state they are in is found out beside it.
    let found = recover::find(&built).await?;
    let serving = serve::serve(&config, &built)?;
    let recovering = recover::recover(&built, found);
    tracing::info!("containerd successfully booted in {:.6}s", started.elapsed().as_secs_f64());
    notify(&[sd_notify::NotifyState::Ready]);
    let signal = signals.stop_requested(&dump_dir).await;
    tracing::info!(signal, "stopping");
    notify(&[sd_notify::NotifyState::Stopping]);
    shutdown::shutdown(serving, recovering, built).await;
    Ok(())
}

/// Tell systemd, when it is there to be told.
fn notify(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(error = base::chain(&error), "cannot notify the service manager");
    }
}
