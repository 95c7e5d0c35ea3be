//! Content, snapshotters, metadata, garbage collection, differs.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use serde::Deserialize;
use snapshot::walking::StreamProcessor;

use super::registrations::{CONTENT, METADATA};
use super::{Context, made};
use crate::config::parse_duration;
use crate::plugins::{Loaded, NotLoaded};

pub(super) fn root_export(root: &std::path::Path) -> Loaded {
    let exports = [("root".to_owned(), root.display().to_string())].into();
    Loaded { exports, platforms: vec![base::Platform::host()], ..Loaded::default() }
}

/// The directory of the content store. The store itself is opened with the metadata that it needs.
pub(super) fn content_dir(context: &mut Context) -> Result<Loaded, NotLoaded> {
    let root = context.root_of(CONTENT, "content");
    sys::fs::ensure_dir(&root, 0o700)?;
    Ok(root_export(&root))
}

/// The file of our metadata.
const DATABASE: &str = "meta.redb";
/// The file of containerd's own metadata, in the same directory.
const FOREIGN_DATABASE: &str = "meta.db";

/// A root that another containerd has filled must not be taken for an empty one: what no record names is garbage, and its
/// blobs, snapshots and containers would be removed.
fn refuse_foreign(dir: &std::path::Path) -> anyhow::Result<()> {
    let foreign = dir.join(FOREIGN_DATABASE);
    anyhow::ensure!(
        dir.join(DATABASE).exists() || !foreign.exists(),
        "this root was filled by another containerd ({} is there), whose records cannot be read yet: nothing was touched; \
         use another root and state, or move that file away to have everything below the root collected",
        foreign.display()
    );
    Ok(())
}

#[derive(Deserialize)]
struct MetadataSettings {
    content_sharing_policy: String,
    no_sync: bool,
}

pub(super) fn metadata(context: &mut Context) -> Result<Loaded, NotLoaded> {
    let settings: MetadataSettings = context.config.plugin("io.containerd.metadata.v1.bolt")?;
    let sharing = match settings.content_sharing_policy.as_str() {
        "" | "shared" => store::Sharing::Shared,
        "isolated" => store::Sharing::Isolated,
        other => {
            return Err(
                anyhow::anyhow!("unknown content_sharing_policy {other:?}: use shared or isolated").into()
            );
        }
    };
    let dir = context.root_of(METADATA, "bolt");
    sys::fs::ensure_dir(&dir, 0o700)?;
    refuse_foreign(&dir)?;
    let options = store::MetadataOptions { sharing, no_sync: settings.no_sync, ..Default::default() };
    let metadata = store::Metadata::open(&dir, options)?;
    let content = store::LocalContent::open(&context.root_of(CONTENT, "content"), metadata.clone())?;
    for (name, backend) in &context.snapshotters {
        let snapshots = Arc::new(snapshot::Snapshots::new(name, Arc::clone(backend), &metadata));
        if context.config.proxy_plugins.contains_key(name) {
            tokio::spawn(finish_commits(name.clone(), Arc::clone(&snapshots)));
        } else {
            super::wait(finish_commits(name.clone(), Arc::clone(&snapshots)));
        }
        context.namespaced.insert(name.clone(), snapshots);
    }
    context.content = Some(content);
    context.metadata = Some(metadata);
    let policy = if sharing == store::Sharing::Shared { "shared" } else { "isolated" };
    let exports = [
        ("policy".to_owned(), policy.to_owned()),
        ("path".to_owned(), dir.join(DATABASE).display().to_string()),
    ];
    Ok(Loaded { exports: exports.into(), ..Loaded::default() })
}

/// Commits that an earlier run began are finished or taken back. One that cannot be is reported and tried again at the
/// next start.
async fn finish_commits(name: String, snapshots: Arc<snapshot::Snapshots>) {
    if let Err(error) = snapshots.recover().await {
        tracing::error!(
            snapshotter = name,
            error = base::chain(&error),
            "cannot finish the commits of an earlier run"
        );
    }
}

#[derive(Deserialize)]
struct GcSettings {
    pause_threshold: f64,
    deletion_threshold: u64,
    mutation_threshold: u64,
    schedule_delay: String,
    startup_delay: String,
}

pub(super) fn gc(context: &mut Context) -> Result<Loaded, NotLoaded> {
    let settings: GcSettings = context.config.plugin("io.containerd.gc.v1.scheduler")?;
    let duration = |key: &str, text: &str| {
        parse_duration(text).with_context(|| format!("{key} = {text:?} is not a duration"))
    };
    let options = store::SchedulerOptions {
        pause_threshold: settings.pause_threshold,
        deletion_threshold: settings.deletion_threshold,
        mutation_threshold: settings.mutation_threshold,
        schedule_delay: duration("schedule_delay", &settings.schedule_delay)?,
        startup_delay: duration("startup_delay", &settings.startup_delay)?,
    };
    let (metadata, content) = (made(&context.metadata, "metadata")?, made(&context.content, "content")?);
    let gc = store::Gc::new(metadata, content);
    for (name, snapshots) in &context.namespaced {
        gc.register_snapshotter(name, Arc::clone(snapshots) as Arc<dyn store::SnapshotBackend>);
    }
    if let Some(mounts) = &context.mounts {
        gc.register(Arc::new(mounts.clone()));
    }
    let (events, metrics) = (made(&context.events, "events")?, Arc::clone(&context.metrics));
    let report = move |result: &store::Result<store::GcReport>| match result {
        Ok(report) => {
            metrics.collected(true, report.elapsed);
            services::publish_removed(&events, report);
        }
        Err(error) => {
            metrics.collected(false, std::time::Duration::ZERO);
            tracing::error!(error = base::chain(error), "garbage collection failed");
        }
    };
    context.gc = Some(store::Scheduler::start(gc, options, Arc::new(report)));
    let exports = [
        ("PauseThreshold", format!("{}", settings.pause_threshold)),
        ("DeletionThreshold", settings.deletion_threshold.to_string()),
        ("MutationThreshold", settings.mutation_threshold.to_string()),
        ("ScheduleDelay", settings.schedule_delay),
    ];
    Ok(Loaded { exports: exports.map(|(k, v)| (k.to_owned(), v)).into(), ..Loaded::default() })
}

/// The content store that differs read and write.
pub(super) fn content_of(context: &Context) -> anyhow::Result<Arc<dyn store::ContentStore>> {
    match &context.remote_content {
        Some(remote) => Ok(Arc::clone(remote)),
        None => Ok(Arc::new(made(&context.content, "content")?)),
    }
}

/// Bytes of memory that a worker needs at least: its threads and a decoder's window.
const LEAST_MEMORY: u64 = 256 << 20;

#[derive(Deserialize)]
struct WalkingSettings {
    max_layer_size: u64,
    keep_free: u64,
    worker_memory: u64,
}

pub(super) fn walking(context: &mut Context) -> Result<Loaded, NotLoaded> {
    let content = content_of(context)?;
    let settings: WalkingSettings = context.config.plugin("io.containerd.differ.v1.walking")?;
    let mut options = snapshot::worker::WorkerOptions::new(&context.program, &context.tmp_mounts);
    options.limits.bytes = Some(settings.max_layer_size).filter(|bytes| *bytes > 0);
    options.keep_free = settings.keep_free;
    options.memory = settings.worker_memory.max(LEAST_MEMORY);
    let processors = context.config.stream_processors.iter().map(|(id, p)| StreamProcessor {
        id: id.clone(),
        accepts: p.accepts.clone(),
        returns: p.returns.clone(),
        path: PathBuf::from(&p.path),
        args: p.args.clone(),
        env: p.env.clone(),
    });
    let walking = snapshot::walking::Walking::new(content, options).with_processors(processors.collect());
    let walking = walking.with_mounts(context.mounts.clone());
    context.differs.insert("walking".to_owned(), Arc::new(walking));
    Ok(Loaded { platforms: vec![base::Platform::host()], ..Loaded::default() })
}

#[derive(Deserialize)]
struct DiffSettings {
    default: Vec<String>,
    sync_fs: bool,
}

/// The differs in the order in which they are tried; each that is named must be there.
pub(super) fn diff_order(context: &mut Context) -> Result<Loaded, NotLoaded> {
    let settings: DiffSettings = context.config.plugin("io.containerd.service.v1.diff-service")?;
    context.sync_fs = settings.sync_fs;
    for name in settings.default {
        let differ = context.differs.get(&name).with_context(|| format!("differ not loaded: {name}"))?;
        context.diff_order.push(Arc::clone(differ));
    }
    Ok(Loaded::default())
}
