//! What a dead shim leaves running: its container's first process and everything in that one's cgroup.

use std::fs;

use rustix::process::Signal;
use sys::pidfd::Pidfd;

use crate::bundle::Bundle;

/// The container's first process, taken down while it can still be told apart from a stranger.
pub(crate) struct Leftovers {
    init: Option<Pidfd>,
}

impl Leftovers {
    /// Looks at the process `pid` (or the one in `init.pid`). It counts as the container's only when its cgroup
    /// carries the container's id.
    pub(crate) fn find(bundle: &Bundle, pid: u32) -> Self {
        let nothing = Self { init: None };
        let Some(pid) = Some(pid).filter(|pid| *pid > 1).or_else(|| bundle.init_pid()) else {
            return nothing;
        };
        let Ok(init) = Pidfd::open(pid) else { return nothing };
        let Ok(text) = fs::read_to_string(format!("/proc/{pid}/cgroup")) else { return nothing };
        if names(&text, &bundle.id) { Self { init: Some(init) } } else { nothing }
    }

    /// Kills what is left. Blocking.
    pub(crate) fn kill(&self) {
        if let Some(init) = &self.init
            && !init.is_exited().unwrap_or(true)
        {
            let _ = init.send_signal(Signal::KILL.as_raw());
        }
    }
}

/// Whether one of the cgroups in `/proc/PID/cgroup` ends in the container's id: `/default/ID`, `cri-containerd-ID.scope`.
fn names(text: &str, id: &str) -> bool {
    text.lines().filter_map(|line| line.splitn(3, ':').nth(2)).any(|path| {
        let last = path.rsplit('/').next().unwrap_or_default();
        let last = last.strip_suffix(".scope").unwrap_or(last);
        last.strip_suffix(id).is_some_and(|before| before.is_empty() || before.ends_with(['-', ':']))
    })
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn a_cgroup_belongs_to_the_container_whose_id_it_ends_in() {
        assert!(names("4:memory:/default/c1\n0::/x\n", "c1"));
        assert!(names("0::/kubepods.slice/cri-containerd-c1.scope\n", "c1"));
        assert!(names("0::/system.slice:nerdctl:c1\n", "c1"));
        for other in ["0::/default/xc1\n", "0::/\n", "0::/c1/inner\n", "4:memory:/default/c10\n", ""] {
            assert!(!names(other, "c1"), "{other}");
        }
    }
}
