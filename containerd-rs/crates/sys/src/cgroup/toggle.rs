//! Controllers of version 2: a group has those that every group above it passes on.

use std::path::Path;

use super::{Cgroup, MOUNT_POINT, text};
use crate::error::{Context, Result};

/// What a group has.
const HAS: &str = "cgroup.controllers";
/// What it passes on.
const PASSES_ON: &str = "cgroup.subtree_control";

impl Cgroup {
    /// Lets every group above this one pass on all controllers that the root has, so that what the container's own groups
    /// may want is there. Version 1 has no such thing.
    ///
    /// # Errors
    /// The first group that refuses a controller (one with processes of its own does); the others are tried all the same.
    pub fn enable_controllers(&self) -> Result<()> {
        match self {
            Cgroup::V1(_) => Ok(()),
            Cgroup::V2(dir) => enable_below(Path::new(MOUNT_POINT), dir),
        }
    }
}

fn enable_below(root: &Path, group: &Path) -> Result<()> {
    let has = text::read(root, HAS)?.unwrap_or_default();
    let controllers: Vec<&str> = has.split_ascii_whitespace().collect();
    let mut above: Vec<&Path> = group.ancestors().skip(1).take_while(|dir| dir.starts_with(root)).collect();
    above.reverse();
    let mut first = Ok(());
    for dir in above {
        let enabled = enable(dir, &controllers);
        if first.is_ok() {
            first = enabled;
        }
    }
    first
}

/// All that are missing at once; one by one where the kernel refuses that.
fn enable(dir: &Path, controllers: &[&str]) -> Result<()> {
    let on = text::read(dir, PASSES_ON)?.unwrap_or_default();
    let on: Vec<&str> = on.split_ascii_whitespace().collect();
    let missing: Vec<String> =
        controllers.iter().filter(|c| !on.contains(c)).map(|c| format!("+{c}")).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let file = dir.join(PASSES_ON);
    if std::fs::write(&file, missing.join(" ")).is_ok() {
        return Ok(());
    }
    let mut first = Ok(());
    for one in &missing {
        let written = std::fs::write(&file, one).on("enable controllers of", &file);
        if first.is_ok() {
            first = written;
        }
    }
    first
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    /// Files as a machine with version 2 has them; what is written stays to be seen.
    #[test]
    fn every_group_above_passes_on_what_the_root_has() {
        let root = tempfile::tempdir().unwrap();
        let group = root.path().join("kubepods.slice/pod1/ctr");
        std::fs::create_dir_all(&group).unwrap();
        std::fs::write(root.path().join(HAS), "cpuset cpu io memory pids\n").unwrap();
        let passes =
            |dir: &str, text: &str| std::fs::write(root.path().join(dir).join(PASSES_ON), text).unwrap();
        passes("", "cpuset cpu io memory pids\n");
        passes("kubepods.slice", "cpu memory\n");
        passes("kubepods.slice/pod1", "");
        passes("kubepods.slice/pod1/ctr", "");
        enable_below(root.path(), &group).unwrap();
        let now = |dir: &str| std::fs::read_to_string(root.path().join(dir).join(PASSES_ON)).unwrap();
        assert_eq!(now(""), "cpuset cpu io memory pids\n", "nothing is missing there");
        assert_eq!(now("kubepods.slice"), "+cpuset +io +pids");
        assert_eq!(now("kubepods.slice/pod1"), "+cpuset +cpu +io +memory +pids");
        assert_eq!(now("kubepods.slice/pod1/ctr"), "", "its own processes are in that one");
    }

    #[test]
    fn one_that_refuses_does_not_stop_the_others() {
        let root = tempfile::tempdir().unwrap();
        let group = root.path().join("a/b/c");
        std::fs::create_dir_all(&group).unwrap();
        std::fs::write(root.path().join(HAS), "memory\n").unwrap();
        // A directory cannot be written.
        std::fs::create_dir(root.path().join("a").join(PASSES_ON)).unwrap();
        for dir in ["", "a/b"] {
            std::fs::write(root.path().join(dir).join(PASSES_ON), "").unwrap();
        }
        assert!(enable_below(root.path(), &group).is_err());
        assert_eq!(std::fs::read_to_string(root.path().join("a/b").join(PASSES_ON)).unwrap(), "+memory");
        assert!(Cgroup::V1(Default::default()).enable_controllers().is_ok());
    }
}
