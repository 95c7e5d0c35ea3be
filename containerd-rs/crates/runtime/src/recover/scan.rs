//! Looks at the directories once, before anything is served.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::Namespace;

use crate::entry::{Entry, Phase};
use crate::error::Error;
use crate::runtime::Runtime;

/// Holds the boot id under which the bundles beside it were made.
const BOOT_ID: &str = ".boot-id";

/// What is there.
pub(super) struct Found {
    /// Bundles, each already holding its place in the table.
    pub(super) bundles: Vec<Arc<Entry>>,
    /// Work directories without a bundle; their ids are held until they are gone.
    pub(super) orphans: Vec<Arc<Entry>>,
    /// What a removal that was cut short has left.
    pub(super) hidden: Vec<PathBuf>,
    /// The machine was started anew since the bundles were made: no shim can be alive.
    pub(super) rebooted: bool,
}

/// Blocking.
pub(super) fn scan(runtime: &Runtime) -> Result<Found, Error> {
    let options = &runtime.shared.options;
    for dir in [&options.root, &options.state] {
        sys::fs::ensure_dir(dir, 0o711).map_err(Error::sys("make directory", dir))?;
    }
    let mut found =
        Found { bundles: vec![], orphans: vec![], hidden: vec![], rebooted: rebooted(&options.state) };
    for (namespace, id) in children(&options.state, &mut found.hidden)? {
        let bundle = runtime.bundle(&namespace, &id);
        if let Ok(entry) = runtime.shared.table.reserve(bundle, Phase::Recovering) {
            // Before any shim can send it once more.
            if let Some(told) = entry.bundle.told() {
                entry.admit_exit(told);
            }
            for (exec_id, pid) in entry.bundle.execs_told() {
                entry.admit_exec_exit(&exec_id, pid);
            }
            if entry.bundle.oom_told() {
                entry.admit_oom();
            }
            found.bundles.push(entry);
        }
    }
    for (namespace, id) in children(&options.root, &mut found.hidden)? {
        let bundle = runtime.bundle(&namespace, &id);
        if let Ok(entry) = runtime.shared.table.reserve(bundle, Phase::Closing) {
            found.orphans.push(entry);
        }
    }
    Ok(found)
}

/// `DIR/NS/ID` for every directory of that shape; hidden ones at the lower level are set apart.
pub(crate) fn children(dir: &Path, hidden: &mut Vec<PathBuf>) -> Result<Vec<(Namespace, String)>, Error> {
    let mut all = Vec::new();
    for (name, path) in directories(dir)? {
        if name.starts_with('.') {
            continue;
        }
        let Ok(namespace) = Namespace::new(&name) else {
            tracing::warn!(path = %path.display(), "not a namespace, left alone");
            continue;
        };
        for (id, path) in directories(&path)? {
            if id.starts_with('.') {
                hidden.push(path);
            } else {
                all.push((namespace.clone(), id));
            }
        }
    }
    Ok(all)
}

fn directories(dir: &Path) -> Result<Vec<(String, PathBuf)>, Error> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(e) => return Err(Error::io("read", dir)(e)),
    };
    let directory = |entry: fs::DirEntry| {
        let is_dir = entry.file_type().is_ok_and(|t| t.is_dir());
        let name = entry.file_name().into_string().ok()?;
        is_dir.then(|| (name, entry.path()))
    };
    Ok(entries.flatten().filter_map(directory).collect())
}

/// Whether the boot id beside the bundles is another than the present one; writes the present one.
pub(crate) fn rebooted(state: &Path) -> bool {
    let Ok(now) = sys::process::boot_id() else { return false };
    let path = state.join(BOOT_ID);
    let before = fs::read_to_string(&path).ok();
    if before.as_deref() == Some(&now) {
        return false;
    }
    if let Err(error) = fs::write(&path, &now) {
        tracing::warn!(path = %path.display(), %error, "boot id cannot be written");
    }
    before.is_some()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_changed_boot_id_means_that_everything_is_dead() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!rebooted(dir.path()), "bundles of a daemon that wrote none are asked");
        assert!(!rebooted(dir.path()));
        fs::write(dir.path().join(BOOT_ID), "another").unwrap();
        assert!(rebooted(dir.path()));
        assert!(!rebooted(dir.path()));
    }

    #[test]
    fn only_directories_of_valid_namespaces_count() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a/c1", "a/.c2", "b b/c3", ".x/c4"] {
            fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        fs::write(dir.path().join("a/file"), "").unwrap();
        let mut hidden = vec![];
        let found = children(dir.path(), &mut hidden).unwrap();
        assert_eq!(found, [(Namespace::new("a").unwrap(), "c1".to_owned())]);
        assert_eq!(hidden, [dir.path().join("a/.c2")]);
    }
}
