//! Reading a container's passwd and group files out of its root file system, which nobody has mounted yet.
//!
//! The mounts are attached nowhere: an overlay is made with `fsmount` and read through its descriptor, so that nothing is left
//! behind, whenever we die. Names are looked up with openat2 inside that root, as the files come from whoever made the image.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

use protos::api::types::Mount;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use crate::error::{Error, Result};

/// Where a container's files are.
#[derive(Clone, Copy, Debug)]
pub enum Rootfs<'a> {
    /// A directory.
    Dir(&'a Path),
    /// What a snapshotter says to mount.
    Mounts(&'a [Mount]),
}

/// The two files that names of users are looked up in; empty where there is none.
#[derive(Debug, Default)]
pub struct UserFiles {
    /// `etc/passwd`.
    pub passwd: Vec<u8>,
    /// `etc/group`.
    pub group: Vec<u8>,
}

/// Reads both files.
pub fn user_files(rootfs: Rootfs<'_>) -> Result<UserFiles> {
    let root = match rootfs {
        Rootfs::Dir(path) => open_dir(path)?,
        Rootfs::Mounts(mounts) => open_mounts(mounts)?,
    };
    Ok(UserFiles { passwd: read(&root, "etc/passwd")?, group: read(&root, "etc/group")? })
}

fn open_dir(path: &Path) -> Result<OwnedFd> {
    rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(Error::io(format!("cannot open root file system {}", path.display())))
}

fn open_mounts(mounts: &[Mount]) -> Result<OwnedFd> {
    match mounts {
        [one] if one.r#type == "overlay" => overlay(one),
        [one] if is_bind(one) => open_dir(Path::new(&one.source)),
        _ => {
            let types: Vec<&str> = mounts.iter().map(|m| m.r#type.as_str()).collect();
            Err(Error::invalid(format!(
                "users cannot be looked up in a root file system of type {}: give them as numbers, --user UID:GID",
                types.join(", ")
            )))
        }
    }
}

fn is_bind(mount: &Mount) -> bool {
    mount.r#type == "bind" || mount.options.iter().any(|o| o == "bind" || o == "rbind")
}

/// All directories of the overlay, the writable one on top, read-only.
fn overlay(mount: &Mount) -> Result<OwnedFd> {
    let layers = layers(&mount.options);
    match layers.as_slice() {
        [] => Err(Error::invalid("an overlay mount names no directory")),
        [one] => open_dir(Path::new(one)),
        many => merged(many).map_err(Error::io("cannot read the container's root file system")),
    }
}

/// Directories of an overlay, the top one first.
fn layers(options: &[String]) -> Vec<String> {
    let mut layers = Vec::new();
    for option in options {
        if let Some(upper) = option.strip_prefix("upperdir=") {
            layers.insert(0, upper.to_owned());
        } else if let Some(lower) = option.strip_prefix("lowerdir=") {
            layers.extend(lower.split(':').map(Into::into));
        } else if let Some(lower) = option.strip_prefix("lowerdir+=") {
            layers.push(lower.to_owned());
        }
    }
    layers
}

fn merged(layers: &[String]) -> rustix::io::Result<OwnedFd> {
    let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let fs = &context;
    match layers.iter().try_for_each(|l| rustix::mount::fsconfig_set_string(fs, "lowerdir+", l.as_str())) {
        Ok(()) => {}
        // kernels before 6.8 know only the joined form
        Err(Errno::INVAL) => rustix::mount::fsconfig_set_string(fs, "lowerdir", layers.join(":"))?,
        Err(e) => return Err(e),
    }
    rustix::mount::fsconfig_create(fs)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOEXEC
        | MountAttrFlags::MOUNT_ATTR_NODEV;
    rustix::mount::fsmount(fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// A regular file inside the root, whole; empty when there is none.
fn read(root: &OwnedFd, path: &str) -> Result<Vec<u8>> {
    let what = || format!("cannot read {path} of the container");
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Vec::new()),
        Err(e) => return Err(Error::io(what())(e)),
    };
    let stat = rustix::fs::fstat(&file).map_err(Error::io(what()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Error::invalid(format!("{}: it is not a regular file", what())));
    }
    let mut bytes = Vec::new();
    let limit = base::user::MAX_FILE;
    std::fs::File::from(file).take(limit + 1).read_to_end(&mut bytes).map_err(Error::io(what()))?;
    if bytes.len() as u64 > limit {
        return Err(Error::invalid(format!("{}: it is larger than {limit} bytes", what())));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn tree(dir: &Path, passwd: &str) {
        fs::create_dir_all(dir.join("etc")).unwrap();
        fs::write(dir.join("etc/passwd"), passwd).unwrap();
    }

    #[test]
    fn files_are_read_and_missing_ones_are_empty() {
        let dir = tempfile::tempdir().unwrap();
        tree(dir.path(), "root:x:0:0");
        let files = user_files(Rootfs::Dir(dir.path())).unwrap();
        assert_eq!(files.passwd, b"root:x:0:0");
        assert!(files.group.is_empty());
    }

    #[test]
    fn a_link_does_not_lead_out() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("root/etc")).unwrap();
        fs::write(dir.path().join("secret"), "out").unwrap();
        symlink("../../secret", dir.path().join("root/etc/passwd")).unwrap();
        symlink("/etc/shadow", dir.path().join("root/etc/group")).unwrap();
        let files = user_files(Rootfs::Dir(&dir.path().join("root"))).unwrap();
        assert!(files.passwd.is_empty() && files.group.is_empty());
    }

    #[test]
    fn a_fifo_or_device_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("etc")).unwrap();
        rustix::fs::mknodat(CWD, dir.path().join("etc/passwd"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        let e = user_files(Rootfs::Dir(dir.path())).unwrap_err();
        assert!(base::chain(&e).contains("not a regular file"));
    }

    #[test]
    fn an_overlay_is_read_top_layer_first_without_being_mounted() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for (name, passwd) in [("a", "from a"), ("b", "from b"), ("c", "from c")] {
            tree(&at(name), passwd);
        }
        fs::write(at("c").join("etc/group"), "group of c").unwrap();
        fs::create_dir(at("up")).unwrap();
        let options = vec![
            format!("workdir={}", at("w").display()),
            format!("upperdir={}", at("up").display()),
            format!("lowerdir={}:{}:{}", at("a").display(), at("b").display(), at("c").display()),
        ];
        let mount = Mount { r#type: "overlay".into(), source: "overlay".into(), options, ..Mount::default() };
        let files = match user_files(Rootfs::Mounts(&[mount])) {
            Ok(files) => files,
            // an overlay on an overlay is not possible everywhere
            Err(e) => return assert!(base::chain(&e).contains("root file system")),
        };
        assert_eq!(files.passwd, b"from a");
        assert_eq!(files.group, b"group of c");
        // A mount of it would name its directories; what others mount meanwhile does not count.
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(dir.path().to_str().unwrap()), "{mounts}");
    }
}
