//! A file system of its own, in a file, through a loop device.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base::Mount;
use sys::mount::UnmountFlags;

pub struct Disk {
    directory: tempfile::TempDir,
}

impl Disk {
    /// Half a gigabyte, most of it never written.
    pub fn new(fs: &str) -> Self {
        let disk = Disk { directory: tempfile::tempdir().unwrap() };
        std::fs::File::create(disk.image()).unwrap().set_len(512 << 20).unwrap();
        format(fs, &disk.image());
        std::fs::create_dir(disk.mount_point()).unwrap();
        let options = vec!["loop".into()];
        let mount = Mount::new(fs, disk.image().display().to_string(), options);
        sys::mount::mount(&mount, &disk.mount_point()).unwrap();
        disk
    }

    pub fn btrfs() -> Self {
        Disk::new("btrfs")
    }

    pub fn path(&self) -> PathBuf {
        self.mount_point()
    }

    fn image(&self) -> PathBuf {
        self.directory.path().join("image")
    }

    fn mount_point(&self) -> PathBuf {
        self.directory.path().join("disk")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        sys::mount::unmount_recursive(&self.mount_point(), UnmountFlags::empty()).unwrap();
        assert_no_loop_device(self.directory.path());
    }
}

/// A directory that is none of a disk's.
pub struct Plain(tempfile::TempDir);

impl Plain {
    pub fn new() -> Self {
        Plain(tempfile::tempdir().unwrap())
    }

    pub fn path(&self) -> PathBuf {
        self.0.path().to_owned()
    }
}

pub fn format(fs: &str, image: &Path) {
    let quiet = if fs == "btrfs" || fs.starts_with("ext") { "-q" } else { "-f" };
    let mkfs = std::process::Command::new(format!("mkfs.{fs}")).arg(quiet).arg(image).output().unwrap();
    assert!(mkfs.status.success(), "{}", String::from_utf8_lossy(&mkfs.stderr));
}

/// The kernel frees a loop device when its last user lets go, which may be a moment after the unmount.
pub fn assert_no_loop_device(below: &Path) {
    let start = Instant::now();
    while let Some(file) = backing_files().into_iter().find(|f| f.starts_with(below)) {
        assert!(start.elapsed() < Duration::from_secs(60), "a loop device is left on {}", file.display());
        std::thread::yield_now();
    }
}

fn backing_files() -> Vec<PathBuf> {
    let devices = std::fs::read_dir("/sys/block").unwrap();
    let files =
        devices.filter_map(|d| std::fs::read_to_string(d.ok()?.path().join("loop/backing_file")).ok());
    files.map(|f| PathBuf::from(f.trim())).collect()
}
