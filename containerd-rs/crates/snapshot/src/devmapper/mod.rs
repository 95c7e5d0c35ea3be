//! Snapshots as thin devices of a device-mapper pool, through the `dmsetup` program.
//!
//! The pool is the operator's. `<pool>.db` under the root says which thin device belongs to which snapshot, written before the device
//! is made and removed after it is gone, so that a crash leaves no device that nobody knows. A committed device is not active: it is
//! only there to be snapped.

mod dmsetup;
mod ids;
mod thin;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result, blocking};
use crate::volume::Volumes;
use dmsetup::Dmsetup;
use ids::Devices;
use thin::Pool;

/// Settings, as in the config table of the plugin.
#[derive(Debug, Clone, Default)]
pub struct DevmapperOptions {
    /// Name of the thin pool.
    pub pool_name: String,
    /// Bytes of a device that is made anew.
    pub base_image_size: u64,
    /// Remove devices at cleanup, not before the answer to a remove.
    pub async_remove: bool,
    /// Give the blocks of a removed device back to what is below the pool.
    pub discard_blocks: bool,
    /// Type of the file system; empty: ext4.
    pub fs_type: String,
    /// Options for making it, for ext2 and ext4.
    pub fs_options: String,
}

/// Opens the devmapper snapshotter at `root`, making it when it is new.
///
/// # Errors
/// Settings that make no sense, no `dmsetup`, or no such pool.
pub async fn open(root: &Path, options: DevmapperOptions) -> Result<Volumes> {
    open_with(root, options, Dmsetup { program: "dmsetup".into(), directory: PathBuf::from("/dev/mapper") })
        .await
}

async fn open_with(root: &Path, mut options: DevmapperOptions, dmsetup: Dmsetup) -> Result<Volumes> {
    if options.fs_type.is_empty() {
        options.fs_type = "ext4".into();
    }
    if options.base_image_size == 0 {
        return Err(Error::invalid("base_image_size is required"));
    }
    if !matches!(options.fs_type.as_str(), "ext2" | "ext4" | "xfs") {
        return Err(Error::invalid(format!("unsupported Filesystem Type: {:?}", options.fs_type)));
    }
    let async_remove = options.async_remove;
    let pool = {
        let root = root.to_owned();
        blocking(move || {
            sys::fs::ensure_dir(&root, 0o750)?;
            dmsetup.version()?;
            let pool = &options.pool_name;
            if !dmsetup.is_loaded(pool)? {
                return Err(Error::precondition(format!("failed to query pool {pool:?}: it is not there")));
            }
            let devices = Devices::open(&root.join(format!("{pool}.db")))?;
            Ok(Pool { dmsetup, devices, options })
        })
        .await?
    };
    let pool = Arc::new(pool);
    {
        let pool = Arc::clone(&pool);
        blocking(move || pool.activate_again()).await?;
    }
    Ok(Volumes::open(root, pool).await?.with_deferred_removal(async_remove))
}

#[cfg(test)]
mod tests;
