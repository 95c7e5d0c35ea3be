//! A container without the help of its shim, which is dead or does not answer: its first process, and the control
//! group with everything in it.

use std::fs;
use std::path::Path;

use rustix::process::Signal;
use serde::Deserialize;
use sys::cgroup::Cgroup;
use sys::pidfd::Pidfd;

use crate::bundle::Bundle;
use crate::error::Error;

/// Where the version 2 hierarchy of a hybrid machine is; it holds no controller there.
const UNIFIED: &str = "/sys/fs/cgroup/unified";

/// The container's first process and group, noted while they can still be told apart from a stranger's.
pub(crate) struct Leftovers {
    init: Option<Pidfd>,
    group: Option<String>,
}

impl Leftovers {
    /// Looks at the process `pid` (or the one in `init.pid`), which counts as the container's only when its group
    /// carries the container's id; without one, at the group that the spec asks for.
    pub(crate) fn find(bundle: &Bundle, pid: u32) -> Self {
        let pid = Some(pid).filter(|pid| *pid > 1).or_else(|| bundle.init_pid());
        pid.and_then(|pid| of_process(pid, &bundle.id))
            .unwrap_or_else(|| Self { init: None, group: group_of_spec(bundle) })
    }

    /// The same while the shim lives. A child of the shim counts as well, whatever its group is called: nobody else reaps
    /// it, so that its number cannot have gone to a stranger.
    pub(crate) fn of_running(bundle: &Bundle, pid: u32, shim: Option<u32>) -> Self {
        let found = Self::find(bundle, pid);
        if found.init.is_some() || pid <= 1 {
            return found;
        }
        let init = Pidfd::open(pid).ok();
        let child = sys::process::proc_stat(pid).is_ok_and(|stat| shim == Some(stat.ppid));
        Self { init: init.filter(|_| child), ..found }
    }

    /// Sends SIGKILL to the first process and, when `all` is asked for, to everything in the group; says whether there
    /// was anything to send it to. Nothing is removed. Blocking.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(crate) fn kill(&self, all: bool) -> Result<bool, Error> {
        if let Some(init) = &self.init {
            match init.send_signal(Signal::KILL.as_raw()) {
                Err(gone) if gone.is_errno(rustix::io::Errno::SRCH) => {}
                sent => {
                    let group = Path::new(self.group.as_deref().unwrap_or("/"));
                    sent.map_err(Error::sys("kill first process in", group))?;
                }
            }
        }
        if !all {
            return Ok(self.init.is_some());
        }
        let Some(path) = &self.group else { return Ok(self.init.is_some()) };
        let failed = |e| Error::sys("kill control group", Path::new(path))(e);
        let group = Cgroup::at(path).map_err(failed)?;
        let there = group.exists();
        group.kill_all().map_err(failed)?;
        Ok(there || self.init.is_some())
    }

    /// Kills and removes what is left; most often the shim's `delete` has left nothing. Blocking.
    pub(crate) fn remove(&self) {
        if let Some(init) = &self.init
            && !init.is_exited().unwrap_or(true)
        {
            let _ = init.send_signal(Signal::KILL.as_raw());
        }
        let Some(path) = &self.group else { return };
        if let Ok(group) = Cgroup::at(path)
            && group.exists()
            && let Err(error) = group.kill_all().and_then(|()| group.remove())
        {
            tracing::warn!(group = path, %error, "control group of a dead shim's container stays");
        }
        // Empty, in use by others, or not there: an empty one goes.
        let _ = fs::remove_dir(Path::new(UNIFIED).join(path.trim_start_matches('/')));
    }
}

fn of_process(pid: u32, id: &str) -> Option<Leftovers> {
    let init = Pidfd::open(pid).ok()?;
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let mut groups = text.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let group = groups.find(|path| belongs(path, id))?.to_owned();
    Some(Leftovers { init: Some(init), group: Some(group) })
}

/// Whether a group is named for the container: `/default/ID`, `/kubepods.slice/cri-containerd-ID.scope`. Paths that
/// lead out of the hierarchy belong to nobody.
fn belongs(path: &str, id: &str) -> bool {
    let last = path.rsplit('/').next().unwrap_or_default();
    let last = last.strip_suffix(".scope").unwrap_or(last);
    let named = last.strip_suffix(id).is_some_and(|before| before.is_empty() || before.ends_with(['-', ':']));
    named && path.starts_with('/') && !path.split('/').any(|part| part == "..")
}

#[derive(Deserialize)]
struct Spec {
    linux: Option<Linux>,
}

#[derive(Deserialize)]
struct Linux {
    #[serde(rename = "cgroupsPath")]
    cgroups_path: Option<String>,
}

fn group_of_spec(bundle: &Bundle) -> Option<String> {
    let spec: Spec = serde_json::from_slice(&fs::read(bundle.file("config.json")).ok()?).ok()?;
    let path = expand(&spec.linux?.cgroups_path?)?;
    belongs(&path, &bundle.id).then_some(path)
}

/// systemd's way to write a group, `slice:prefix:name`, as the path it stands for; paths stay as they are.
fn expand(path: &str) -> Option<String> {
    let mut parts = path.split(':');
    let (Some(slice), Some(prefix), Some(name), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Some(path.to_owned());
    };
    let stem = slice.strip_suffix(".slice")?;
    // a-b.slice lies in a.slice.
    let ends = stem.match_indices('-').map(|(end, _)| end).chain([stem.len()]);
    let slices: String = ends.filter_map(|end| stem.get(..end)).map(|s| format!("/{s}.slice")).collect();
    Some(format!("{slices}/{prefix}-{name}.scope"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_belongs_to_the_container_whose_id_it_ends_in() {
        for ours in ["/default/c1", "/kubepods.slice/cri-containerd-c1.scope", "/system.slice:nerdctl:c1"] {
            assert!(belongs(ours, "c1"), "{ours}");
        }
        for other in ["/default/xc1", "/", "", "/c1/inner", "/default/c10", "c1", "/../c1"] {
            assert!(!belongs(other, "c1"), "{other}");
        }
    }

    #[test]
    fn groups_as_specs_write_them() {
        for (written, path) in [
            ("/default/c1", "/default/c1"),
            ("system.slice:containerd:c1", "/system.slice/containerd-c1.scope"),
            ("kubepods-pod1.slice:cri:c1", "/kubepods.slice/kubepods-pod1.slice/cri-c1.scope"),
        ] {
            assert_eq!(expand(written).as_deref(), Some(path));
        }
        assert_eq!(expand("x:y:z"), None);
    }
}
