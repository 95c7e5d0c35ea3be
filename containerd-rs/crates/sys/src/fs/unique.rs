//! Names that nobody else uses.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::{Context, Error, Result};

static COUNTER: AtomicU64 = AtomicU64::new(0);

/// A suffix that differs between calls, processes and boots. Not a secret: whoever uses it creates exclusively.
pub(crate) fn unique_suffix() -> String {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64);
    let n = COUNTER.fetch_add(1, Ordering::Relaxed);
    // Mixed so that neighbouring calls do not share a prefix.
    let mut x = nanos ^ (u64::from(std::process::id()) << 40) ^ n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x ^= x >> 31;
    x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^= x >> 27;
    format!("{x:016x}{n:x}")
}

/// Creates a new directory `<prefix><unique>` (mode 0700) in `parent` and gives its path.
pub fn create_unique_dir(parent: &Path, prefix: &str) -> Result<PathBuf> {
    for _ in 0..100 {
        let path = parent.join(format!("{prefix}{}", unique_suffix()));
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => return Ok(path),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => continue,
            Err(e) => return Err(e).on("create directory", &path),
        }
    }
    Err(Error::Exists(format!("no free name for {prefix}* in {}", parent.display())))
}
