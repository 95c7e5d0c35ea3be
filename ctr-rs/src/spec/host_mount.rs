//! Mounting a snapshot on a directory of the host.

use std::ffi::CString;
use std::path::Path;

use protos::api::types::Mount;
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use crate::error::{Error, Result};

/// Most mounts on one directory that are taken off.
const MAX_STACK: usize = 128;

/// Mounts them all in order, relative to `directory`.
pub fn mount_all(mounts: &[Mount], directory: &Path) -> Result<()> {
    for one in mounts {
        let target = match one.target.trim_start_matches('/') {
            "" => directory.to_path_buf(),
            below => directory.join(below),
        };
        mount(one, &target).inspect_err(|_| {
            // the failure is what counts
            let _undone = unmount_all(directory);
        })?;
    }
    Ok(())
}

fn mount(mount: &Mount, target: &Path) -> Result<()> {
    let what = || format!("cannot mount {} on {}", mount.r#type, target.display());
    let (flags, data) = options(&mount.options);
    let data = CString::new(data.join(",")).map_err(|_| Error::invalid(what()))?;
    let fstype = if flags.contains(MountFlags::BIND) { "" } else { mount.r#type.as_str() };
    rustix::mount::mount(mount.source.as_str(), target, fstype, flags, Some(data.as_c_str()))
        .map_err(Error::io(what()))?;
    if flags.contains(MountFlags::BIND) && flags.contains(MountFlags::RDONLY) {
        let flags = MountFlags::BIND | MountFlags::RDONLY;
        rustix::mount::mount_remount(target, flags, "").map_err(Error::io(what()))?;
    }
    Ok(())
}

/// Options that are flags, and the rest for the file system.
fn options(options: &[String]) -> (MountFlags, Vec<&str>) {
    let mut flags = MountFlags::empty();
    let mut data = Vec::new();
    for option in options {
        match option.as_str() {
            "bind" => flags |= MountFlags::BIND,
            "rbind" => flags |= MountFlags::BIND | MountFlags::REC,
            "ro" => flags |= MountFlags::RDONLY,
            "rw" => flags -= MountFlags::RDONLY,
            "nodev" => flags |= MountFlags::NODEV,
            "noexec" => flags |= MountFlags::NOEXEC,
            "nosuid" => flags |= MountFlags::NOSUID,
            "noatime" => flags |= MountFlags::NOATIME,
            "relatime" => flags |= MountFlags::RELATIME,
            // not for this kernel call
            "" | "defaults" => {}
            other => data.push(other),
        }
    }
    (flags, data)
}

/// Takes everything off that is mounted on a directory. Nothing there is fine.
pub fn unmount_all(directory: &Path) -> Result<()> {
    for _ in 0..MAX_STACK {
        match rustix::mount::unmount(directory, UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            Err(Errno::INVAL | Errno::NOENT) => return Ok(()),
            Err(e) => return Err(Error::io(format!("cannot unmount {}", directory.display()))(e)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn flags_and_data_are_told_apart() {
        let all = ["ro", "index=off", "rbind", "lowerdir=/a:/b", "nodev"].map(String::from);
        let (flags, data) = options(&all);
        assert_eq!(flags, MountFlags::RDONLY | MountFlags::BIND | MountFlags::REC | MountFlags::NODEV);
        assert_eq!(data, ["index=off", "lowerdir=/a:/b"]);
    }

    #[test]
    fn a_read_only_bind_is_read_only_and_comes_off() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        std::fs::create_dir(&from).unwrap();
        std::fs::create_dir(&to).unwrap();
        std::fs::write(from.join("f"), "x").unwrap();
        let options = vec!["rbind".into(), "ro".into()];
        let bind = Mount {
            r#type: "bind".into(),
            source: from.to_string_lossy().into_owned(),
            options,
            ..Mount::default()
        };
        mount_all(std::slice::from_ref(&bind), &to).unwrap();
        assert_eq!(std::fs::read_to_string(to.join("f")).unwrap(), "x");
        assert!(std::fs::write(to.join("f"), "y").is_err());
        unmount_all(&to).unwrap();
        assert!(!to.join("f").exists());
        unmount_all(&to).unwrap();
    }
}
