//! Mounts that last as long as a value.

use std::path::{Path, PathBuf};

use base::Mount;
use rustix::mount::UnmountFlags;

use super::apply::mount_all;
use super::idmapped;
use super::info::mounts_below;
use super::unmount::{unmount_all, unmount_recursive};
use crate::error::{Context, Error, Result};

const PREFIX: &str = "containerd-mount";

/// Mounts on a directory of their own. Dropping it takes both away (a failure is logged); [`TempMount::close`] reports the failure.
#[derive(Debug)]
pub struct TempMount {
    path: Option<PathBuf>,
}

impl TempMount {
    /// Makes a directory in `tmp_dir` and applies the mounts to it, without overlay's `volatile`, which would forbid to mount
    /// the same layers again.
    pub fn new(mounts: &[Mount], tmp_dir: &Path) -> Result<TempMount> {
        let path = crate::fs::create_unique_dir(tmp_dir, PREFIX)?;
        // From here on a failure drops `temp`, which takes away what has been mounted.
        let temp = TempMount { path: Some(path.clone()) };
        mount_all(&without_volatile(mounts), &path)?;
        Ok(temp)
    }

    /// Like [`TempMount::new`], with every mount made read-only (see [`read_only`]).
    pub fn read_only(mounts: &[Mount], tmp_dir: &Path) -> Result<TempMount> {
        TempMount::new(&read_only(mounts), tmp_dir)
    }

    /// The directory that the mounts are on.
    pub fn path(&self) -> &Path {
        self.path.as_deref().unwrap_or(Path::new(""))
    }

    /// Takes mounts and directory away.
    pub fn close(mut self) -> Result<()> {
        self.path.take().map_or(Ok(()), |path| remove(&path))
    }
}

impl Drop for TempMount {
    fn drop(&mut self) {
        if let Some(path) = self.path.take()
            && let Err(e) = remove(&path)
        {
            tracing::warn!(path = %path.display(), error = %base::chain(&e), "cannot remove a temporary mount");
        }
    }
}

fn remove(path: &Path) -> Result<()> {
    unmount_recursive(path, UnmountFlags::empty())?;
    // Never recursively: should a mount be left, its files are not ours.
    std::fs::remove_dir(path).on("remove directory", path)
}

/// The mounts with overlay's `volatile` and `fsync=volatile` taken out.
pub fn without_volatile(mounts: &[Mount]) -> Vec<Mount> {
    let mut out = mounts.to_vec();
    for m in out.iter_mut().filter(|m| m.fstype == "overlay") {
        m.options.retain(|o| o != "volatile" && o != "fsync=volatile");
    }
    out
}

/// The mounts made read-only: an overlay gets its upper directory as topmost lower one and loses `workdir` and id maps, others get `ro`.
pub fn read_only(mounts: &[Mount]) -> Vec<Mount> {
    let mut out = mounts.to_vec();
    for m in &mut out {
        if m.fstype == "overlay" {
            m.options = read_only_overlay(&m.options);
        } else {
            m.options.retain(|o| o != "rw" && o != "ro");
            m.options.push("ro".to_owned());
        }
    }
    out
}

fn read_only_overlay(options: &[String]) -> Vec<String> {
    let upper = options.iter().find_map(|o| o.strip_prefix("upperdir="));
    let dropped = ["upperdir=", "workdir=", "uidmap=", "gidmap="];
    let kept = options.iter().filter(|o| !dropped.iter().any(|d| o.starts_with(d)));
    kept.map(|o| match (upper, o.strip_prefix("lowerdir=")) {
        (Some(upper), Some(lower)) => format!("lowerdir={upper}:{lower}"),
        _ => o.clone(),
    })
    .collect()
}

/// Takes away what earlier runs left in `dir`: mounts on and below its entries, and the empty directories that they were on.
/// Gives what could not be removed; the rest is gone all the same. A missing `dir` is fine.
pub fn clean_temp_mounts(dir: &Path) -> Result<Vec<Error>> {
    let dir = match dir.canonicalize() {
        Ok(dir) => dir,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::path("resolve", dir, e)),
    };
    let mut points: Vec<PathBuf> =
        mounts_below(&dir)?.into_iter().map(|m| m.mount_point).filter(|p| *p != dir).collect();
    points.sort_by_key(|p| std::cmp::Reverse(p.as_os_str().len()));
    points.dedup();
    let mut warnings = Vec::new();
    for point in points {
        if let Err(e) = unmount_all(&point, UnmountFlags::empty()) {
            warnings.push(e);
        }
    }
    for entry in std::fs::read_dir(&dir).on("read directory", &dir)? {
        let entry = entry.on("read directory", &dir)?;
        let name = entry.file_name();
        let ours =
            [PREFIX, idmapped::PREFIX].iter().any(|p| name.as_encoded_bytes().starts_with(p.as_bytes()));
        if ours && let Err(e) = std::fs::remove_dir(entry.path()) {
            warnings.push(Error::path("remove directory", entry.path(), e));
        }
    }
    Ok(warnings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlay(options: &[&str]) -> Mount {
        Mount::new("overlay", "overlay", options.iter().map(|o| (*o).to_owned()).collect())
    }

    #[test]
    fn volatile_is_taken_from_overlays_only() {
        let mounts = [
            overlay(&["volatile", "index=off", "fsync=volatile"]),
            Mount::new("tmpfs", "", vec!["volatile".to_owned()]),
        ];
        let out = without_volatile(&mounts);
        assert_eq!(out[0].options, ["index=off"]);
        assert_eq!(out[1].options, ["volatile"]);
    }

    #[test]
    fn read_only_overlays_show_their_upper_directory() {
        let rw = overlay(&["workdir=/w", "upperdir=/u", "lowerdir=/a:/b", "uidmap=0:1:2", "index=off"]);
        assert_eq!(read_only(&[rw])[0].options, ["lowerdir=/u:/a:/b", "index=off"]);
        assert_eq!(read_only(&[overlay(&["lowerdir=/a:/b"])])[0].options, ["lowerdir=/a:/b"]);
        let bind = Mount::new("bind", "/a", vec!["rw".to_owned(), "rbind".to_owned(), "ro".to_owned()]);
        assert_eq!(read_only(&[bind])[0].options, ["rbind", "ro"]);
    }
}
