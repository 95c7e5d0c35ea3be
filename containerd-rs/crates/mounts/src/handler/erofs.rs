//! `erofs`: read-only images in files, mounted without a block device where the kernel can.

use std::path::Path;

use base::Mount;

use super::plain::directory;
use crate::error::{Error, Result};

const VERITY: &str = "X-containerd.dmverity=";

pub(super) fn mount(mut mount: Mount, point: &Path) -> Result<Mount> {
    if let Some(option) = mount.options.iter().find(|o| o.starts_with(VERITY)) {
        // Mounting it without would drop a promise that somebody relies on.
        return Err(Error::unimplemented(format!(
            "layer requires dm-verity ({option}), which this build does not set up"
        )));
    }
    // Whether a loop device is needed is found out by trying.
    mount.options.retain(|o| o != "loop");
    directory(point)?;
    sys::mount::mount(&mount, point)?;
    Ok(mount)
}
