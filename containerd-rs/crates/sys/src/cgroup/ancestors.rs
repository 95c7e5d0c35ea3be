//! Whose limit was hit: a process is killed in its own group for want of memory in any group above it, too.

use std::path::{Path, PathBuf};

use super::text;

/// The group whose limit brought the kernel to kill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OomCause {
    /// Its directory.
    pub group: PathBuf,
    /// How many groups it is above the one that is watched; 0: that one itself.
    pub levels_up: usize,
    /// Version 1 does not tell a limit that was hit from one that only made the kernel look for memory: when more than
    /// one group was at its limit, this is the nearest, and false.
    pub certain: bool,
    /// Version 2: the whole group was killed (`memory.oom.group`).
    pub whole_group: bool,
}

/// How the counters of a group and of those above it stood.
#[derive(Debug)]
pub(super) struct Ancestors {
    counter: Counter,
    levels: Vec<(PathBuf, u64)>,
    group_kills: u64,
}

/// What counts the times that a group was at its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counter {
    /// `oom` of `memory.events.local` (Linux 5.2): the group's own.
    Local,
    /// `oom` of `memory.events`: those of the groups below are in there as well.
    Hierarchical,
    /// Version 1: `memory.failcnt`.
    Failures,
}

impl Counter {
    fn read(self, dir: &Path) -> Option<u64> {
        match self {
            Counter::Failures => text::read(dir, "memory.failcnt").ok()??.trim().parse().ok(),
            Counter::Local => events(dir, "memory.events.local", "oom"),
            Counter::Hierarchical => events(dir, "memory.events", "oom"),
        }
    }
}

fn events(dir: &Path, file: &str, key: &str) -> Option<u64> {
    text::table(dir, file).ok()??.get(key).copied()
}

impl Ancestors {
    /// Version 2: how the counters stand now, from `dir` up to the last one that has any.
    pub(super) fn v2(dir: &Path) -> Ancestors {
        let local = Counter::Local.read(dir).is_some();
        Ancestors::of(dir, if local { Counter::Local } else { Counter::Hierarchical })
    }

    /// Version 1.
    pub(super) fn v1(dir: &Path) -> Ancestors {
        Ancestors::of(dir, Counter::Failures)
    }

    fn of(dir: &Path, counter: Counter) -> Ancestors {
        let levels = dir.ancestors().map_while(|dir| Some((dir.to_owned(), counter.read(dir)?))).collect();
        Ancestors { counter, levels, group_kills: group_kills(dir) }
    }

    /// After a kill: who was at its limit since the last call. `None`: nobody in here, so the machine itself had no memory
    /// left (or the group is gone).
    pub(super) fn cause(&mut self) -> Option<OomCause> {
        let mut hit = Vec::new();
        for (levels_up, (dir, seen)) in self.levels.iter_mut().enumerate() {
            let Some(now) = self.counter.read(dir) else { continue };
            if now > *seen {
                hit.push((levels_up, dir.clone()));
            }
            *seen = now;
        }
        let mine = self.levels.first().map(|(dir, _)| group_kills(dir)).unwrap_or_default();
        let whole_group = mine > self.group_kills;
        self.group_kills = mine;
        let several = hit.len() > 1;
        let (levels_up, group) = hit.into_iter().next()?;
        // What is counted in groups above as well is of the lowest that counts it.
        let certain = self.counter == Counter::Hierarchical || !several;
        Some(OomCause { group, levels_up, certain, whole_group })
    }
}

fn group_kills(dir: &Path) -> u64 {
    events(dir, "memory.events", "oom_group_kill").unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    /// `root/pod/ctr`, of which the last two have counters, as recorded on a machine with version 2.
    struct Tree(tempfile::TempDir);

    impl Tree {
        fn new() -> Tree {
            let tree = Tree(tempfile::tempdir().unwrap());
            std::fs::create_dir_all(tree.dir("pod/ctr")).unwrap();
            tree
        }

        fn dir(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn v2(&self, group: &str, file: &str, oom: u64, group_kills: u64) {
            let text = format!(
                "low 0\nhigh 0\nmax 31\noom {oom}\noom_kill {oom}\noom_group_kill {group_kills}\nsock_throttled 0\n"
            );
            std::fs::write(self.dir(group).join(file), text).unwrap();
        }
    }

    #[test]
    fn version_2_tells_by_the_groups_own_counters() {
        let tree = Tree::new();
        let both = |pod: u64, ctr: u64, whole: u64| {
            tree.v2("pod", "memory.events.local", pod, 0);
            tree.v2("pod/ctr", "memory.events.local", ctr, 0);
            tree.v2("pod", "memory.events", pod + ctr, whole);
            tree.v2("pod/ctr", "memory.events", ctr, whole);
        };
        both(0, 0, 0);
        let mut ancestors = Ancestors::v2(&tree.dir("pod/ctr"));
        assert_eq!(ancestors.cause(), None, "the machine's own want of memory is nobody's limit");
        both(0, 1, 0);
        let own = ancestors.cause().unwrap();
        assert_eq!(
            (own.group, own.levels_up, own.certain, own.whole_group),
            (tree.dir("pod/ctr"), 0, true, false)
        );
        both(1, 1, 1);
        let pods = ancestors.cause().unwrap();
        assert_eq!(
            (pods.group, pods.levels_up, pods.certain, pods.whole_group),
            (tree.dir("pod"), 1, true, true)
        );
        assert_eq!(ancestors.cause(), None, "told once");
        both(2, 2, 1);
        assert!(!ancestors.cause().unwrap().certain);
    }

    #[test]
    fn an_older_kernel_counts_in_the_groups_above_too() {
        let tree = Tree::new();
        let both = |pod: u64, ctr: u64| {
            tree.v2("pod", "memory.events", pod, 0);
            tree.v2("pod/ctr", "memory.events", ctr, 0);
        };
        both(3, 1);
        let mut ancestors = Ancestors::v2(&tree.dir("pod/ctr"));
        both(4, 2);
        let own = ancestors.cause().unwrap();
        assert_eq!((own.levels_up, own.certain), (0, true));
        both(5, 2);
        assert_eq!(ancestors.cause().unwrap().levels_up, 1);
        std::fs::remove_dir_all(tree.dir("pod/ctr")).unwrap();
        assert_eq!(ancestors.cause(), None);
    }

    #[test]
    fn version_1_says_when_it_is_not_sure() {
        let tree = Tree::new();
        let both = |pod: u64, ctr: u64| {
            std::fs::write(tree.dir("pod/memory.failcnt"), format!("{pod}\n")).unwrap();
            std::fs::write(tree.dir("pod/ctr/memory.failcnt"), format!("{ctr}\n")).unwrap();
        };
        both(7, 0);
        let mut ancestors = Ancestors::v1(&tree.dir("pod/ctr"));
        both(9, 0);
        let cause = ancestors.cause().unwrap();
        assert_eq!((cause.levels_up, cause.certain), (1, true));
        both(10, 5);
        let cause = ancestors.cause().unwrap();
        assert_eq!((cause.levels_up, cause.certain), (0, false));
    }
}
