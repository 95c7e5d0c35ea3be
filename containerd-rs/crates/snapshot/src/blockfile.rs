//! Snapshots as image files, each with a file system in it, mounted through loop devices.
//!
//! `scratch` is an empty file system; `snapshots/<number>` is a copy of it, or of the parent's file, sharing its blocks where the file
//! system below can. A view with a parent has no file: it shows the parent's.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::{Labels, Mount};

use crate::backend::{Chain, taken_by};
use crate::error::{Error, Result, blocking};
use crate::info::{Kind, Usage};
use crate::volume::{Found, Storage, Volumes};

/// Settings, as in the config table of the plugin.
#[derive(Debug, Clone, Default)]
pub struct BlockfileOptions {
    /// The empty file system that `scratch` is copied from; none: `scratch` must be there.
    pub scratch_file: Option<PathBuf>,
    /// Copy it at every start, not only when `scratch` is missing.
    pub recreate_scratch: bool,
    /// Type of the file system; empty: ext4.
    pub fs_type: String,
    /// Options for every mount; `loop` is always among them.
    pub mount_options: Vec<String>,
}

/// Opens the blockfile snapshotter at `root`, making it when it is new.
///
/// # Errors
/// A failed precondition, with the words for the plugin list, when there is no scratch file and nothing to make it from.
pub async fn open(root: &Path, options: BlockfileOptions) -> Result<Volumes> {
    let storage = {
        let root = root.to_owned();
        blocking(move || Files::open(&root, options)).await?
    };
    Volumes::open(root, Arc::new(storage)).await
}

struct Files {
    scratch: PathBuf,
    directory: PathBuf,
    fs_type: String,
    options: Vec<String>,
}

impl Files {
    fn open(root: &Path, options: BlockfileOptions) -> Result<Self> {
        sys::fs::ensure_dir(root, 0o700)?;
        let directory = root.join("snapshots");
        sys::fs::ensure_dir(&directory, 0o700)?;
        let scratch = root.join("scratch");
        let there =
            scratch.try_exists().map_err(|e| Error::io("unable to stat scratch file", &scratch, e))?;
        if options.recreate_scratch || !there {
            let Some(from) = &options.scratch_file else {
                return Err(Error::precondition("no scratch file generator"));
            };
            make_scratch(from, &scratch).map_err(|e| e.during("failed to generate scratch file"))?;
        }
        let mut mount_options = options.mount_options;
        if !mount_options.iter().any(|o| o == "loop") {
            mount_options.push("loop".into());
        }
        let fs_type = if options.fs_type.is_empty() { "ext4".into() } else { options.fs_type };
        Ok(Files { scratch, directory, fs_type, options: mount_options })
    }

    fn path(&self, id: u64) -> PathBuf {
        self.directory.join(id.to_string())
    }

    /// The file that a snapshot shows.
    fn shown(&self, chain: &Chain) -> PathBuf {
        match (chain.kind, chain.parents.first()) {
            (Kind::View, Some(parent)) => self.path(*parent),
            _ => self.path(chain.id),
        }
    }
}

/// Never half there: copied beside, then renamed.
fn make_scratch(from: &Path, scratch: &Path) -> Result<()> {
    let fresh = scratch.with_extension("new");
    copy(from, &fresh)?;
    let file = File::open(&fresh).map_err(|e| Error::io("open", &fresh, e))?;
    file.sync_all().map_err(|e| Error::io("sync", &fresh, e))?;
    std::fs::rename(&fresh, scratch).map_err(|e| Error::io("rename", &fresh, e))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let source = File::open(from).map_err(|e| Error::io("open", from, e))?;
    let target = File::create(to).map_err(|e| Error::io("create", to, e))?;
    sys::fs::copy_sparse(&source, &target)?;
    Ok(())
}

impl Storage for Files {
    fn create(&self, chain: &Chain, _: &Labels) -> Result<()> {
        let (from, what) = match (chain.kind, chain.parents.first()) {
            (Kind::View, Some(_)) => return Ok(()),
            (_, Some(parent)) => (self.path(*parent), "copying of parent failed"),
            (_, None) => (self.scratch.clone(), "copying of scratch failed"),
        };
        copy(&from, &self.path(chain.id)).map_err(|e| e.during(what))
    }

    fn mounts(&self, chain: &Chain, _: &Labels) -> Result<Vec<Mount>> {
        let mut options = self.options.clone();
        options.push(if chain.kind == Kind::View { "ro" } else { "rw" }.into());
        let source = self.shown(chain).display().to_string();
        Ok(vec![Mount::new(self.fs_type.clone(), source, options)])
    }

    /// The blocks of the file, those that it shares with its parent included: what is shared cannot be told cheaply.
    fn usage(&self, id: u64, _: Option<u64>) -> Result<Usage> {
        taken_by(&self.path(id))
    }

    fn remove(&self, id: u64, _: Option<Kind>) -> Result<()> {
        let path = self.path(id);
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", &path, e)),
            _ => Ok(()),
        }
    }

    fn found(&self) -> Result<Vec<Found>> {
        let failed = |e| Error::io("list", &self.directory, e);
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.directory).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            if let Some(id) = name.to_str().and_then(|n| n.parse().ok()) {
                found.push(Found { id, kind: None });
            }
        }
        Ok(found)
    }
}
