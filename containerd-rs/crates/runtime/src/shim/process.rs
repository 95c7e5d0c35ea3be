//! Shim processes by pid: told apart from whoever has the number now.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use sys::pidfd::Pidfd;

/// A shim's process.
pub(crate) struct ShimProcess {
    pub(crate) pid: u32,
    fd: Pidfd,
}

impl ShimProcess {
    /// Takes `pid` for the shim's when its working directory is below `state`, as every shim's is. A shim that names
    /// another process is not believed.
    pub(crate) fn open(pid: u32, state: &Path) -> Option<Self> {
        if pid <= 1 {
            return None;
        }
        let fd = Pidfd::open(pid).ok()?;
        let cwd = fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
        cwd.starts_with(state).then_some(Self { pid, fd })
    }

    pub(crate) fn has_exited(&self) -> bool {
        self.fd.is_exited().unwrap_or(true)
    }

    pub(crate) fn kill(&self) {
        // It may have gone by itself.
        let _ = self.fd.send_signal(Signal::KILL.as_raw());
    }
}

/// Kills every process whose working directory is `dir`: a shim, its `start`, and the runtimes it called. Waits a
/// moment for them to go. Blocking; gives the number of processes killed.
pub(crate) fn kill_in_directory(dir: &Path) -> usize {
    let Ok(here) = fs::metadata(dir) else { return 0 };
    let Ok(processes) = fs::read_dir("/proc") else { return 0 };
    let own = std::process::id();
    let mut killed = Vec::new();
    for entry in processes.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if pid <= 1 || pid == own {
            continue;
        }
        // Open first, look second: the look is then about the process that is signalled.
        let Ok(fd) = Pidfd::open(pid) else { continue };
        let inside = fs::metadata(format!("/proc/{pid}/cwd"))
            .is_ok_and(|cwd| cwd.dev() == here.dev() && cwd.ino() == here.ino());
        if inside && fd.send_signal(Signal::KILL.as_raw()).is_ok() {
            killed.push(fd);
        }
    }
    for fd in &killed {
        let _ = fd.wait_exited(Duration::from_millis(500));
    }
    killed.len()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    #[test]
    fn only_what_runs_in_the_directory_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        let mut inside = Command::new("sleep").arg("60").current_dir(dir.path()).spawn().unwrap();
        let mut outside = Command::new("sleep").arg("60").current_dir(other.path()).spawn().unwrap();
        assert!(ShimProcess::open(inside.id(), dir.path()).is_some());
        assert!(ShimProcess::open(outside.id(), dir.path()).is_none(), "not believed");
        assert!(ShimProcess::open(1, Path::new("/")).is_none());
        assert_eq!(kill_in_directory(dir.path()), 1);
        assert_eq!(inside.wait().unwrap().signal(), Some(9));
        assert!(outside.try_wait().unwrap().is_none());
        outside.kill().unwrap();
        outside.wait().unwrap();
    }
}
