//! Types of mounts that are not simply given to the kernel.

mod erofs;
mod loopback;
mod plain;

use std::path::Path;

use base::Mount;

use crate::error::Result;

/// Which handlers there are.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Handlers {
    /// The `erofs` handler is loaded. The one for `loop` is part of the manager.
    pub(crate) erofs: bool,
}

/// Who makes and removes a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handler {
    /// The kernel, as it is.
    Plain,
    /// A loop device; what is at the mount point is a link to it.
    Loop,
    /// A read-only image in a file, or on a device.
    Erofs,
}

impl Handlers {
    /// Whether the type has a handler of its own.
    pub(crate) fn has(self, fstype: &str) -> bool {
        self.of(fstype) != Handler::Plain
    }

    pub(crate) fn of(self, fstype: &str) -> Handler {
        match fstype {
            "loop" => Handler::Loop,
            "erofs" if self.erofs => Handler::Erofs,
            _ => Handler::Plain,
        }
    }
}

impl Handler {
    /// Mounts at `point`, which is not there yet. Gives the mount as it was made.
    pub(crate) fn mount(self, mount: Mount, point: &Path) -> Result<Mount> {
        match self {
            Handler::Plain => plain::mount(mount, point),
            Handler::Loop => loopback::mount(mount, point),
            Handler::Erofs => erofs::mount(mount, point),
        }
    }

    /// Whether there is a directory at the mount point, not a device.
    pub(crate) fn gives_directory(self) -> bool {
        self != Handler::Loop
    }

    /// Unmounts what is at `point` and removes it. Gone already is fine.
    pub(crate) fn unmount(self, point: &Path) -> Result<()> {
        match self {
            Handler::Loop => loopback::unmount(point),
            Handler::Plain | Handler::Erofs => plain::unmount(point),
        }
    }

    /// Whether what was mounted at `point` is still there.
    pub(crate) fn is_mounted(self, point: &Path) -> bool {
        match self {
            Handler::Loop => loopback::is_mounted(point),
            Handler::Plain | Handler::Erofs => sys::mount::is_mount_point(point).unwrap_or(false),
        }
    }
}
