//! What a dead shim leaves running: its container's first process and everything in that one's cgroup.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use sys::cgroup::Cgroup;
use sys::pidfd::Pidfd;

use crate::bundle::Bundle;

/// The container's first process and group, noted while they can still be told apart from a stranger's.
pub(crate) struct Leftovers {
    init: Option<Pidfd>,
    group: Option<Cgroup>,
    /// The same group in the version 2 hierarchy of a hybrid machine, which holds no controller.
    unified: Option<PathBuf>,
}

impl Leftovers {
    /// Looks at the process `pid` (or the one in `init.pid`). It counts as the container's only when its cgroup
    /// carries the container's id.
    pub(crate) fn find(bundle: &Bundle, pid: u32) -> Self {
        let nothing = Self { init: None, group: None, unified: None };
        let Some(pid) = Some(pid).filter(|pid| *pid > 1).or_else(|| bundle.init_pid()) else {
            return nothing;
        };
        let Ok(init) = Pidfd::open(pid) else { return nothing };
        let Ok(text) = fs::read_to_string(format!("/proc/{pid}/cgroup")) else { return nothing };
        let Some(group) = group_of(&text, &bundle.id) else { return nothing };
        let unified = Path::new("/sys/fs/cgroup/unified").join(group.trim_start_matches('/'));
        let below = !group.split('/').any(|part| part == "..");
        Self { init: Some(init), group: Cgroup::at(group).ok(), unified: below.then_some(unified) }
    }

    /// Kills what is left. Blocking.
    pub(crate) fn kill(&self) {
        if let Some(init) = &self.init
            && !init.is_exited().unwrap_or(true)
        {
            let _ = init.send_signal(Signal::KILL.as_raw());
        }
        // Gone already when the shim's `delete` did its work.
        if let Some(group) = self.group.as_ref().filter(|group| group.exists()) {
            let emptied = group.kill_all().and_then(|()| group.remove());
            if let Err(error) = emptied {
                tracing::warn!(%error, "control group of a dead shim's container stays");
            }
        }
        if let Some(unified) = &self.unified {
            // Empty, in use by others, or not there: an empty one goes.
            let _ = fs::remove_dir(unified);
        }
    }
}

/// The first group in `/proc/PID/cgroup` that ends in the container's id: `/default/ID`, `cri-containerd-ID.scope`.
fn group_of<'a>(text: &'a str, id: &str) -> Option<&'a str> {
    text.lines().filter_map(|line| line.splitn(3, ':').nth(2)).find(|path| {
        let last = path.rsplit('/').next().unwrap_or_default();
        let last = last.strip_suffix(".scope").unwrap_or(last);
        last.strip_suffix(id).is_some_and(|before| before.is_empty() || before.ends_with(['-', ':']))
    })
}

#[cfg(test)]
mod tests {
    use super::group_of;

    #[test]
    fn a_cgroup_belongs_to_the_container_whose_id_it_ends_in() {
        assert_eq!(group_of("9:cpu:/\n4:memory:/default/c1\n0::/x\n", "c1"), Some("/default/c1"));
        let pod = "/kubepods.slice/cri-containerd-c1.scope";
        assert_eq!(group_of(&format!("0::{pod}\n"), "c1"), Some(pod));
        assert!(group_of("0::/system.slice:nerdctl:c1\n", "c1").is_some());
        for other in ["0::/default/xc1\n", "0::/\n", "0::/c1/inner\n", "4:memory:/default/c10\n", ""] {
            assert_eq!(group_of(other, "c1"), None, "{other}");
        }
    }
}
