//! Bundles: the directory that a shim runs in, and the work directory that outlives a reboot.
//!
//! ```text
//! <state>/NS/ID   0700 (0710 + gid when container root is mapped)
//!   config.json  rootfs/  work -> <root>/NS/ID  log  shim-binary-path  bootstrap.json|address  [sandbox]  [.intent]
//! ```
//! A bundle appears and disappears as a whole: it is renamed to `.ID` before it is deleted.

mod create;
mod exits;
mod facts;
mod remove;

use std::path::{Path, PathBuf};

use base::Namespace;

pub(crate) use exits::Recorded;
pub(crate) use remove::remove_aside;

/// Where the bundle of one task is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bundle {
    /// The namespace of its task.
    pub(crate) namespace: Namespace,
    /// The id of its task.
    pub(crate) id: String,
    /// `<state>/NS/ID`
    pub(crate) path: PathBuf,
    /// `<root>/NS/ID`
    pub(crate) work: PathBuf,
}

impl Bundle {
    /// The places of a bundle, whether they exist or not.
    pub(crate) fn locate(root: &Path, state: &Path, namespace: &Namespace, id: &str) -> Self {
        Self {
            namespace: namespace.clone(),
            id: id.to_owned(),
            path: state.join(namespace.as_str()).join(id),
            work: root.join(namespace.as_str()).join(id),
        }
    }

    /// A file of the bundle.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}
