//! Processes of a group: list, add, freeze, kill; and the group's own coming and going.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

use super::{Cgroup, text};
use crate::error::{Context, Error, Result};
use crate::pidfd::Pidfd;

/// How often a directory is tried again that the kernel still calls busy, with 10 ms doubled each time between.
const REMOVE_TRIES: u32 = 6;

impl Cgroup {
    /// Makes the directories that are missing. A new version 1 group takes the CPUs and memory nodes of the one above, without which no
    /// process could join it.
    pub fn create(&self) -> Result<()> {
        for dir in self.dirs() {
            std::fs::create_dir_all(dir).on("create cgroup", dir)?;
        }
        self.dir("cpuset").filter(|_| matches!(self, Cgroup::V1(_))).map_or(Ok(()), inherit_cpuset)
    }

    /// Moves a process into the group, in every hierarchy where the group exists. Not found when it exists in none.
    pub fn add_process(&self, pid: u32) -> Result<()> {
        let dirs: Vec<&Path> = self.dirs().into_iter().filter(|d| d.exists()).collect();
        if dirs.is_empty() {
            let dir = self.dirs().first().map(|d| d.to_path_buf()).unwrap_or_default();
            return Err(Error::path("join cgroup", dir, Errno::NOENT));
        }
        for dir in dirs {
            std::fs::write(dir.join("cgroup.procs"), pid.to_string()).on("join cgroup", dir)?;
        }
        Ok(())
    }

    /// The processes in the group, and below it when `recursive`. A group that is gone has none.
    pub fn procs(&self, recursive: bool) -> Result<Vec<u32>> {
        self.process_dir().map_or(Ok(Vec::new()), |dir| procs_of(&[dir], recursive))
    }

    /// Stops all processes in and below the group where they are. When they have not all stopped after `timeout` the group is thawed
    /// again and the error says so.
    pub fn freeze(&self, timeout: Duration) -> Result<()> {
        let frozen = match self {
            Cgroup::V1(_) => self.freezer_v1("FROZEN", timeout),
            Cgroup::V2(dir) => freeze_v2(dir, true, timeout),
        };
        if frozen.is_err() {
            // The first error counts; a group that cannot be thawed either is as it was.
            let _ = self.thaw(timeout);
        }
        frozen
    }

    /// Lets frozen processes go on.
    pub fn thaw(&self, timeout: Duration) -> Result<()> {
        match self {
            Cgroup::V1(_) => self.freezer_v1("THAWED", timeout),
            Cgroup::V2(dir) => freeze_v2(dir, false, timeout),
        }
    }

    /// Sends SIGKILL to every process in and below the group, forks included. Does not wait for their end. A group that is gone is fine.
    pub fn kill_all(&self) -> Result<()> {
        if let Cgroup::V2(dir) = self {
            // One write since Linux 5.14.
            match std::fs::write(dir.join("cgroup.kill"), "1") {
                Ok(()) => return Ok(()),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound && dir.exists() => {}
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
                Err(e) => return Err(e).on("kill cgroup", dir),
            }
        }
        // Frozen processes cannot fork away. A group that cannot be frozen is killed until nobody new is found.
        let _ = self.freeze(Duration::from_millis(500));
        let killed = self.kill_each();
        let thawed = self.thaw(Duration::from_millis(500));
        killed?;
        match thawed {
            Err(e) if !e.is_not_found() && self.exists() => Err(e),
            _ => Ok(()),
        }
    }

    fn kill_each(&self) -> Result<()> {
        let mut seen = Vec::new();
        for _ in 0..100 {
            // In every hierarchy: a process may have joined only some.
            let all = procs_of(&self.dirs(), true)?;
            let new: Vec<u32> = all.into_iter().filter(|p| !seen.contains(p)).collect();
            if new.is_empty() {
                return Ok(());
            }
            for pid in new {
                match Pidfd::open(pid).and_then(|p| p.send_signal(libc::SIGKILL)) {
                    Err(e) if !e.is_errno(Errno::SRCH) => return Err(e),
                    _ => seen.push(pid),
                }
            }
        }
        Err(Error::Invalid("the cgroup makes processes faster than they can be killed".to_owned()))
    }

    /// Removes the group and those below it, which must have no processes. Tries busy ones again for 0.6 seconds. A group that is
    /// gone is fine.
    pub fn remove(&self) -> Result<()> {
        let mut first = Ok(());
        for top in self.dirs() {
            for dir in tree(top).into_iter().rev() {
                let removed = remove_dir(&dir);
                if first.is_ok() {
                    first = removed;
                }
            }
        }
        first
    }

    /// The directory whose `cgroup.procs` lists the processes.
    fn process_dir(&self) -> Option<&Path> {
        match self {
            Cgroup::V2(dir) => Some(dir),
            Cgroup::V1(dirs) => {
                let preferred = ["freezer", "pids", "memory", "devices", "cpu"];
                let found = preferred.iter().find_map(|c| dirs.get(*c)).or_else(|| dirs.values().next());
                found.map(PathBuf::as_path)
            }
        }
    }

    fn freezer_v1(&self, state: &str, timeout: Duration) -> Result<()> {
        let dir = self
            .dir("freezer")
            .ok_or_else(|| Error::Invalid("the freezer controller is not mounted".to_owned()))?;
        let file = dir.join("freezer.state");
        let deadline = Instant::now() + timeout;
        loop {
            std::fs::write(&file, state).on("write", &file)?;
            if text::single_word(dir, "freezer.state")? == state {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(timed_out(dir, state, timeout));
            }
            // The file cannot be waited on.
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Writes `cgroup.freeze` and waits on `cgroup.events`.
fn freeze_v2(dir: &Path, on: bool, timeout: Duration) -> Result<()> {
    let file = dir.join("cgroup.freeze");
    std::fs::write(&file, if on { "1" } else { "0" }).on("write", &file)?;
    let events = dir.join("cgroup.events");
    let watched = std::fs::File::open(&events).on("open", &events)?;
    let deadline = Instant::now() + timeout;
    loop {
        let frozen = text::table(dir, "cgroup.events")?.and_then(|t| t.get("frozen").copied());
        if frozen.unwrap_or(0) == u64::from(on) {
            return Ok(());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(timed_out(dir, if on { "frozen" } else { "thawed" }, timeout));
        }
        // Looked at again at least every 10 ms: a change between the read above and the poll is not reported.
        let left = left.min(Duration::from_millis(10));
        let left = rustix::time::Timespec { tv_sec: 0, tv_nsec: i64::from(left.subsec_nanos()) };
        match rustix::event::poll(&mut [PollFd::new(&watched, PollFlags::PRI)], Some(&left)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e).on("poll", &events),
        }
    }
}

fn timed_out(dir: &Path, state: &str, timeout: Duration) -> Error {
    Error::Timeout {
        what: format!("cgroup {} to be {}", dir.display(), state.to_lowercase()),
        millis: timeout.as_millis() as u64,
    }
}

fn procs_of(dirs: &[&Path], recursive: bool) -> Result<Vec<u32>> {
    let mut pids = Vec::new();
    for dir in dirs.iter().flat_map(|d| if recursive { tree(d) } else { vec![d.to_path_buf()] }) {
        let text = text::read(&dir, "cgroup.procs")?.unwrap_or_default();
        for line in text.lines() {
            pids.push(line.parse().map_err(|_| text::malformed(&dir, "cgroup.procs", line))?);
        }
    }
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

/// Fills empty `cpuset.cpus` and `cpuset.mems` of the group and those above it from their parents, from the top down.
fn inherit_cpuset(dir: &Path) -> Result<()> {
    let groups: Vec<&Path> = dir.ancestors().take_while(|d| d.join("cpuset.cpus").exists()).collect();
    for pair in groups.windows(2).rev() {
        let [group, above] = pair else { continue };
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if text::single_word(group, file)?.is_empty() {
                let path = group.join(file);
                std::fs::write(&path, text::single_word(above, file)?).on("write", &path)?;
            }
        }
    }
    Ok(())
}

/// The directory and all below it, parents first. What vanishes meanwhile is left out.
fn tree(dir: &Path) -> Vec<PathBuf> {
    let mut found = vec![dir.to_owned()];
    let mut next = 0;
    while let Some(dir) = found.get(next) {
        let below = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let dirs: Vec<PathBuf> =
            below.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect();
        found.extend(dirs);
        next += 1;
    }
    found
}

fn remove_dir(dir: &Path) -> Result<()> {
    let mut pause = Duration::from_millis(10);
    for attempt in 1.. {
        match rustix::fs::rmdir(dir) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::BUSY | Errno::AGAIN) if attempt < REMOVE_TRIES => {
                std::thread::sleep(pause);
                pause *= 2;
            }
            Err(e) => return Err(e).on("remove cgroup", dir),
        }
    }
    Ok(())
}
