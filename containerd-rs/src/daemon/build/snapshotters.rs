//! The snapshotters: their settings, and why one may not be here.

use std::path::PathBuf;
use std::sync::Arc;

use base::{ErrorKind, Kinded};
use serde::Deserialize;
use snapshot::Snapshotter;
use snapshot::blockfile::BlockfileOptions;

use super::Context;
use super::registrations::SNAPSHOTTER;
use super::storage::root_export;
use crate::plugins::{Loaded, NotLoaded};

#[derive(Deserialize)]
struct OverlaySettings {
    root_path: String,
    upperdir_label: bool,
    sync_remove: bool,
    slow_chown: bool,
    mount_options: Vec<String>,
}

fn snapshotter_root(context: &Context, id: &str, configured: &str) -> PathBuf {
    if configured.is_empty() { context.root_of(SNAPSHOTTER, id) } else { PathBuf::from(configured) }
}

pub(super) fn overlayfs(context: &mut Context) -> Result<Loaded, NotLoaded> {
    let settings: OverlaySettings = context.config.plugin("io.containerd.snapshotter.v1.overlayfs")?;
    let root = snapshotter_root(context, "overlayfs", &settings.root_path);
    if let Err(unsupported) = snapshot::overlay::supported(&root) {
        return Err(NotLoaded::Skip(unsupported.to_string()));
    }
    let options = snapshot::overlay::OverlayOptions {
        upperdir_label: settings.upperdir_label,
        sync_remove: settings.sync_remove,
        slow_chown: settings.slow_chown,
        mount_options: settings.mount_options,
    };
    let overlay = super::wait(snapshot::overlay::Overlay::open(&root, options))?;
    Ok(register(context, "overlayfs", Arc::new(overlay)))
}

#[derive(Deserialize)]
struct NativeSettings {
    root_path: String,
}

pub(super) fn native(context: &mut Context) -> Result<Loaded, NotLoaded> {
    let settings: NativeSettings = context.config.plugin("io.containerd.snapshotter.v1.native")?;
    let root = snapshotter_root(context, "native", &settings.root_path);
    let native = super::wait(snapshot::native::Native::open(&root))?;
    Ok(register(context, "native", Arc::new(native)))
}

fn register(context: &mut Context, id: &str, snapshotter: Arc<dyn Snapshotter>) -> Loaded {
    let mut loaded = root_export(snapshotter.root());
    loaded.capabilities = snapshotter.capabilities().iter().map(|c| (*c).to_string()).collect();
    context.snapshotters.insert(id.to_owned(), snapshotter);
    loaded
}

/// A snapshotter that this machine has no place for is skipped, with the reason; what fails on the way is an error.
fn skipped(e: snapshot::Error) -> NotLoaded {
    match e.kind() {
        ErrorKind::FailedPrecondition => NotLoaded::Skip(base::chain(&e)),
        _ => NotLoaded::Failed(e.into()),
    }
}

#[derive(Deserialize)]
struct BtrfsSettings {
    root_path: String,
}

pub(super) fn btrfs(context: &mut Context) -> Result<Loaded, NotLoaded> {
    let settings: BtrfsSettings = context.config.plugin("io.containerd.snapshotter.v1.btrfs")?;
    let root = snapshotter_root(context, "btrfs", &settings.root_path);
    let btrfs = super::wait(snapshot::btrfs::open(&root)).map_err(skipped)?;
    Ok(register(context, "btrfs", Arc::new(btrfs)))
}

#[derive(Deserialize)]
struct BlockfileSettings {
    root_path: String,
    scratch_file: String,
    fs_type: String,
    mount_options: Vec<String>,
    recreate_scratch: bool,
}

pub(super) fn blockfile(context: &mut Context) -> Result<Loaded, NotLoaded> {
    let settings: BlockfileSettings = context.config.plugin("io.containerd.snapshotter.v1.blockfile")?;
    let root = snapshotter_root(context, "blockfile", &settings.root_path);
    let options = BlockfileOptions {
        scratch_file: (!settings.scratch_file.is_empty()).then(|| PathBuf::from(settings.scratch_file)),
        recreate_scratch: settings.recreate_scratch,
        fs_type: settings.fs_type,
        mount_options: settings.mount_options,
    };
    let blockfile = super::wait(snapshot::blockfile::open(&root, options)).map_err(skipped)?;
    Ok(register(context, "blockfile", Arc::new(blockfile)))
}
