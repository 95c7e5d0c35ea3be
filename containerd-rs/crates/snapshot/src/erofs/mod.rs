//! Snapshots as read-only EROFS images under an overlay.
//!
//! `snapshots/<number>/` holds `layer.erofs` once the snapshot is committed; while it is active `fs` and `work` are what an overlay
//! writes to (or, with a default size, `rwlayer.img` is, an ext4 made when it is first mounted), and `.erofslayer` tells the
//! erofs differ that it may put `layer.erofs` there itself. The mounts are for the mount manager: images first, then the overlay.

mod convert;
pub mod differ;
mod mounts;
mod verity;

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use base::filter::FilterSet;
use base::labels::snapshot as label;
use base::{Labels, Mount};

use crate::backend::{Backend, Chain, Directories, Fill, Seal, make_dir, taken_by};
use crate::error::{Error, Result, blocking};
use crate::info::{CommitOptions, Info, Kind, ONLY_REMAP_IDS, REBASE, REMAP_IDS, Usage};
use crate::overlay::{check_entry_types, mapped_root, maps_ids};
use crate::snapshotter::Snapshotter;

pub use verity::DmVerity;

/// Settings, as in the config table of the plugin.
#[derive(Debug, Clone, Default)]
pub struct ErofsOptions {
    /// Options for every overlay mount.
    pub ovl_mount_options: Vec<String>,
    /// Have the kernel check what is read of layers (fs-verity).
    pub enable_fsverity: bool,
    /// Make the files of layers immutable.
    pub set_immutable: bool,
    /// Bytes of the writable layer; 0: a directory.
    pub default_size: u64,
    /// Whether layers are mounted through dm-verity.
    pub dmverity_mode: DmVerity,
}

/// The EROFS snapshotter.
pub struct Erofs {
    backend: Backend,
    settings: Settings,
    capabilities: Vec<&'static str>,
}

#[derive(Debug, Clone)]
struct Settings {
    options: ErofsOptions,
    maps_ids: bool,
}

impl Erofs {
    /// Opens the snapshotter at `root`, making it when it is new.
    ///
    /// # Errors
    /// A failed precondition, with the words for the plugin list, when the kernel has no EROFS; unimplemented when it cannot do what
    /// the options ask for.
    pub async fn open(root: &Path, options: ErofsOptions) -> Result<Self> {
        {
            let (root, options) = (root.to_owned(), options.clone());
            blocking(move || check(&root, &options)).await?;
        }
        let maps_ids = maps_ids();
        let backend = Backend::open(root).await?;
        let mut capabilities = vec![ONLY_REMAP_IDS];
        if maps_ids {
            capabilities.push(REMAP_IDS);
        }
        capabilities.push(REBASE);
        Ok(Erofs { backend, settings: Settings { options, maps_ids }, capabilities })
    }

    async fn mounts_of(&self, chain: Chain, labels: Labels) -> Result<Vec<Mount>> {
        let (backend, settings) = (self.backend.clone(), self.settings.clone());
        blocking(move || mounts::of(&backend, &settings, &chain, &labels)).await
    }

    async fn create(&self, kind: Kind, key: &str, parent: &str, labels: Labels) -> Result<Vec<Mount>> {
        let (chain, labels) = self.backend.create(kind, key, parent, labels, self.layer()).await?;
        self.mounts_of(chain, labels).await
    }

    fn layer(&self) -> Layer {
        Layer { backend: self.backend.clone(), settings: self.settings.clone() }
    }
}

fn check(root: &Path, options: &ErofsOptions) -> Result<()> {
    sys::fs::ensure_dir(root, 0o700)?;
    if options.dmverity_mode == DmVerity::On && !verity::is_supported() {
        let message = "dmverity_mode is 'on' but dm-verity is not supported on this system";
        return Err(Error::refused(base::ErrorKind::Unimplemented, message));
    }
    if options.default_size == 0 {
        check_entry_types(root).map_err(|e| Error::refused(base::ErrorKind::Unimplemented, e.to_string()))?;
    }
    let filesystems = sys::fs::read_text(Path::new("/proc/filesystems"), 1 << 16)?;
    if !filesystems.lines().any(|line| line.trim() == "erofs") {
        return Err(Error::precondition("EROFS unsupported, please `modprobe erofs`"));
    }
    if options.enable_fsverity && !sys::verity::is_supported(root)? {
        let message = format!("fsverity is not supported on the filesystem of {:?}", root.display());
        return Err(Error::refused(base::ErrorKind::Unimplemented, message));
    }
    Ok(())
}

/// The files of one snapshot.
fn image(directory: &Path) -> PathBuf {
    directory.join("layer.erofs")
}

fn writable(directory: &Path) -> PathBuf {
    directory.join("rwlayer.img")
}

/// What happens to the directory of one snapshot.
struct Layer {
    backend: Backend,
    settings: Settings,
}

impl Fill for Layer {
    fn fill(&self, directory: &Path, chain: &Chain, labels: &Labels) -> Result<()> {
        make_dir(directory, 0o700)?;
        let fs = directory.join("fs");
        make_dir(&fs, 0o755)?;
        if chain.kind == Kind::Active {
            if self.settings.options.default_size == 0 {
                make_dir(&directory.join("work"), 0o711)?;
            }
            let mark = directory.join(differ::MARK);
            std::fs::write(&mark, b"").map_err(|e| Error::io("create", &mark, e))?;
        }
        if self.settings.options.default_size == 0
            && let Some((uid, gid)) = self.owner(chain, labels)?
        {
            std::os::unix::fs::lchown(&fs, Some(uid), Some(gid)).map_err(|e| Error::io("chown", &fs, e))?;
        }
        Ok(())
    }
}

impl Layer {
    /// Who owns the directory that is written to: the mapped root, or whoever owns the parent's.
    fn owner(&self, chain: &Chain, labels: &Labels) -> Result<Option<(u32, u32)>> {
        use std::os::unix::fs::MetadataExt;
        if let Some(root) = mapped_root(labels)? {
            return Ok(Some(root));
        }
        let Some(parent) = chain.parents.first() else { return Ok(None) };
        let parent = self.backend.directory(*parent).join("fs");
        let meta = std::fs::metadata(&parent).map_err(|e| Error::io("stat parent", &parent, e))?;
        Ok(Some((meta.uid(), meta.gid())))
    }
}

impl Seal for Layer {
    fn seal(&self, chain: &Chain) -> Result<Usage> {
        let directory = self.backend.directory(chain.id);
        convert::image_of(&directory)?;
        let image = image(&directory);
        if self.settings.options.enable_fsverity {
            sys::verity::enable(&image).map_err(|e| Error::from(e).during("failed to enable fsverity"))?;
        }
        if self.settings.options.set_immutable
            && let Err(e) = sys::fs::set_immutable(&image, true)
        {
            tracing::warn!(image = %image.display(), error = %base::chain(&e), "failed to set IMMUTABLE_FL");
        }
        taken_by(&image)
    }

    fn sealed(&self, id: u64) -> Result<()> {
        convert::drop_source(&self.backend.directory(id))
    }
}

/// Removes the directory of a snapshot, an immutable image included.
fn remove(directory: &Path) -> Result<()> {
    let image = image(directory);
    if image.exists() {
        sys::fs::set_immutable(&image, false)
            .map_err(|e| Error::from(e).during("failed to clear IMMUTABLE_FL"))?;
    }
    Directories::remove(directory)
}

#[async_trait]
impl Snapshotter for Erofs {
    async fn stat(&self, key: &str) -> Result<Info> {
        Ok(self.backend.stat(key)?.0)
    }

    async fn update(&self, info: Info, mask: &[String]) -> Result<Info> {
        Ok(self.backend.update(info, mask).await?.0)
    }

    async fn usage(&self, key: &str) -> Result<Usage> {
        let (kind, id, usage, _) = self.backend.recorded(key)?;
        if kind != Kind::Active {
            return Ok(usage);
        }
        let directory = self.backend.directory(id);
        blocking(move || {
            let mut total = taken_by(&directory.join("fs"))?;
            for file in [image(&directory), writable(&directory)].iter().filter(|f| f.exists()) {
                total.size += taken_by(file)?.size;
            }
            Ok(total)
        })
        .await
    }

    async fn mounts(&self, key: &str) -> Result<Vec<Mount>> {
        let (chain, labels) = self.backend.chain(key).map_err(|e| e.during("failed to get active mount"))?;
        self.mounts_of(chain, labels).await
    }

    async fn prepare(&self, key: &str, parent: &str, labels: Labels) -> Result<Vec<Mount>> {
        self.create(Kind::Active, key, parent, labels).await
    }

    async fn view(&self, key: &str, parent: &str, labels: Labels) -> Result<Vec<Mount>> {
        self.create(Kind::View, key, parent, labels).await
    }

    async fn commit(&self, name: &str, key: &str, options: CommitOptions) -> Result<()> {
        self.backend.commit_sealed(name, key, options, self.layer()).await
    }

    async fn remove(&self, key: &str) -> Result<()> {
        let backend = self.backend.clone();
        self.backend.remove_with(key, move |id, _| remove(&backend.directory(id))).await
    }

    async fn walk(&self, filters: &FilterSet) -> Result<Vec<Info>> {
        Ok(self.backend.walk(filters)?.into_iter().map(|(info, _)| info).collect())
    }

    async fn cleanup(&self) -> Result<()> {
        self.backend.cleanup_with(remove).await
    }

    fn capabilities(&self) -> &[&'static str] {
        &self.capabilities
    }

    fn root(&self) -> &Path {
        self.backend.root()
    }
}

/// Labels that map ids, as options.
fn mapping(settings: &Settings, labels: &Labels) -> Vec<String> {
    if !settings.maps_ids {
        return Vec::new();
    }
    [("uidmap", label::UID_MAPPING), ("gidmap", label::GID_MAPPING)]
        .into_iter()
        .filter_map(|(option, key)| labels.get(key).map(|value| format!("{option}={value}")))
        .collect()
}
