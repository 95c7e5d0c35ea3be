//! Whether layers are mounted through dm-verity.

use std::path::{Path, PathBuf};
use std::str::FromStr;

/// When dm-verity is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DmVerity {
    /// For layers that have its metadata.
    #[default]
    Auto,
    /// For every layer: one without metadata is refused.
    On,
    /// Never.
    Off,
}

impl FromStr for DmVerity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" | "auto" => Ok(DmVerity::Auto),
            "on" => Ok(DmVerity::On),
            "off" => Ok(DmVerity::Off),
            _ => Err(format!("invalid dmverity_mode {text:?}: must be \"auto\", \"on\", or \"off\"")),
        }
    }
}

/// Whether the kernel has it.
pub(super) fn is_supported() -> bool {
    Path::new("/sys/module/dm_verity").exists()
}

/// Where the root hash and the rest is kept for a layer.
pub(super) fn metadata(image: &Path) -> PathBuf {
    image.with_extension("erofs.dmverity")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_and_files() {
        assert_eq!("".parse(), Ok(DmVerity::Auto));
        assert_eq!(["auto", "on", "off"].map(|m| m.parse().ok()), {
            [Some(DmVerity::Auto), Some(DmVerity::On), Some(DmVerity::Off)]
        });
        assert!("yes".parse::<DmVerity>().unwrap_err().starts_with("invalid dmverity_mode \"yes\""));
        assert_eq!(metadata(Path::new("/s/1/layer.erofs")), Path::new("/s/1/layer.erofs.dmverity"));
    }
}
