//! Processes killed for want of memory.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use rustix::event::EventfdFlags;
use rustix::fs::inotify::{CreateFlags, WatchFlags};
use rustix::io::Errno;

use super::ancestors::{Ancestors, OomCause};
use super::{Cgroup, text};
use crate::error::{Context, Error, Result};

/// A watch on one group. Its descriptor is readable (poll, epoll) when there may be news; then call [`OomWatch::read_events`].
///
/// Version 2: inotify on `memory.events` and `cgroup.events`. Version 1: an eventfd on `memory.oom_control`.
#[derive(Debug)]
pub struct OomWatch {
    fd: OwnedFd,
    dir: PathBuf,
    version: Version,
    /// Kills that were reported.
    seen: u64,
    ancestors: Ancestors,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// News of a watch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OomEvents {
    /// Processes killed since the last call; the first call counts from the beginning of the group.
    pub kills: u64,
    /// Version 1: how often the kernel said that the group is out of memory. It says so before it kills, so `kills` may still be 0.
    pub notices: u64,
    /// The group is gone: nothing will come any more.
    pub gone: bool,
}

impl OomEvents {
    /// Whether there is something to tell of.
    pub fn is_oom(&self) -> bool {
        self.kills > 0 || (self.notices > 0 && !self.gone)
    }
}

impl OomWatch {
    pub(super) fn new(cgroup: &Cgroup) -> Result<OomWatch> {
        match cgroup {
            Cgroup::V2(dir) => OomWatch::v2(dir),
            Cgroup::V1(_) => {
                let missing = || Error::Invalid("the memory controller is not mounted".to_owned());
                OomWatch::v1(cgroup.dir("memory").ok_or_else(missing)?)
            }
        }
    }

    /// Watches the version 2 group with this directory. Not found when it is gone.
    pub fn v2(dir: &Path) -> Result<OomWatch> {
        let fd = rustix::fs::inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
            .doing("create inotify")?;
        // The second changes when the last process leaves: then look whether the group is gone.
        for file in ["memory.events", "cgroup.events"] {
            let path = dir.join(file);
            rustix::fs::inotify::add_watch(&fd, &path, WatchFlags::MODIFY).on("watch", &path)?;
        }
        let ancestors = Ancestors::v2(dir);
        Ok(OomWatch { fd, dir: dir.to_owned(), version: Version::V2, seen: 0, ancestors })
    }

    /// Watches the version 1 memory group with this directory. Not found when it is gone.
    pub fn v1(dir: &Path) -> Result<OomWatch> {
        let fd = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .doing("create eventfd")?;
        let control = dir.join("memory.oom_control");
        let file = File::open(&control).on("open", &control)?;
        let register = dir.join("cgroup.event_control");
        std::fs::write(&register, format!("{} {}", fd.as_raw_fd(), file.as_raw_fd()))
            .on("write", &register)?;
        let ancestors = Ancestors::v1(dir);
        Ok(OomWatch { fd, dir: dir.to_owned(), version: Version::V1, seen: 0, ancestors })
    }

    /// Takes what has come, without waiting. Call it once after the start, too: kills before the watch are counted in the first answer.
    pub fn read_events(&mut self) -> Result<OomEvents> {
        let notices = self.drain()?;
        let total = self.oom_kills()?;
        let gone = total.is_none() && !self.dir.exists();
        let kills = total.map_or(0, |t| t.saturating_sub(self.seen));
        self.seen += kills;
        Ok(OomEvents { kills, notices, gone })
    }

    /// After [`OomWatch::read_events`] has told of kills: whose limit was hit. `None`: no group's, so the machine itself had no
    /// memory left, or the group is gone. Kills that came so fast after one another that they were told together
    /// count as one.
    pub fn cause(&mut self) -> Option<OomCause> {
        self.ancestors.cause()
    }

    /// How many processes of the group have been killed so far; `None` when the group is gone (or the kernel does not count).
    pub fn oom_kills(&self) -> Result<Option<u64>> {
        let file = match self.version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        };
        Ok(text::table(&self.dir, file)?.and_then(|t| t.get("oom_kill").copied()))
    }

    /// Empties the descriptor; gives the eventfd's count.
    fn drain(&self) -> Result<u64> {
        let mut notices = 0;
        let mut buffer = [0u8; 1024];
        loop {
            match rustix::io::read(&self.fd, &mut buffer) {
                Ok(8) if self.version == Version::V1 => {
                    let mut count = [0; 8];
                    count.copy_from_slice(&buffer[..8]);
                    notices += u64::from_ne_bytes(count);
                }
                Ok(0) | Err(Errno::AGAIN) => return Ok(notices),
                Ok(_) | Err(Errno::INTR) => {}
                Err(e) => return Err(e).on("read out-of-memory events of", &self.dir),
            }
        }
    }
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for OomWatch {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use rustix::event::{PollFd, PollFlags};

    fn readable(watch: &OomWatch) -> bool {
        let none = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
        rustix::event::poll(&mut [PollFd::new(watch, PollFlags::IN)], Some(&none)).unwrap() > 0
    }

    /// Plain files stand in for the kernel's: inotify works on both.
    #[test]
    fn version_2_counts_kills_and_sees_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let group = dir.path().join("group");
        std::fs::create_dir(&group).unwrap();
        let write = |kills: u64| {
            let text = format!("low 0\nhigh 0\nmax 9\noom {kills}\noom_kill {kills}\noom_group_kill 0\n");
            std::fs::write(group.join("memory.events"), text).unwrap();
        };
        write(1);
        std::fs::write(group.join("cgroup.events"), "populated 1\nfrozen 0\n").unwrap();
        let mut watch = Cgroup::V2(group.clone()).watch_oom().unwrap();
        assert_eq!(watch.read_events().unwrap().kills, 1, "a kill before the watch is not lost");
        assert!(!readable(&watch));
        write(3);
        assert!(readable(&watch));
        let events = watch.read_events().unwrap();
        assert_eq!(events, OomEvents { kills: 2, notices: 0, gone: false });
        assert!(events.is_oom() && !readable(&watch));
        std::fs::write(group.join("cgroup.events"), "populated 0\nfrozen 0\n").unwrap();
        assert!(readable(&watch));
        assert!(!watch.read_events().unwrap().is_oom());
        std::fs::remove_dir_all(&group).unwrap();
        assert!(watch.read_events().unwrap().gone);
        assert!(OomWatch::v2(&group).unwrap_err().is_not_found());
        assert!(OomWatch::v1(&group).unwrap_err().is_not_found());
    }
}
