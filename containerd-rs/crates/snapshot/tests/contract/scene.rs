//! A snapshotter and a place to mount in.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base::{Labels, Mount};
use snapshot::{CommitOptions, Snapshotter};
use sys::mount::{UnmountFlags, mount_all, unmount_all};

use super::files::{Change, apply, assert_same};

/// In what snapshotters may differ.
#[derive(Clone, Copy)]
pub struct Traits {
    /// Whether a directory of a lower layer can be renamed.
    pub renames_directories: bool,
    /// Whether usage is that of the files, not of a device that they are on.
    pub counts_files: bool,
    /// Whether a commit changes how the files are kept.
    pub converts: bool,
    /// How many layers are mounted over each other.
    pub layers: usize,
}

impl Traits {
    /// Those of directories that are copied or shared.
    pub const DIRECTORIES: Traits =
        Traits { renames_directories: true, counts_files: true, converts: false, layers: 128 };
}

pub struct Scene {
    pub snapshotter: Arc<dyn Snapshotter>,
    pub work: PathBuf,
    pub traits: Traits,
    pub manager: mounts::Manager,
    count: AtomicUsize,
}

/// A mounted snapshot; unmounted when dropped, failures included, and then what that needed.
pub struct Mounted {
    path: PathBuf,
    _below: Option<mounts::Temporary>,
}

impl Mounted {
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        unmount_all(&self.path, UnmountFlags::empty()).unwrap();
        std::fs::remove_dir(&self.path).unwrap();
    }
}

/// Labels that keep a snapshot from garbage collection.
pub fn labels() -> Labels {
    Labels::from([("containerd.io/gc.root".into(), "test".into())])
}

pub fn commit_options() -> CommitOptions {
    CommitOptions { labels: labels(), parent: String::new() }
}

fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(work))
}

impl Scene {
    pub fn new(snapshotter: Arc<dyn Snapshotter>, work: &Path, traits: Traits) -> Self {
        rustix::process::umask(rustix::fs::Mode::empty());
        let options = mounts::ManagerOptions {
            state: work.join("state"),
            roots: vec![snapshotter.root().to_owned()],
            erofs: true,
        };
        let manager = wait(mounts::Manager::open(options)).unwrap();
        Scene { snapshotter, work: work.to_owned(), traits, manager, count: AtomicUsize::new(0) }
    }

    pub fn unique(&self, prefix: &str) -> String {
        format!("{prefix}-{}", self.count.fetch_add(1, Ordering::Relaxed))
    }

    pub fn mount(&self, mounts: &[Mount]) -> Mounted {
        let target = self.work.join(self.unique("mount"));
        std::fs::create_dir(&target).unwrap();
        let below = wait(self.manager.temporary(mounts)).unwrap();
        mount_all(below.as_ref().map_or(mounts, |below| below.mounts()), &target).unwrap();
        Mounted { path: target, _below: below }
    }

    pub async fn prepare(&self, key: &str, parent: &str) -> Vec<Mount> {
        self.snapshotter.prepare(key, parent, labels()).await.unwrap()
    }

    pub async fn view(&self, key: &str, parent: &str) -> Vec<Mount> {
        self.snapshotter.view(key, parent, labels()).await.unwrap()
    }

    pub async fn commit(&self, name: &str, key: &str) {
        self.snapshotter.commit(name, key, commit_options()).await.unwrap();
    }

    /// Prepares, mounts, changes, unmounts and commits.
    pub async fn layer(&self, name: &str, parent: &str, changes: &[Change]) {
        let key = self.unique("layer");
        let mounts = self.prepare(&key, parent).await;
        apply(self.mount(&mounts).path(), changes);
        self.commit(name, &key).await;
    }

    /// Makes a chain of layers, and compares a view of each with a directory that went through the
    /// same changes.
    pub async fn check_layers(&self, layers: &[&[Change]]) {
        let flat = self.work.join(self.unique("flat"));
        std::fs::create_dir(&flat).unwrap();
        let mut parent = String::new();
        for changes in layers {
            let name = self.unique("committed");
            self.layer(&name, &parent, changes).await;
            apply(&flat, changes);
            let key = self.unique("view");
            let mounts = self.view(&key, &name).await;
            assert_same(&flat, self.mount(&mounts).path());
            self.snapshotter.remove(&key).await.unwrap();
            parent = name;
        }
        std::fs::remove_dir_all(flat).unwrap();
    }

    /// No mount may be left below these directories.
    pub fn leave_nothing(&self, directories: &[&Path]) {
        for mount in sys::mount::mountinfo().unwrap() {
            let point = Path::new(&mount.mount_point);
            assert!(!directories.iter().any(|d| point.starts_with(d)), "left mounted: {}", point.display());
        }
        for directory in directories {
            super::disk::assert_no_loop_device(directory);
        }
    }
}
