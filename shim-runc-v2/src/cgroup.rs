//! Where a container's processes are accounted: what they use, who was killed for memory, who is left.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use base::{Error, Kinded};
use sys::cgroup::{Cgroup as Kernel, MOUNT_POINT, OomCause, OomWatch, Stats};

use crate::io::watch::{self, Watched};
use crate::logger::{debug, warning};
use crate::systemd::cgroup_path;

/// The key that the one directory of a version 2 group has in [`Dirs`].
const UNIFIED: &str = "";

/// Directories of a group, by controller.
pub(crate) type Dirs = BTreeMap<String, PathBuf>;

/// The cgroup of a container.
pub(crate) struct Cgroup {
    group: Kernel,
    oom: Option<Mutex<OomWatch>>,
    saw_oom: AtomicBool,
    cause: Mutex<Option<String>>,
}

impl Cgroup {
    /// The group that a process is in; `None` when it is gone or cgroups cannot be read.
    pub(crate) fn of(pid: u32) -> Option<Cgroup> {
        let group = Kernel::of_pid(pid).ok()?;
        let oom = match group.watch_oom() {
            Ok(watch) => Some(Mutex::new(watch)),
            Err(e) => {
                warning!("memory of {pid} is not watched: {}", base::chain(&e));
                None
            }
        };
        Some(Cgroup { group, oom, saw_oom: AtomicBool::new(false), cause: Mutex::default() })
    }

    /// The directories that the container does not share with the shim: whoever is in there may be killed.
    pub(crate) fn own_dirs(&self) -> Dirs {
        let ours = Kernel::of_pid(std::process::id()).ok();
        let dirs: Dirs = match &self.group {
            Kernel::V1(dirs) => dirs.clone(),
            Kernel::V2(dir) => Dirs::from([(UNIFIED.to_owned(), dir.clone())]),
        };
        let is_own = |key: &str, dir: &Path| {
            ours.as_ref().and_then(|o| o.dir(key)).is_none_or(|our| !our.starts_with(dir))
        };
        dirs.into_iter().filter(|(key, dir)| is_own(key, dir)).collect()
    }

    /// Kills everyone in the directories that are the container's own.
    pub(crate) fn kill_own(&self) {
        if let Some(group) = of_dirs(self.own_dirs())
            && let Err(e) = group.kill_all()
        {
            warning!("kill cgroup: {}", base::chain(&e));
        }
    }

    /// Readable when there may be news of memory.
    pub(crate) fn oom_watcher(&self) -> Option<Arc<Watched>> {
        let watch = self.oom.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        watch::readable(watch.as_fd().try_clone_to_owned().ok()?).ok()
    }

    /// Takes the news of memory.
    pub(crate) fn oom_news(&self) -> OomNews {
        let Some(watch) = &self.oom else { return OomNews { kills: 0, notices: 0, gone: true } };
        let mut watch = watch.lock().unwrap_or_else(PoisonError::into_inner);
        let events = watch.read_events().unwrap_or_default();
        if events.kills > 0 {
            self.saw_oom.store(true, Ordering::Relaxed);
            let cause = watch.cause();
            let mut known = self.cause.lock().unwrap_or_else(PoisonError::into_inner);
            // One want of memory may take several lives, told one after the other.
            if cause.is_some() || known.is_none() {
                *known = Some(in_words(cause));
            }
        }
        OomNews { kills: events.kills, notices: events.notices, gone: events.gone }
    }

    /// Whether the kernel has killed for memory in here, as far as [`Cgroup::oom_news`] has told.
    pub(crate) fn saw_oom(&self) -> bool {
        self.saw_oom.load(Ordering::Relaxed)
    }

    /// Whose limit was hit the last time, in words.
    pub(crate) fn oom_cause(&self) -> Option<String> {
        self.cause.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets the groups above this one pass on all controllers. One that cannot is as it was.
    pub(crate) fn enable_controllers(&self) {
        if let Err(e) = self.group.enable_controllers() {
            debug!("{}", base::chain(&e));
        }
    }

    /// What the group uses.
    ///
    /// # Errors
    /// `NotFound` when the group is gone.
    pub(crate) fn stats(&self) -> Result<Stats, Error> {
        if !self.group.exists() {
            return Err(Error::not_found("cgroup does not exist"));
        }
        self.group.stats().map_err(|e| Error::new(e.kind(), "read cgroup statistics").with_source(e))
    }
}

/// "memory limit of /pods/p1, 1 above it": as honest as the kernel's counters are.
fn in_words(cause: Option<OomCause>) -> String {
    let Some(cause) = cause else { return "no group's limit: the machine had no memory left".to_owned() };
    let whole = if cause.whole_group { ", which was killed as a whole" } else { "" };
    let below = cause.group.strip_prefix(MOUNT_POINT).unwrap_or(&cause.group).display();
    let maybe = if cause.certain { "" } else { " (or of one above that)" };
    match cause.levels_up {
        0 => format!("its own memory limit (/{below}){maybe}{whole}"),
        n => format!("memory limit of /{below}, {n} above it{maybe}{whole}"),
    }
}

/// News of memory since the last time.
pub(crate) struct OomNews {
    /// Processes that were killed.
    pub(crate) kills: u64,
    /// Version 1: how often the kernel said that it may have to kill.
    pub(crate) notices: u64,
    /// The group is gone.
    pub(crate) gone: bool,
}

fn of_dirs(mut dirs: Dirs) -> Option<Kernel> {
    match dirs.remove(UNIFIED) {
        Some(dir) => Some(Kernel::V2(dir)),
        None if dirs.is_empty() => None,
        None => Some(Kernel::V1(dirs)),
    }
}

/// Moves a process into a group that exists ("/shims").
///
/// # Errors
/// It does not exist, or the kernel refuses.
pub(crate) fn join(group: &str, pid: u32) -> Result<(), Error> {
    Kernel::at(group)
        .and_then(|g| g.add_process(pid))
        .map_err(|e| Error::unknown(format!("failed to join cgroup {group}")).with_source(e))
}

/// The group that a spec names, in either form, if it exists; empty names none.
pub(crate) fn existing(named: &str) -> Option<Kernel> {
    if named.is_empty() {
        return None;
    }
    let group = Kernel::at(&cgroup_path(named).ok()?).ok()?;
    group.exists().then_some(group)
}

/// Puts a process into the group that a spec names, which is made if need be; empty: it stays where it is.
///
/// # Errors
/// The name is wrong, or the kernel refuses.
pub(crate) fn place(named: &str, pid: u32) -> Result<(), Error> {
    if named.is_empty() {
        return Ok(());
    }
    Kernel::at(&cgroup_path(named)?)
        .and_then(|group| group.create().and_then(|()| group.add_process(pid)))
        .map_err(|e| Error::unknown(format!("enter cgroup {named}")).with_source(e))
}

/// Removes the group that a spec names, with a warning when that fails. (Its processes are dead, or it is not empty.)
pub(crate) fn remove_named(named: &str) {
    if let Some(group) = existing(named)
        && let Err(e) = group.remove()
    {
        warning!("remove cgroup {named}: {}", base::chain(&e));
    }
}

/// The directories of the group that a spec names, those of them that exist.
pub(crate) fn named(group: &str) -> Dirs {
    let dirs = match existing(group) {
        Some(Kernel::V1(dirs)) => dirs,
        Some(Kernel::V2(dir)) => Dirs::from([(UNIFIED.to_owned(), dir)]),
        None => return Dirs::new(),
    };
    dirs.into_iter().filter(|(_, dir)| dir.is_dir()).collect()
}

/// Kills who is left in a container's own directories and removes those, for at most until `until`.
pub(crate) fn kill_and_remove(dirs: Dirs, until: Instant) {
    let Some(group) = of_dirs(dirs) else { return };
    if !group.exists() {
        return;
    }
    if let Err(e) = group.kill_all() {
        warning!("kill leftovers: {}", base::chain(&e));
    }
    while group.procs(true).is_ok_and(|p| !p.is_empty()) && Instant::now() < until {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    if let Err(e) = group.remove() {
        warning!("remove cgroup: {}", base::chain(&e));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn our_own_group_is_nobodys_to_kill() {
        let Some(group) = Cgroup::of(std::process::id()) else { return };
        assert!(group.own_dirs().is_empty());
    }

    #[test]
    fn causes_in_words() {
        let cause = |levels_up, certain, whole_group| {
            in_words(Some(OomCause {
                group: "/sys/fs/cgroup/memory/pod".into(),
                levels_up,
                certain,
                whole_group,
            }))
        };
        assert_eq!(cause(0, true, false), "its own memory limit (/memory/pod)");
        assert_eq!(cause(2, false, false), "memory limit of /memory/pod, 2 above it (or of one above that)");
        assert_eq!(cause(0, true, true), "its own memory limit (/memory/pod), which was killed as a whole");
        assert!(in_words(None).starts_with("no group's limit"));
    }

    #[test]
    fn versions_are_told_apart() {
        assert!(of_dirs(Dirs::new()).is_none());
        assert_eq!(of_dirs(Dirs::from([(String::new(), "/a".into())])), Some(Kernel::V2("/a".into())));
        let v1 = Dirs::from([("memory".to_owned(), PathBuf::from("/m"))]);
        assert_eq!(of_dirs(v1.clone()), Some(Kernel::V1(v1)));
    }
}
