//! Which directories a group has.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use super::{Cgroup, MOUNT_POINT, Mode};
use crate::error::{Error, Result};
use crate::fs::read_text;
use crate::mount::{MountInfo, mountinfo};

pub(super) fn of_pid(pid: u32) -> Result<Cgroup> {
    let path = PathBuf::from(format!("/proc/{pid}/cgroup"));
    let text = read_text(&path, 1 << 16).map_err(|e| match e.errno() {
        Some(libc::ESRCH) => Error::path("read", &path, rustix::io::Errno::NOENT),
        _ => e,
    })?;
    let mode = Mode::detect();
    let mounts = if mode == Mode::Unified { Vec::new() } else { mountinfo()? };
    parse(&text, mode, &mounts)
        .ok_or_else(|| Error::Malformed { path, what: "no cgroup path in it".to_owned() })
}

/// Reads lines "4:memory:/path" and "0::/path" (cgroups(7)).
fn parse(text: &str, mode: Mode, mounts: &[MountInfo]) -> Option<Cgroup> {
    let lines = text.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        Some((controllers, path))
    });
    if mode == Mode::Unified {
        let group = lines.filter(|(controllers, _)| controllers.is_empty()).map(|(_, path)| path).next()?;
        return Some(Cgroup::V2(below(Path::new(MOUNT_POINT), Path::new(group))));
    }
    let mut dirs = BTreeMap::new();
    for (controllers, path) in lines {
        if controllers.is_empty()
            && let Some(mount) = v2_tree(mounts)
        {
            dirs.insert(UNIFIED.to_owned(), below(&mount.mount_point, Path::new(path)));
        }
        for controller in controllers.split(',').filter(|c| !c.is_empty()) {
            if let Some(mount) = mount_of(controller, mounts) {
                // Inside a container the mount shows a part of the tree: the path is relative to that.
                let path = Path::new(path);
                let inner = path.strip_prefix(&mount.root).unwrap_or(path);
                dirs.insert(controller.to_owned(), below(&mount.mount_point, inner));
            }
        }
    }
    (!dirs.is_empty()).then_some(Cgroup::V1(dirs))
}

/// The key of the directory in the version 2 tree that a hybrid machine has besides.
const UNIFIED: &str = "unified";

fn v2_tree(mounts: &[MountInfo]) -> Option<&MountInfo> {
    mounts.iter().find(|m| m.fstype == "cgroup2" && m.mount_point.starts_with(MOUNT_POINT))
}

fn mount_of<'a>(controller: &str, mounts: &'a [MountInfo]) -> Option<&'a MountInfo> {
    let has = |m: &&MountInfo| m.fstype == "cgroup" && m.super_options.split(',').any(|o| o == controller);
    mounts.iter().rev().find(has)
}

pub(super) fn at(group: &str) -> Result<Cgroup> {
    let path = Path::new(group);
    if path.components().any(|c| c == Component::ParentDir) || group.contains('\0') {
        return Err(Error::Invalid(format!("invalid cgroup path {group:?}")));
    }
    if Mode::detect() == Mode::Unified {
        return Ok(Cgroup::V2(below(Path::new(MOUNT_POINT), path)));
    }
    let mut dirs = BTreeMap::new();
    let mounts = mountinfo()?;
    if let Some(mount) = v2_tree(&mounts) {
        dirs.insert(UNIFIED.to_owned(), below(&mount.mount_point, path));
    }
    for mount in mounts.iter().filter(|m| m.fstype == "cgroup") {
        for controller in mount.super_options.split(',').filter(|o| is_controller(o)) {
            dirs.insert(controller.to_owned(), below(&mount.mount_point, path));
        }
    }
    Ok(Cgroup::V1(dirs))
}

fn is_controller(option: &str) -> bool {
    const OTHERS: &[&str] =
        &["rw", "ro", "xattr", "clone_children", "noprefix", "cpuset_v2_mode", "favordynmods"];
    !OTHERS.contains(&option) && !option.starts_with("release_agent=")
}

fn below(mount_point: &Path, group: &Path) -> PathBuf {
    mount_point.join(group.strip_prefix("/").unwrap_or(group))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn mount(root: &str, point: &str, options: &str) -> MountInfo {
        MountInfo {
            id: 1,
            parent: 1,
            major: 0,
            minor: 1,
            root: root.into(),
            mount_point: point.into(),
            options: "rw".into(),
            propagation: Vec::new(),
            fstype: "cgroup".into(),
            source: "cgroup".into(),
            super_options: options.into(),
        }
    }

    #[test]
    fn unified_and_legacy_paths() {
        let text = "11:cpu,cpuacct:/pod/a:b\n4:memory:/pod/a:b\n1:name=systemd:/\n0::/unified/x\n";
        assert_eq!(parse(text, Mode::Unified, &[]), Some(Cgroup::V2("/sys/fs/cgroup/unified/x".into())));
        let mounts = [
            mount("/", "/sys/fs/cgroup/cpu,cpuacct", "rw,cpu,cpuacct"),
            mount("/pod", "/sys/fs/cgroup/memory", "rw,memory"),
            mount("/", "/sys/fs/cgroup/systemd", "rw,xattr,name=systemd"),
        ];
        let Some(Cgroup::V1(dirs)) = parse(text, Mode::Hybrid, &mounts) else { panic!("version 1 expected") };
        let expected = [
            ("cpu", "/sys/fs/cgroup/cpu,cpuacct/pod/a:b"),
            ("cpuacct", "/sys/fs/cgroup/cpu,cpuacct/pod/a:b"),
            ("memory", "/sys/fs/cgroup/memory/a:b"),
            ("name=systemd", "/sys/fs/cgroup/systemd/"),
        ];
        assert_eq!(dirs.len(), expected.len());
        // The tree of version 2 that such a machine has besides.
        let mut unified = mount("/", "/sys/fs/cgroup/unified", "rw");
        unified.fstype = "cgroup2".into();
        let Some(Cgroup::V1(both)) = parse(text, Mode::Hybrid, &[mounts[1].clone(), unified]) else {
            panic!()
        };
        assert_eq!(both["unified"], Path::new("/sys/fs/cgroup/unified/unified/x"));
        assert_eq!(both.len(), 2);
        for (controller, dir) in expected {
            assert_eq!(dirs[controller], Path::new(dir));
        }
        assert_eq!(parse("garbage", Mode::Legacy, &mounts), None);
    }

    #[test]
    fn the_group_of_this_process_exists() {
        let own = of_pid(std::process::id()).unwrap();
        assert!(own.exists());
        assert!(of_pid(u32::MAX).unwrap_err().is_not_found());
        assert!(matches!(at("/a/../b"), Err(Error::Invalid(_))));
        let missing = at("/no/such/group").unwrap();
        assert!(!missing.exists() && !missing.dirs().is_empty());
    }
}
