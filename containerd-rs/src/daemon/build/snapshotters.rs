//! The snapshotters: their settings, and why one may not be here.

use std::path::PathBuf;
use std::sync::Arc;

use base::{ErrorKind, Kinded};
use serde::Deserialize;
use snapshot::Snapshotter;
use snapshot::blockfile::BlockfileOptions;
use snapshot::devmapper::DevmapperOptions;
use snapshot::erofs::differ::{self, ErofsDiffer, ErofsDifferOptions};
use snapshot::erofs::{Erofs, ErofsOptions};

use super::Context;
use super::registrations::SNAPSHOTTER;
use super::storage::{content_of, root_export};
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

#[derive(Deserialize)]
struct ErofsSettings {
    root_path: String,
    ovl_mount_options: Vec<String>,
    enable_fsverity: bool,
    set_immutable: bool,
    default_size: String,
    dmverity_mode: String,
}

pub(super) fn erofs(context: &mut Context) -> Result<Loaded, NotLoaded> {
    let settings: ErofsSettings = context.config.plugin("io.containerd.snapshotter.v1.erofs")?;
    let root = snapshotter_root(context, "erofs", &settings.root_path);
    let size = &settings.default_size;
    let bad = || anyhow::anyhow!("failed to parse default_size '{size}': invalid size: '{size}'");
    let options = ErofsOptions {
        ovl_mount_options: settings.ovl_mount_options,
        enable_fsverity: settings.enable_fsverity,
        set_immutable: settings.set_immutable,
        default_size: if size.is_empty() { 0 } else { mounts::parse_size(size).ok_or_else(bad)? },
        dmverity_mode: settings.dmverity_mode.parse().map_err(anyhow::Error::msg)?,
    };
    let erofs = super::wait(Erofs::open(&root, options)).map_err(skipped)?;
    Ok(register(context, "erofs", Arc::new(erofs)))
}

#[derive(Deserialize)]
struct ErofsDifferSettings {
    mkfs_options: Vec<String>,
    enable_tar_index: bool,
    enable_dmverity: bool,
}

pub(super) fn erofs_differ(context: &mut Context) -> Result<Loaded, NotLoaded> {
    let settings: ErofsDifferSettings = context.config.plugin("io.containerd.differ.v1.erofs")?;
    if settings.enable_dmverity {
        return Err(NotLoaded::Skip("dm-verity is not part of this build".to_owned()));
    }
    let options = ErofsDifferOptions {
        mkfs_options: settings.mkfs_options,
        enable_tar_index: settings.enable_tar_index,
    };
    let content = content_of(context)?;
    tokio::task::block_in_place(differ::supported).map_err(skipped)?;
    context.differs.insert("erofs".to_owned(), Arc::new(ErofsDiffer::new(content, options)));
    let host = base::Platform::host();
    let native = base::Platform { os_features: vec!["erofs".to_owned()], ..host.clone() };
    Ok(Loaded { platforms: vec![host, native], ..Loaded::default() })
}

#[derive(Deserialize)]
struct DevmapperSettings {
    root_path: String,
    pool_name: String,
    base_image_size: String,
    async_remove: bool,
    discard_blocks: bool,
    fs_type: String,
    fs_options: String,
}

pub(super) fn devmapper(context: &mut Context) -> Result<Loaded, NotLoaded> {
    let settings: DevmapperSettings = context.config.plugin("io.containerd.snapshotter.v1.devmapper")?;
    if settings.pool_name.is_empty() {
        return Err(NotLoaded::Skip("devmapper not configured".to_owned()));
    }
    let root = snapshotter_root(context, "devmapper", &settings.root_path);
    let size = &settings.base_image_size;
    let bad = || anyhow::anyhow!("failed to parse base image size: '{size}': invalid size: '{size}'");
    let options = DevmapperOptions {
        pool_name: settings.pool_name,
        base_image_size: mounts::parse_size(size).ok_or_else(bad)?,
        async_remove: settings.async_remove,
        discard_blocks: settings.discard_blocks,
        fs_type: settings.fs_type,
        fs_options: settings.fs_options,
    };
    // It is configured: what is missing is a mistake, not a machine without a place for it.
    let devmapper = super::wait(snapshot::devmapper::open(&root, options))?;
    Ok(register(context, "devmapper", Arc::new(devmapper)))
}

#[derive(Deserialize)]
struct ZfsSettings {
    root_path: String,
}

pub(super) fn zfs(context: &mut Context) -> Result<Loaded, NotLoaded> {
    let settings: ZfsSettings = context.config.plugin("io.containerd.snapshotter.v1.zfs")?;
    let root = snapshotter_root(context, "zfs", &settings.root_path);
    let zfs = super::wait(snapshot::zfs::open(&root)).map_err(skipped)?;
    Ok(register(context, "zfs", Arc::new(zfs)))
}
