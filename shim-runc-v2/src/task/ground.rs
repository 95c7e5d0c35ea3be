//! What a container stands on before the runtime is run: the bundle's files and its rootfs.
//!
//! All of it touches disks and mounts, so it is done beside the event loop, and undone when nobody wants it any more.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::{Error, Mount};
use protos::shim::options::Options;

use crate::beside::MOUNTS;
use crate::bundle;
use crate::logger::warning;
use crate::runc::SHORT;
use crate::spec::Spec;
use crate::task::create::Reserved;
use crate::task::record;

/// See the module.
pub(crate) struct Ground {
    /// The kernel kills the rest of the container with its init.
    pub(crate) own_pid_namespace: bool,
    /// The rootfs, when it was mounted here.
    mounted: Option<PathBuf>,
}

impl Ground {
    /// Lays it, within `limit`. The name comes back with it, or is given back when nothing is left.
    ///
    /// # Errors
    /// The bundle cannot be written, the rootfs cannot be mounted (or not in time); nothing is left then.
    pub(crate) async fn lay(
        dir: &Path,
        options: &Options,
        mounts: Vec<Mount>,
        limit: Duration,
        name: Reserved,
    ) -> Result<(Ground, Reserved), Error> {
        let (dir, options, cancel) = (dir.to_owned(), options.clone(), name.cancel.clone());
        let work = move || Ok((lay(&dir, &options, &mounts)?, name));
        // Whoever reuses the name mounts on the same place, so the name is given back last.
        let unwanted = |laid: Result<(Ground, Reserved), Error>| {
            if let Ok((Ground { mounted: Some(rootfs), .. }, _name)) = laid {
                unmount(&rootfs);
            }
        };
        MOUNTS.run("mounting the rootfs", limit, Some(&cancel), work, unwanted).await?
    }

    /// Takes it away again, after a create that failed.
    pub(crate) async fn clear(self, name: Reserved) {
        if let Some(rootfs) = self.mounted {
            let work = move || {
                let _name = name;
                unmount(&rootfs);
            };
            if let Err(e) = MOUNTS.run("unmounting the rootfs", SHORT, None, work, drop).await {
                warning!("{e}");
            }
        }
    }
}

/// Takes the rootfs of a bundle away, and whatever is mounted below it.
///
/// # Errors
/// The kernel refuses, or takes longer than a minute.
pub(crate) async fn unmount_rootfs(bundle: &Path) -> Result<(), Error> {
    let rootfs = bundle.join("rootfs");
    let work = move || sys::mount::unmount_recursive(&rootfs, sys::mount::UnmountFlags::empty());
    let done = MOUNTS.run("failed rootfs umount", SHORT, None, work, drop).await?;
    done.map_err(|e| Error::unknown(format!("failed rootfs umount: {}", base::chain(&e))))
}

fn lay(dir: &Path, options: &Options, mounts: &[Mount]) -> Result<Ground, Error> {
    // Unreadable is as good as shared: then everything is killed with the init.
    let own_pid_namespace = Spec::read(dir).is_ok_and(|s| s.has_own_pid_namespace());
    bundle::save_options(dir, options)?;
    record::reserve(dir)?;
    Ok(Ground { own_pid_namespace, mounted: mount(dir, mounts)? })
}

/// Mounts the rootfs of a bundle and tells where; `None` when there is nothing to mount. Blocking.
///
/// # Errors
/// A mount that fails; nothing stays mounted then.
pub(crate) fn mount(bundle: &Path, mounts: &[Mount]) -> Result<Option<PathBuf>, Error> {
    if mounts.is_empty() {
        return Ok(None);
    }
    let rootfs = bundle.join("rootfs");
    if let Err(e) = std::fs::DirBuilder::new().mode(0o711).create(&rootfs)
        && e.kind() != std::io::ErrorKind::AlreadyExists
    {
        return Err(Error::unknown(format!("mkdir {}: {e}", rootfs.display())));
    }
    if let Err(e) = sys::mount::mount_all(mounts, &rootfs) {
        unmount(&rootfs);
        return Err(Error::unknown(format!("failed to mount rootfs component: {}", base::chain(&e))));
    }
    Ok(Some(rootfs))
}

/// Unmounts it, with a warning when that fails. Blocking.
pub(crate) fn unmount(rootfs: &Path) {
    if let Err(e) = sys::mount::unmount_recursive(rootfs, sys::mount::UnmountFlags::empty()) {
        warning!("failed to cleanup rootfs mount: {}", base::chain(&e));
    }
}
