//! What this process is allowed, and what it leaves to its children.

use std::path::PathBuf;

use caps::{CapSet, Capability, CapsHashSet};
use rustix::process::Signal;

use crate::error::{Context, Error, Result};
use crate::fs::read_text;

/// Makes orphaned descendants children of this process (`PR_SET_CHILD_SUBREAPER`).
pub fn set_subreaper(on: bool) -> Result<()> {
    // Any pid means "on"; the kernel looks only at zero or not.
    let value = if on { Some(rustix::process::getpid()) } else { None };
    rustix::process::set_child_subreaper(value).doing("set child subreaper")
}

/// Asks for `signal` when the thread that started this process ends. `None` switches it off.
pub fn set_pdeathsig(signal: Option<i32>) -> Result<()> {
    let signal = match signal {
        None => None,
        Some(n) => {
            Some(Signal::from_named_raw(n).ok_or_else(|| Error::Invalid(format!("not a signal: {n}")))?)
        }
    };
    rustix::process::set_parent_process_death_signal(signal).doing("set parent death signal")
}

/// Forbids this thread and its children to gain privileges by exec. Cannot be undone.
pub fn no_new_privs() -> Result<()> {
    rustix::thread::set_no_new_privs(true).doing("set no_new_privs")
}

/// Keeps at most the capabilities in `keep`, in every set of the calling thread (bounding, ambient, inheritable, permitted, effective).
/// Cannot be undone.
pub fn drop_caps(keep: &[Capability]) -> Result<()> {
    let failed = |what: &str, e: caps::errors::CapsError| Error::Call {
        what: format!("{what}: {e}"),
        source: std::io::Error::last_os_error(),
    };
    for cap in caps::all() {
        let in_bounding = caps::has_cap(None, CapSet::Bounding, cap).unwrap_or(false);
        if in_bounding && !keep.contains(&cap) {
            caps::drop(None, CapSet::Bounding, cap).map_err(|e| failed("drop from the bounding set", e))?;
        }
    }
    let have = caps::read(None, CapSet::Permitted).map_err(|e| failed("read capabilities", e))?;
    let kept: CapsHashSet = keep.iter().copied().filter(|c| have.contains(c)).collect();
    caps::clear(None, CapSet::Ambient).map_err(|e| failed("clear ambient capabilities", e))?;
    caps::clear(None, CapSet::Inheritable).map_err(|e| failed("clear inheritable capabilities", e))?;
    caps::set(None, CapSet::Effective, &kept).map_err(|e| failed("set effective capabilities", e))?;
    caps::set(None, CapSet::Permitted, &kept).map_err(|e| failed("set permitted capabilities", e))
}

/// Marks every descriptor from `first` on as close-on-exec. Safe at any time, also between fork and exec.
pub fn set_close_on_exec_above(first: u32) -> Result<()> {
    // SAFETY: the call touches no memory of ours, and with CLOSE_RANGE_CLOEXEC no descriptor is closed.
    let rc = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if rc == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()).doing("close_range") }
}

/// Closes every descriptor from `first` on: those that somebody left open for this program. Only at its start, while nothing of its own is
/// open.
pub fn close_inherited(first: u32) -> Result<()> {
    // SAFETY: the call touches no memory of ours; the caller has nothing open that owns one of these numbers.
    let rc = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
    if rc == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()).doing("close inherited descriptors") }
}

/// The `oom_score_adj` of a process; `None` means this one.
pub fn oom_score_adj(pid: Option<u32>) -> Result<i32> {
    let path = oom_path(pid);
    let text = read_text(&path, 64)?;
    text.trim()
        .parse()
        .map_err(|_| Error::Malformed { path, what: format!("not a number: {:?}", text.trim()) })
}

/// Sets the `oom_score_adj` of a process, from -1000 (never killed) to 1000. Lowering it needs CAP_SYS_RESOURCE.
pub fn set_oom_score_adj(pid: Option<u32>, score: i32) -> Result<()> {
    if !(-1000..=1000).contains(&score) {
        return Err(Error::Invalid(format!(
            "value out of range ({score}): OOM score must be between -1000 and 1000"
        )));
    }
    let path = oom_path(pid);
    std::fs::write(&path, score.to_string()).on("write", &path)
}

/// Raises this process's OOM score to its own plus `by`, at most 1000. Gives the new score.
pub fn adjust_oom_score(by: i32) -> Result<i32> {
    let score = (oom_score_adj(None)?.saturating_add(by)).clamp(-1000, 1000);
    set_oom_score_adj(None, score)?;
    Ok(score)
}

fn oom_path(pid: Option<u32>) -> PathBuf {
    match pid {
        Some(pid) => PathBuf::from(format!("/proc/{pid}/oom_score_adj")),
        None => PathBuf::from("/proc/self/oom_score_adj"),
    }
}

/// Gives the thread group of this process a core scheduling cookie of its own.
pub fn core_sched_create() -> Result<()> {
    let scope = rustix::thread::CoreSchedulingScope::ThreadGroup;
    rustix::thread::create_core_scheduling_cookie(rustix::process::getpid(), scope)
        .doing("create core scheduling cookie")
}

/// Switches transparent huge pages off (or on again) for this process.
pub fn thp_disable(off: bool) -> Result<()> {
    rustix::thread::disable_transparent_huge_pages(off).doing("disable transparent huge pages")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn oom_score_is_read_raised_and_range_checked() {
        let before = oom_score_adj(None).unwrap();
        assert_eq!(oom_score_adj(Some(std::process::id())).unwrap(), before);
        assert!(matches!(set_oom_score_adj(None, 1001), Err(Error::Invalid(_))));
        assert!(matches!(set_oom_score_adj(None, -1001), Err(Error::Invalid(_))));
        // On a child of our own, so that this test process stays as it is.
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        set_oom_score_adj(Some(child.id()), 1000).unwrap();
        assert_eq!(oom_score_adj(Some(child.id())).unwrap(), 1000);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(oom_score_adj(Some(u32::MAX)).unwrap_err().is_not_found());
    }

    #[test]
    fn subreaper_and_thp_take_effect() {
        set_subreaper(true).unwrap();
        assert!(rustix::process::child_subreaper().unwrap().is_some());
        set_subreaper(false).unwrap();
        assert!(rustix::process::child_subreaper().unwrap().is_none());
        thp_disable(true).unwrap();
        assert!(rustix::thread::transparent_huge_pages_are_disabled().unwrap());
        thp_disable(false).unwrap();
        assert!(matches!(set_pdeathsig(Some(4000)), Err(Error::Invalid(_))));
    }

    #[test]
    fn capabilities_and_privileges_are_dropped_for_good() {
        // Capabilities and no_new_privs belong to a thread: a fresh one carries them to its grave.
        std::thread::spawn(|| {
            drop_caps(&[Capability::CAP_CHOWN]).unwrap();
            let only: CapsHashSet = [Capability::CAP_CHOWN].into_iter().collect();
            for set in [CapSet::Permitted, CapSet::Effective] {
                let have = caps::read(None, set).unwrap();
                assert!(have.is_subset(&only), "{set:?}: {have:?}");
            }
            assert!(caps::read(None, CapSet::Ambient).unwrap().is_empty());
            assert!(!caps::has_cap(None, CapSet::Bounding, Capability::CAP_SYS_ADMIN).unwrap());
            assert!(caps::raise(None, CapSet::Effective, Capability::CAP_SYS_ADMIN).is_err());
            no_new_privs().unwrap();
            assert!(rustix::thread::no_new_privs().unwrap());
        })
        .join()
        .unwrap();
    }

    #[test]
    fn descriptors_are_marked_close_on_exec() {
        use rustix::io::FdFlags;
        let file = std::fs::File::open("/dev/null").unwrap();
        let high = rustix::io::fcntl_dupfd_cloexec(&file, 700).unwrap();
        rustix::io::fcntl_setfd(&high, FdFlags::empty()).unwrap();
        set_close_on_exec_above(700).unwrap();
        assert!(rustix::io::fcntl_getfd(&high).unwrap().contains(FdFlags::CLOEXEC));
    }
}
