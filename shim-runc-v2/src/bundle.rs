//! The files that the shim keeps in a bundle, for whoever cleans up after it.

use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base::Error;
use protos::shim::options::Options;
use serde::{Deserialize, Serialize};

use crate::cgroup::{Cgroup, Dirs};

/// Nothing larger is read.
const MAX_FILE: u64 = 64 * 1024;

/// Runtime options as the original writes them to `options.json`.
#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct OptionsFile {
    #[serde(skip_serializing_if = "is_default")]
    no_pivot_root: bool,
    #[serde(skip_serializing_if = "is_default")]
    no_new_keyring: bool,
    #[serde(skip_serializing_if = "is_default")]
    shim_cgroup: String,
    #[serde(skip_serializing_if = "is_default")]
    io_uid: u32,
    #[serde(skip_serializing_if = "is_default")]
    io_gid: u32,
    #[serde(skip_serializing_if = "is_default")]
    binary_name: String,
    #[serde(skip_serializing_if = "is_default")]
    root: String,
    #[serde(skip_serializing_if = "is_default")]
    systemd_cgroup: bool,
    #[serde(skip_serializing_if = "is_default")]
    criu_image_path: String,
    #[serde(skip_serializing_if = "is_default")]
    criu_work_path: String,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Writes `options.json` and `runtime`.
///
/// # Errors
/// The bundle cannot be written.
pub(crate) fn save_options(bundle: &Path, options: &Options) -> Result<(), Error> {
    let file = OptionsFile {
        no_pivot_root: options.no_pivot_root,
        no_new_keyring: options.no_new_keyring,
        shim_cgroup: options.shim_cgroup.clone(),
        io_uid: options.io_uid,
        io_gid: options.io_gid,
        binary_name: options.binary_name.clone(),
        root: options.root.clone(),
        systemd_cgroup: options.systemd_cgroup,
        criu_image_path: options.criu_image_path.clone(),
        criu_work_path: options.criu_work_path.clone(),
    };
    let text =
        serde_json::to_vec(&file).map_err(|e| Error::internal("encode runtime options").with_source(e))?;
    write_private(&bundle.join("options.json"), &text)?;
    write_private(&bundle.join("runtime"), options.binary_name.as_bytes())
}

/// The options that a container was made with, as far as its bundle still tells.
pub(crate) fn read_options(bundle: &Path) -> Options {
    let file: OptionsFile = read_small(&bundle.join("options.json"))
        .and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default();
    let mut options = Options::new();
    options.root = file.root;
    options.systemd_cgroup = file.systemd_cgroup;
    options.binary_name = match read_small(&bundle.join("runtime")) {
        Some(name) if !name.is_empty() => String::from_utf8_lossy(&name).into_owned(),
        _ => file.binary_name,
    };
    options
}

/// What it takes to find a container's processes again without the shim.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Trace {
    /// The init.
    pub(crate) pid: u32,
    /// Start time of the init (clock ticks since boot): tells it from a later process with that pid.
    pub(crate) start_time: u64,
    /// Directories of the cgroup, where the container does not share it with the shim.
    #[serde(default)]
    pub(crate) cgroups: Dirs,
}

const TRACE: &str = "init.trace.json";

/// Writes the trace of a container; without one `delete` knows less, so a failure is no error.
pub(crate) fn save_trace(bundle: &Path, pid: u32, cgroup: Option<&Cgroup>) {
    let trace = Trace {
        pid,
        start_time: sys::process::pid_start_time(pid).unwrap_or(0),
        cgroups: cgroup.map(Cgroup::own_dirs).unwrap_or_default(),
    };
    let saved = serde_json::to_vec(&trace).ok().map(|text| write_private(&bundle.join(TRACE), &text));
    if !matches!(saved, Some(Ok(()))) {
        crate::logger::warning!("cannot write {TRACE} of {}", bundle.display());
    }
}

/// The trace of a container.
pub(crate) fn read_trace(bundle: &Path) -> Option<Trace> {
    serde_json::from_slice(&read_small(&bundle.join(TRACE))?).ok()
}

fn read_small(path: &Path) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    std::fs::File::open(path).ok()?.take(MAX_FILE).read_to_end(&mut text).ok()?;
    Some(text)
}

/// Writes a file that only its owner may read.
///
/// # Errors
/// The path cannot be written.
pub(crate) fn write_private(path: &Path, text: &[u8]) -> Result<(), Error> {
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut f| f.write_all(text))
        .map_err(|e| {
            let text = format!("write {}: {e}", path.display());
            // A bundle that is not there, as the original tells it.
            if e.kind() == std::io::ErrorKind::NotFound {
                Error::not_found(text)
            } else {
                Error::unknown(text)
            }
        })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn options_come_back_and_look_like_the_originals() {
        let dir = tempfile::tempdir().unwrap();
        let mut options = Options::new();
        save_options(dir.path(), &options).unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join("options.json")).unwrap(), "{}");
        options.binary_name = "crun".into();
        options.systemd_cgroup = true;
        options.root = "/r".into();
        save_options(dir.path(), &options).unwrap();
        let text = std::fs::read_to_string(dir.path().join("options.json")).unwrap();
        assert_eq!(text, r#"{"binary_name":"crun","root":"/r","systemd_cgroup":true}"#);
        let back = read_options(dir.path());
        assert_eq!(
            (back.binary_name.as_str(), back.root.as_str(), back.systemd_cgroup),
            ("crun", "/r", true)
        );
        // As a Go shim leaves it, with keys that we do not know.
        std::fs::write(dir.path().join("options.json"), r#"{"root":"/g","task_api_version":3}"#).unwrap();
        assert_eq!(read_options(dir.path()).root, "/g");
        assert_eq!(read_options(Path::new("/nonexistent")).root, "");
    }
}
