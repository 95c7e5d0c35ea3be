//! What snapshotters on plain directories have in common: the records, the numbered directories
//! under `snapshots/`, and the order in which both change.
//!
//! ```text
//! prepare: number -> directory -> record (durable)       a crash leaves a directory that no record names
//! commit:  measure -> record (durable)
//! remove:  record (durable) -> directory                 the same
//! cleanup: removes directories that no record names and no prepare is about to name
//! ```
//!
//! So a record always has its directory, and one durable write is all that a call waits for. The
//! files in it are brought to disk later; `durability` says what that means after a power cut.

mod directories;
mod durability;
mod numbers;
mod records;
mod row;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use base::Labels;
use base::filter::FilterSet;

use crate::error::{Error, Result, blocking, carried_through};
use crate::info::{CommitOptions, Info, Kind, Usage};

pub(crate) use directories::Directories;
pub(crate) use records::{Chain, Records};

/// Records and directories of one snapshotter.
#[derive(Clone)]
pub(crate) struct Backend {
    shared: Arc<Shared>,
}

struct Shared {
    root: PathBuf,
    /// The boot of this machine: what was not on disk when it ended is lost.
    boot: String,
    settling: AtomicBool,
    records: Records,
    directories: Directories,
}

/// What a snapshotter makes for a new snapshot.
pub(crate) trait Fill: Send + Sync + 'static {
    /// Makes `directory` and what belongs into it. May block.
    fn fill(&self, directory: &Path, chain: &Chain, labels: &Labels) -> Result<()>;

    /// Takes it away again, as far as it was made. May block.
    fn undo(&self, directory: &Path, _chain: &Chain) -> Result<()> {
        Directories::remove(directory)
    }
}

/// What a commit does beside changing the record.
pub(crate) trait Seal: Send + Sync + 'static {
    /// Before the record: makes the snapshot fit to be a parent, and measures it. A crash may follow, and then the same again.
    fn seal(&self, chain: &Chain) -> Result<Usage>;

    /// After the record: takes away what only the active snapshot needed. What fails is left to cleanup.
    fn sealed(&self, _id: u64) -> Result<()> {
        Ok(())
    }
}

impl Backend {
    /// Opens `root`, making what is missing. Directories that no record names stay until `cleanup`.
    pub(crate) async fn open(root: &Path) -> Result<Self> {
        Backend::open_in_boot(root, sys::process::boot_id()?).await
    }

    async fn open_in_boot(root: &Path, boot: String) -> Result<Self> {
        let root = root.to_owned();
        let backend = blocking(move || {
            sys::fs::ensure_dir(&root, 0o700)?;
            let snapshots = root.join("snapshots");
            sys::fs::ensure_dir(&snapshots, 0o700)?;
            let records = Records::open(&root.join("metadata.db"))?;
            let directories = Directories::open(snapshots, records.highest_number()?)?;
            let settling = AtomicBool::new(false);
            Ok(Backend { shared: Arc::new(Shared { root, boot, settling, records, directories }) })
        })
        .await?;
        backend.drop_what_a_crash_may_have_cut().await?;
        backend.settle_later();
        Ok(backend)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.shared.root
    }

    /// The directory of a snapshot.
    pub(crate) fn directory(&self, id: u64) -> PathBuf {
        self.shared.directories.path(id)
    }

    pub(crate) fn stat(&self, key: &str) -> Result<(Info, u64)> {
        self.shared.records.stat(key)
    }

    /// What a mount needs to know.
    pub(crate) fn chain(&self, key: &str) -> Result<(Chain, Labels)> {
        self.shared.records.chain(key)
    }

    pub(crate) fn walk(&self, filters: &FilterSet) -> Result<Vec<(Info, u64)>> {
        self.shared.records.walk(filters)
    }

    pub(crate) async fn update(&self, info: Info, mask: &[String]) -> Result<(Info, u64)> {
        let (records, mask) = (self.shared.records.clone(), mask.to_vec());
        carried_through(async move { records.update(info, mask).await }).await
    }

    /// Makes an active or view snapshot. `fill` runs before the record is written.
    pub(crate) async fn create(
        &self,
        kind: Kind,
        key: &str,
        parent: &str,
        labels: Labels,
        fill: impl Fill,
    ) -> Result<(Chain, Labels)> {
        let backend = self.clone();
        let (key, parent) = (key.to_owned(), parent.to_owned());
        carried_through(async move {
            let shared = &backend.shared;
            // What is refused in the end is refused before any work; the record checks again.
            let parents = shared.records.check_create(&key, &parent)?;
            let number = shared.directories.numbers.take();
            let chain = Chain { kind, id: number.id(), parents };
            let directory = backend.directory(number.id());
            let fill = Arc::new(fill);
            let made = {
                let (fill, directory) = (Arc::clone(&fill), directory.clone());
                let (chain, labels) = (chain.clone(), labels.clone());
                blocking(move || fill.fill(&directory, &chain, &labels)).await
            };
            let recorded = match made {
                Ok(()) => shared.records.create(&chain, &key, &parent, labels.clone(), SystemTime::now()).await,
                Err(e) => Err(e),
            };
            if let Err(e) = recorded {
                let removed = blocking(move || fill.undo(&directory, &chain)).await;
                if let Err(e) = removed {
                    tracing::warn!(key, error = %base::chain(&e), "directory of a failed snapshot stays until cleanup");
                }
                return Err(e.during("failed to create snapshot"));
            }
            drop(number);
            Ok((chain, labels))
        })
        .await
    }

    /// Live usage of an active snapshot, measured at `part` of its directory; recorded usage of others.
    pub(crate) async fn usage(&self, key: &str, part: &str) -> Result<Usage> {
        let (kind, id, usage) = self.shared.records.usage(key)?;
        if kind != Kind::Active {
            return Ok(usage);
        }
        measure(self.directory(id).join(part)).await
    }

    /// Commits, recording what `part` of the directory takes.
    pub(crate) async fn commit(
        &self,
        name: &str,
        key: &str,
        options: CommitOptions,
        part: &str,
    ) -> Result<()> {
        let seal = Measure { shared: Arc::clone(&self.shared), part: part.to_owned() };
        self.commit_sealed(name, key, options, seal).await
    }

    /// Commits with what else that takes. One commit of a snapshot at a time.
    pub(crate) async fn commit_sealed(
        &self,
        name: &str,
        key: &str,
        options: CommitOptions,
        seal: impl Seal,
    ) -> Result<()> {
        let backend = self.clone();
        let (name, key, seal) = (name.to_owned(), key.to_owned(), Arc::new(seal));
        carried_through(async move {
            let shared = &backend.shared;
            let chain = shared.records.check_commit(&name, &key)?;
            let Some(number) = shared.directories.numbers.commit(chain.id) else {
                return Err(Error::precondition(format!("snapshot {key:?} is being committed")));
            };
            let usage = {
                let seal = Arc::clone(&seal);
                blocking(move || seal.seal(&chain)).await?
            };
            shared
                .records
                .commit(&name, &key, options, usage, &shared.boot)
                .await
                .map_err(|e| e.during(format!("failed to commit snapshot {key}")))?;
            let id = number.id();
            if let Err(e) = blocking(move || seal.sealed(id)).await {
                tracing::warn!(name, error = %base::chain(&e), "what only the active snapshot needed stays until cleanup");
            }
            drop(number);
            backend.settle_later();
            Ok(())
        })
        .await
    }

    /// Removes the record; and, when `now`, the directory.
    pub(crate) async fn remove(&self, key: &str, now: bool) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let directory =
            move |id, _| if now { Directories::remove(&shared.directories.path(id)) } else { Ok(()) };
        self.remove_with(key, directory).await
    }

    /// Removes the record, then what it named.
    pub(crate) async fn remove_with<F>(&self, key: &str, rest: F) -> Result<()>
    where
        F: FnOnce(u64, Kind) -> Result<()> + Send + 'static,
    {
        let backend = self.clone();
        let key = key.to_owned();
        carried_through(async move {
            let (id, kind) = backend
                .shared
                .records
                .remove(&key)
                .await
                .map_err(|e| e.during(format!("failed to remove snapshot {key}")))?;
            // The record is gone: what is left behind is cleanup's.
            if let Err(e) = blocking(move || rest(id, kind)).await {
                tracing::warn!(key, error = %base::chain(&e), "the rest of a removed snapshot stays until cleanup");
            }
            Ok(())
        })
        .await
    }

    /// Removes directories that no record names.
    pub(crate) async fn cleanup(&self) -> Result<()> {
        self.cleanup_with(Directories::remove).await
    }

    /// The same, for directories that take more than their removal.
    pub(crate) async fn cleanup_with(&self, remove: fn(&Path) -> Result<()>) -> Result<()> {
        let backend = self.clone();
        carried_through(async move {
            blocking(move || {
                let shared = &backend.shared;
                shared.directories.remove_unnamed(|| shared.records.numbers(), remove)
            })
            .await
        })
        .await
    }

    /// What numbers are used for, to be asked after what is there has been listed: those that something is being done with, and
    /// those of records.
    pub(crate) fn in_use(&self) -> Result<(HashSet<u64>, HashMap<u64, Kind>)> {
        let under_way = self.shared.directories.numbers.under_way();
        Ok((under_way, self.shared.records.kinds()?))
    }

    /// Numbers up to `last` are not given out: something by those names is there.
    pub(crate) fn skip_numbers(&self, last: u64) {
        self.shared.directories.numbers.skip(last);
    }

    /// Kind, number, recorded usage, and the number of the parent.
    pub(crate) fn recorded(&self, key: &str) -> Result<(Kind, u64, Usage, Option<u64>)> {
        self.shared.records.recorded(key)
    }
}

/// Measures a part of the directory.
struct Measure {
    shared: Arc<Shared>,
    part: String,
}

impl Seal for Measure {
    fn seal(&self, chain: &Chain) -> Result<Usage> {
        taken_by(&self.shared.directories.path(chain.id).join(&self.part))
    }
}

async fn measure(path: PathBuf) -> Result<Usage> {
    blocking(move || taken_by(&path)).await
}

/// What a tree takes on disk.
pub(crate) fn taken_by(path: &Path) -> Result<Usage> {
    sys::fs::disk_usage(path).map(Usage::of).map_err(Error::from)
}

/// Makes a directory with exactly this mode.
pub(crate) fn make_dir(path: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::create_dir(path).map_err(|e| Error::io("create", path, e))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .map_err(|e| Error::io("chmod", path, e))
}
