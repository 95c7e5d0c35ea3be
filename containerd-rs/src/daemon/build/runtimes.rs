//! Shims, tasks, the restart monitor.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use super::registrations::{RUNTIME, SANDBOX_CONTROLLER};
use super::{Context, made};
use crate::config::{parse_duration, schema};
use crate::plugins::{Loaded, NotLoaded};

#[derive(Deserialize)]
struct ShimSettings {
    env: Vec<String>,
    socket_dir: String,
}

/// The longest `socket_dir`: a socket's path has to fit into 106 bytes.
const MAX_SOCKET_DIR: usize = 42;

pub(super) fn shim_manager(context: &mut Context) -> Result<Loaded, NotLoaded> {
    let settings: ShimSettings = context.config.plugin(schema::SHIM_MANAGER)?;
    if !settings.socket_dir.is_empty() {
        let dir = PathBuf::from(&settings.socket_dir);
        ensure_dir(&dir)?;
        context.socket_dir = Some(dir);
    }
    context.shim_env = settings.env;
    Ok(Loaded::default())
}

fn ensure_dir(dir: &std::path::Path) -> anyhow::Result<()> {
    ensure!(dir.is_absolute(), "socket_dir {} must be an absolute path", dir.display());
    let length = dir.as_os_str().len();
    ensure!(length <= MAX_SOCKET_DIR, "socket_dir {} is longer than {MAX_SOCKET_DIR} bytes", dir.display());
    Ok(())
}

#[derive(Deserialize)]
struct Address {
    address: String,
}

pub(super) fn tasks(context: &mut Context) -> Result<Loaded, NotLoaded> {
    let grpc: Address = context.config.plugin(schema::GRPC)?;
    let ttrpc: Address = context.config.plugin(schema::TTRPC)?;
    let config = &context.config;
    let defaults = runtime::Timeouts::default();
    let timeouts = runtime::Timeouts {
        cleanup: config.timeout("shim.cleanup").unwrap_or(defaults.cleanup),
        load: config.timeout("shim.load").unwrap_or(defaults.load),
        shutdown: config.timeout("shim.shutdown").unwrap_or(defaults.shutdown),
        state: config.timeout("task.state").unwrap_or(defaults.state),
        stats: config.timeout("metrics.shimstats").unwrap_or(defaults.stats),
        ..defaults
    };
    let (root, state) = (context.root_of(RUNTIME, "task"), context.state_of(RUNTIME, "task"));
    sys::fs::ensure_dir(&root, 0o711)?;
    sys::fs::ensure_dir(&state, 0o711)?;
    let options = runtime::RuntimeOptions {
        root,
        state,
        address: grpc.address,
        ttrpc_address: ttrpc.address,
        daemon_binary: context.program.clone(),
        version: crate::version::VERSION.to_owned(),
        shim_env: context.shim_env.clone(),
        socket_dir: context.socket_dir.clone(),
        debug: matches!(config.debug.level.as_str(), "debug" | "trace"),
        timeouts,
        mounts: context.mounts.clone(),
        log_sink: None,
    };
    let (metadata, events) = (made(&context.metadata, "metadata")?, made(&context.events, "events")?);
    context.runtime = Some(runtime::Runtime::new(options, metadata, events));
    let exports = [("log-uri-schemes".to_owned(), "fifo,binary,file".to_owned())].into();
    Ok(Loaded { exports, platforms: vec![base::Platform::host()], ..Loaded::default() })
}

/// Sandboxes that are shims.
pub(super) fn shim_sandboxer(context: &mut Context) -> Result<Loaded, NotLoaded> {
    for dir in [context.root_of(SANDBOX_CONTROLLER, "shim"), context.state_of(SANDBOX_CONTROLLER, "shim")] {
        sys::fs::ensure_dir(&dir, 0o700)?;
    }
    let runtime = made(&context.runtime, "the task runtime")?;
    context.shim_sandboxer = Some(runtime::sandbox::ShimSandboxer::new(&runtime));
    Ok(Loaded { platforms: vec![base::Platform::host()], ..Loaded::default() })
}

#[derive(Deserialize)]
struct RestartSettings {
    interval: String,
}

/// Started with the recovery of tasks; here only its settings are read.
pub(super) fn restart(context: &mut Context) -> Result<Loaded, NotLoaded> {
    let settings: RestartSettings = context.config.plugin(schema::RESTART)?;
    let interval =
        parse_duration(&settings.interval).with_context(|| format!("interval {:?}", settings.interval))?;
    context.restart_interval = Some(interval);
    let capabilities = ["no", "always", "on-failure", "unless-stopped"].map(str::to_owned).to_vec();
    Ok(Loaded { capabilities, ..Loaded::default() })
}
