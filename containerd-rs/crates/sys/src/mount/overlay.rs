//! Overlay mounts with any number of layers.
//!
//! mount(2) takes one page of options, about 60 layers. What fits goes that way, because then `/proc/self/mountinfo` shows the
//! `lowerdir=` that other tools look for. Longer lists go through the new mount API, one call per layer (Linux 6.7), and on older
//! kernels through mount(2) with paths relative to the directory that all layers share.

use std::os::fd::OwnedFd;
use std::path::Path;

use base::Mount;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags};

use super::apply::{Target, classic, mount_error, page_size};
use super::idmapped::MappedLowers;
use super::lowers::{self, Lower, below_common_directory, split_unescaped, unescape};
use super::options::Parsed;
use crate::error::{Context, Error, Result};

/// Longest value that fsconfig(2) takes as a string, terminator included.
const MAX_VALUE: usize = 256;

pub(super) fn mount(m: &Mount, parsed: Parsed, target: &Target) -> Result<()> {
    let mut options: Vec<String> =
        parsed.data.iter().flat_map(|o| split_unescaped(o, ',')).filter(|o| !o.is_empty()).collect();
    let mut layers = Vec::new();
    options.retain(|o| match o.strip_prefix("lowerdir=") {
        Some(value) => {
            layers = lowers::parse(value);
            false
        }
        None => true,
    });
    // The kernel clones the layers when it mounts; the temporary clone with its map is not needed after that.
    let mapped = match parsed.maps() {
        Some((uids, gids)) if !layers.is_empty() => Some(MappedLowers::new(uids, gids, &layers)?),
        _ => None,
    };
    let layers = mapped.as_ref().map_or(layers, |m| m.layers.clone());
    let request = Request { source: &m.source, flags: parsed.flags, options, layers };
    let data = request.data(&request.layers);
    if data.len() < page_size() {
        return classic(&m.source, target, "overlay", parsed.flags, &data);
    }
    match request.by_layers(target) {
        // A kernel without the API, or without layers one by one.
        Err(e) if e.is_errno(Errno::NOSYS) || e.is_errno(Errno::INVAL) => {
            request.by_relative_paths(target).map_err(|old| match old {
                Error::Invalid(_) => e,
                old => old,
            })
        }
        other => other,
    }
}

struct Request<'a> {
    source: &'a str,
    flags: u32,
    /// All options but `lowerdir`, one each.
    options: Vec<String>,
    layers: Vec<Lower>,
}

impl Request<'_> {
    fn data(&self, layers: &[Lower]) -> String {
        let mut all = self.options.clone();
        if !layers.is_empty() {
            all.push(format!("lowerdir={}", lowers::join(layers)));
        }
        all.join(",")
    }

    /// fsopen, fsconfig for each option and layer, fsmount, move_mount.
    fn by_layers(&self, target: &Target) -> Result<()> {
        let failed =
            |errno| mount_error(self.source, target, "overlay", self.flags, &self.data(&self.layers), errno);
        let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(failed)?;
        if !self.source.is_empty() && self.source.len() < MAX_VALUE {
            rustix::mount::fsconfig_set_string(&context, "source", self.source).map_err(failed)?;
        }
        for (bit, name) in
            [(libc::MS_RDONLY, "ro"), (libc::MS_SYNCHRONOUS, "sync"), (libc::MS_DIRSYNC, "dirsync")]
        {
            if self.flags & bit as u32 != 0 {
                rustix::mount::fsconfig_set_flag(&context, name).map_err(failed)?;
            }
        }
        for option in &self.options {
            self.set_option(&context, option).map_err(failed)?;
        }
        for layer in &self.layers {
            let key = if layer.data_only { "datadir+" } else { "lowerdir+" };
            set_path(&context, key, &layer.path(), &layer.path()).map_err(failed)?;
        }
        rustix::mount::fsconfig_create(&context).map_err(failed)?;
        let made = rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes(self.flags))
            .map_err(failed)?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
        rustix::mount::move_mount(&made, "", CWD, &target.kernel, flags).map_err(failed)
    }

    fn set_option(&self, context: &OwnedFd, option: &str) -> Result<(), Errno> {
        match option.split_once('=') {
            None => rustix::mount::fsconfig_set_flag(context, option),
            Some((key @ ("upperdir" | "workdir"), value)) => set_path(context, key, value, &unescape(value)),
            // Quotes protect commas in the option string only.
            Some((key, value)) => rustix::mount::fsconfig_set_string(context, key, value.trim_matches('"')),
        }
    }

    /// mount(2) from inside the directory that holds all layers.
    fn by_relative_paths(&self, target: &Target) -> Result<()> {
        let too_long = |len| Error::Invalid(format!("mount options of {len} bytes are too long"));
        let Some((directory, relative)) = below_common_directory(&self.layers) else {
            return Err(too_long(self.data(&self.layers).len()));
        };
        let data = self.data(&relative);
        if data.len() >= page_size() {
            return Err(too_long(data.len()));
        }
        inside(Path::new(&directory), || classic(self.source, target, "overlay", self.flags, &data))
    }
}

/// Gives a path to fsconfig; `spelled` as a string when it is short enough, `path` as an open directory (Linux 6.13) when not.
fn set_path(context: &OwnedFd, key: &str, spelled: &str, path: &str) -> Result<(), Errno> {
    if spelled.len() < MAX_VALUE {
        return rustix::mount::fsconfig_set_string(context, key, spelled);
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(path, flags, Mode::empty())?;
    rustix::mount::fsconfig_set_fd(context, key, &directory)
}

fn attributes(flags: u32) -> MountAttrFlags {
    let table = [
        (libc::MS_RDONLY, MountAttrFlags::MOUNT_ATTR_RDONLY),
        (libc::MS_NOSUID, MountAttrFlags::MOUNT_ATTR_NOSUID),
        (libc::MS_NODEV, MountAttrFlags::MOUNT_ATTR_NODEV),
        (libc::MS_NOEXEC, MountAttrFlags::MOUNT_ATTR_NOEXEC),
        (libc::MS_NODIRATIME, MountAttrFlags::MOUNT_ATTR_NODIRATIME),
        (libc::MS_NOATIME, MountAttrFlags::MOUNT_ATTR_NOATIME),
        (libc::MS_STRICTATIME, MountAttrFlags::MOUNT_ATTR_STRICTATIME),
        (libc::MS_NOSYMFOLLOW, MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW),
    ];
    table
        .iter()
        .filter(|(bit, _)| flags & *bit as u32 != 0)
        .fold(MountAttrFlags::empty(), |all, (_, attr)| all | *attr)
}

/// Runs `work` in a thread that has a working directory of its own, so that the process keeps its.
fn inside<T: Send>(directory: &Path, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let run = || {
        // SAFETY: CLONE_FS parts working directory, root and umask from the other threads and nothing else; the thread ends right
        // after `work`, so nothing that relies on the shared ones runs in it.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FS) }
            .doing("unshare working directory")?;
        rustix::process::chdir(directory).on("change directory to", directory)?;
        work()
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("mount".to_owned())
            .stack_size(256 << 10)
            .spawn_scoped(scope, run);
        let thread = thread.doing("start a thread to mount in")?;
        thread.join().unwrap_or_else(|_| Err(Error::Invalid("the mounting thread panicked".to_owned())))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_directory_of_its_own_for_one_thread() {
        let before = std::env::current_dir().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let wanted = dir.path().canonicalize().unwrap();
        let seen = inside(dir.path(), || Ok(std::env::current_dir().unwrap())).unwrap();
        assert_eq!(seen, wanted);
        assert_eq!(std::env::current_dir().unwrap(), before);
        assert!(inside(&dir.path().join("missing"), || Ok(())).unwrap_err().is_not_found());
    }

    /// Layers `0..count`, each with a file of its number, below a directory with a long name.
    fn layers(dir: &Path, count: usize) -> Vec<Lower> {
        let snapshots = dir.join("a-rather-long-name-of-a-plugin-directory/snapshots");
        let make = |i: usize| {
            let path = snapshots.join(format!("{i}/fs"));
            std::fs::create_dir_all(&path).unwrap();
            std::fs::write(path.join(format!("file{i}")), i.to_string()).unwrap();
            Lower { escaped: path.to_string_lossy().into_owned(), data_only: false }
        };
        (0..count).map(make).collect()
    }

    #[test]
    fn both_ways_past_the_page_work_with_the_process_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let merged = dir.path().join("merged");
        std::fs::create_dir(&merged).unwrap();
        let request = Request {
            source: "overlay",
            flags: 0,
            options: vec!["index=off".to_owned()],
            layers: layers(dir.path(), 120),
        };
        assert!(request.data(&request.layers).len() > page_size());
        let target = Target::at(&merged);
        type Way<'a> = fn(&Request<'a>, &Target) -> Result<()>;
        for way in [Request::by_layers as Way<'_>, Request::by_relative_paths as Way<'_>] {
            way(&request, &target).unwrap();
            let count = std::fs::read_dir(&merged).unwrap().count();
            crate::mount::unmount_all(&merged, crate::mount::UnmountFlags::empty()).unwrap();
            assert_eq!(count, 120);
        }
        let longer = Request { layers: layers(dir.path(), 450), ..request };
        assert!(matches!(longer.by_relative_paths(&target), Ok(())), "450 short names fit a page");
        crate::mount::unmount_all(&merged, crate::mount::UnmountFlags::empty()).unwrap();
        let apart = Request { layers: lowers::parse(&format!("/a/{0}:/b/{0}", "x".repeat(4000))), ..longer };
        assert!(matches!(apart.by_relative_paths(&target), Err(Error::Invalid(_))));
    }

    #[test]
    fn layer_paths_longer_than_a_string_value_go_by_descriptor() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d".repeat(200)).join("e".repeat(200));
        let merged = dir.path().join("merged");
        std::fs::create_dir(&merged).unwrap();
        let request = Request {
            source: "overlay",
            flags: libc::MS_RDONLY as u32,
            options: Vec::new(),
            layers: layers(&deep, 3),
        };
        request.by_layers(&Target::at(&merged)).unwrap();
        let seen = std::fs::read_dir(&merged).unwrap().count();
        let written = std::fs::write(merged.join("x"), "");
        crate::mount::unmount_all(&merged, crate::mount::UnmountFlags::empty()).unwrap();
        assert_eq!(seen, 3);
        assert_eq!(written.unwrap_err().raw_os_error(), Some(libc::EROFS));
    }
}
