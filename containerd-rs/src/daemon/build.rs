//! The plugin graph of this daemon: every part with what it needs, loaded in order, and handed to the services.
//!
//! A plugin that is not built is absent; one that cannot run on this machine is skipped with the reason.

mod base_parts;
mod images;
mod mounting;
mod proxy;
mod registrations;
mod runtimes;
mod snapshotters;
mod storage;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use services::Parts;
use services::plugins::{PluginTable, Status};

use super::prepare::Prepared;
use crate::config::Config;
use crate::plugins;

/// A daemon that can serve.
pub(super) struct Built {
    pub(super) parts: Arc<Parts>,
    pub(super) metrics: Arc<metrics::Metrics>,
    /// None when that controller is disabled.
    pub(super) shim_sandboxer: Option<runtime::sandbox::ShimSandboxer>,
    /// Seconds between two looks of the restart monitor; none when it is disabled.
    pub(super) restart_interval: Option<std::time::Duration>,
}

/// What plugins read, and where each puts what it made for those who need it.
pub(super) struct Context {
    config: Config,
    root: PathBuf,
    state: PathBuf,
    tmp_mounts: PathBuf,
    program: PathBuf,
    metrics: Arc<metrics::Metrics>,
    events: Option<events::Exchange>,
    metadata: Option<store::Metadata>,
    content: Option<store::LocalContent>,
    remote_content: Option<Arc<dyn store::ContentStore>>,
    snapshotters: BTreeMap<String, Arc<dyn snapshot::Snapshotter>>,
    namespaced: BTreeMap<String, Arc<snapshot::Snapshots>>,
    erofs_mounts: bool,
    mounts: Option<mounts::Manager>,
    gc: Option<store::Scheduler>,
    differs: BTreeMap<String, Arc<dyn snapshot::Differ>>,
    diff_order: Vec<Arc<dyn snapshot::Differ>>,
    sync_fs: bool,
    shim_env: Vec<String>,
    socket_dir: Option<PathBuf>,
    runtime: Option<runtime::Runtime>,
    shim_sandboxer: Option<runtime::sandbox::ShimSandboxer>,
    transfer: Option<services::TransferSettings>,
    verifiers: Option<image::verify::Verifiers>,
    streams: Option<Arc<services::streams::Streams>>,
    restart_interval: Option<std::time::Duration>,
    uuid: Option<String>,
}

impl Context {
    /// The directory of a plugin for what must survive a reboot.
    fn root_of(&self, kind: &str, id: &str) -> PathBuf {
        self.root.join(format!("{kind}.{id}"))
    }

    /// The directory of a plugin for what goes with a reboot.
    fn state_of(&self, kind: &str, id: &str) -> PathBuf {
        self.state.join(format!("{kind}.{id}"))
    }
}

/// A part that another plugin was to have made.
fn made<T: Clone>(part: &Option<T>, what: &str) -> anyhow::Result<T> {
    part.clone().with_context(|| format!("{what} is not loaded"))
}

/// Wait for what a plugin must have before it is there. Start-up has the thread for itself.
fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(work))
}

/// Load every plugin. Fails when a required one, or one without which nothing can be served, is not there.
pub(super) fn build(config: &Config, prepared: &Prepared) -> anyhow::Result<Built> {
    let metrics = Arc::new(metrics::Metrics::new(crate::version::VERSION, crate::version::REVISION));
    let mut context = Context {
        config: config.clone(),
        root: prepared.root.clone(),
        state: prepared.state.clone(),
        tmp_mounts: prepared.tmp_mounts.clone(),
        program: std::env::current_exe().context("find this program")?,
        metrics: Arc::clone(&metrics),
        events: None,
        metadata: None,
        content: None,
        remote_content: None,
        snapshotters: BTreeMap::new(),
        namespaced: BTreeMap::new(),
        erofs_mounts: false,
        mounts: None,
        gc: None,
        differs: BTreeMap::new(),
        diff_order: Vec::new(),
        sync_fs: false,
        shim_env: Vec::new(),
        socket_dir: None,
        runtime: None,
        shim_sandboxer: None,
        transfer: None,
        verifiers: None,
        streams: None,
        restart_interval: None,
        uuid: None,
    };
    let registrations = registrations::all(config);
    let records =
        plugins::load(registrations, &config.disabled_plugins, &config.required_plugins, &mut context)?;
    let first_error = records.iter().find_map(|r| match &r.status {
        Status::Error(message) => Some(format!("{}: {message}", r.uri())),
        _ => None,
    });
    let table = Arc::new(PluginTable::new(records));
    let parts = assemble(context, table, metrics);
    match (parts, first_error) {
        (Ok(built), _) => Ok(built),
        (Err(missing), Some(cause)) => Err(missing.context(cause)),
        (Err(missing), None) => Err(missing),
    }
}

fn assemble(
    context: Context,
    plugins: Arc<PluginTable>,
    metrics: Arc<metrics::Metrics>,
) -> anyhow::Result<Built> {
    let content: Arc<dyn store::ContentStore> = match &context.remote_content {
        Some(remote) => Arc::clone(remote),
        None => Arc::new(made(&context.content, "the content store")?),
    };
    let mut sandboxers: BTreeMap<String, Arc<dyn runtime::sandbox::Sandboxer>> = BTreeMap::new();
    if let Some(sandboxer) = &context.shim_sandboxer {
        sandboxers.insert("shim".to_owned(), Arc::new(sandboxer.clone()));
    }
    let parts = Parts {
        version: crate::version::VERSION.to_owned(),
        revision: crate::version::REVISION.to_owned(),
        uuid: made(&context.uuid, "the introspection service")?,
        plugins,
        metadata: made(&context.metadata, "the metadata store")?,
        content,
        gc: made(&context.gc, "the garbage collector")?,
        events: made(&context.events, "the event exchange")?,
        snapshotters: context.namespaced,
        mounts: context.mounts,
        differs: context.diff_order,
        sync_fs: context.sync_fs,
        runtime: made(&context.runtime, "the task runtime")?,
        sandboxers,
        transfer: made(&context.transfer, "the transfer service")?,
        metrics: Arc::clone(&metrics),
        streams: made(&context.streams, "the streaming manager")?,
    };
    Ok(Built {
        parts: Arc::new(parts),
        metrics,
        shim_sandboxer: context.shim_sandboxer,
        restart_interval: context.restart_interval,
    })
}
