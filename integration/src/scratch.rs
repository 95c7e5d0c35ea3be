//! A directory for one test, and waiting for a condition.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A temporary directory below `/tmp`, removed when dropped (kept when `KEEP_SCRATCH` is set).
pub struct Scratch {
    dir: Option<tempfile::TempDir>,
    path: PathBuf,
}

impl Scratch {
    /// A new directory whose name starts with `crs-<name>-`. Short on purpose: socket paths are limited to 106 bytes.
    pub fn new(name: &str) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix(&format!("crs-{name}-")).tempdir_in("/tmp")?;
        let path = dir.path().to_path_buf();
        Ok(Self { dir: Some(dir), path })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path below the directory.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::env::var_os("KEEP_SCRATCH").is_some()
            && let Some(dir) = self.dir.take()
        {
            eprintln!("kept {}", dir.keep().display());
        }
    }
}

/// Poll `check` every 10 ms until it gives a value, for at most a minute; then panic with `what`.
pub fn eventually<T>(what: &str, check: impl FnMut() -> Option<T>) -> T {
    eventually_within(Duration::from_secs(60), what, check)
}

/// As [`eventually`], with a bound of your own.
pub fn eventually_within<T>(bound: Duration, what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(start.elapsed() < bound, "waited {bound:?} for: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
