//! Whether overlay works here, found out by trying.

use std::fs;
use std::path::{Path, PathBuf};

use base::Mount;

/// Why overlay cannot be used on a root.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unsupported(pub String);

/// Tries overlay on `root` with two lower directories. Blocks; mounts and unmounts.
pub fn supported(root: &Path) -> Result<(), Unsupported> {
    let failed = |e: &dyn std::error::Error| Unsupported(base::chain(e));
    sys::fs::ensure_dir(root, 0o700).map_err(|e| failed(&e))?;
    check_entry_types(root)?;
    let trial = Trial::new(root)?;
    let options = ["lower2:lower1", "upper", "work"].map(|names| {
        let paths: Vec<String> = names.split(':').map(|n| trial.path(n).display().to_string()).collect();
        paths.join(":")
    });
    let mount = Mount::new(
        "overlay",
        "overlay",
        vec![
            format!("lowerdir={}", options[0]),
            format!("upperdir={}", options[1]),
            format!("workdir={}", options[2]),
        ],
    );
    let merged = trial.path("merged");
    sys::mount::mount(&mount, &merged)
        .map_err(|e| Unsupported(format!("failed to mount overlay: {}", base::chain(&e))))?;
    sys::mount::unmount_all(&merged, sys::mount::UnmountFlags::empty()).map_err(|e| failed(&e))
}

/// Overlay needs directory entries that tell what they are.
pub(crate) fn check_entry_types(root: &Path) -> Result<(), Unsupported> {
    let failed = |e: std::io::Error| Unsupported(format!("check {}: {e}", root.display()));
    let trial = Trial::new(root)?;
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    let dir =
        rustix::fs::open(&trial.directory, flags, rustix::fs::Mode::empty()).map_err(|e| failed(e.into()))?;
    for entry in rustix::fs::Dir::read_from(&dir).map_err(|e| failed(e.into()))? {
        let entry = entry.map_err(|e| failed(e.into()))?;
        if entry.file_type() == rustix::fs::FileType::Unknown {
            return Err(Unsupported(format!(
                "{} does not support d_type. If the backing filesystem is xfs, please reformat with ftype=1 to enable d_type support",
                root.display()
            )));
        }
    }
    Ok(())
}

/// Directories to try with; gone when dropped.
struct Trial {
    directory: PathBuf,
}

impl Trial {
    fn new(root: &Path) -> Result<Self, Unsupported> {
        let failed = |e: &dyn std::error::Error| Unsupported(base::chain(e));
        let directory = sys::fs::create_unique_dir(root, "overlay-check-").map_err(|e| failed(&e))?;
        let trial = Trial { directory };
        for name in ["lower1", "lower2", "upper", "work", "merged"] {
            fs::create_dir(trial.path(name)).map_err(|e| failed(&e))?;
        }
        Ok(trial)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        if let Err(e) = fs::remove_dir_all(&self.directory) {
            tracing::warn!(path = %self.directory.display(), error = %e, "failed to remove check directory");
        }
    }
}

/// What the kernel and our place in it are like.
#[derive(Debug)]
pub(super) struct Probe {
    pub(super) in_user_namespace: bool,
    pub(super) needs_user_xattr: bool,
    pub(super) has_index: bool,
    pub(super) maps_ids: bool,
}

impl Probe {
    pub(super) fn run(root: &Path) -> Self {
        let in_user_namespace = in_user_namespace();
        let kernel = kernel_version();
        Probe {
            in_user_namespace,
            needs_user_xattr: in_user_namespace && !on_tmpfs(root) && kernel >= (5, 11),
            has_index: Path::new("/sys/module/overlay/parameters/index").exists(),
            maps_ids: maps_ids(),
        }
    }
}

/// Whether the layers of an overlay can be mounts that map ids.
pub(crate) fn maps_ids() -> bool {
    kernel_version() >= (5, 19)
}

/// Whether this process lives in a user namespace that maps anything but all ids to themselves.
pub(crate) fn in_user_namespace() -> bool {
    match fs::read_to_string("/proc/self/uid_map") {
        Ok(map) => map.split_whitespace().collect::<Vec<_>>() != ["0", "0", "4294967295"],
        Err(_) => false,
    }
}

fn on_tmpfs(root: &Path) -> bool {
    const TMPFS_MAGIC: u64 = 0x0102_1994;
    rustix::fs::statfs(root).is_ok_and(|s| u64::try_from(s.f_type).is_ok_and(|t| t == TMPFS_MAGIC))
}

fn kernel_version() -> (u32, u32) {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
