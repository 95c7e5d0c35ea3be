//! Groups on the real kernel, where it has version 1 with memory and freezer.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sys::cgroup::{Cgroup, Mode, Stats};

const WAIT: Duration = Duration::from_secs(20);

struct Group(Cgroup);

impl Group {
    /// A version 2 group without controllers, which hybrid machines have, too.
    fn version_2(name: &str) -> Option<Group> {
        let top = match Mode::detect() {
            Mode::Legacy => return None,
            Mode::Hybrid => "/sys/fs/cgroup/unified",
            Mode::Unified => "/sys/fs/cgroup",
        };
        let group = Cgroup::V2(format!("{top}/sys-test-{}-{name}", std::process::id()).into());
        assert!(!group.exists());
        group.create().unwrap();
        Some(Group(group))
    }

    fn new(name: &str) -> Option<Group> {
        if Mode::detect() == Mode::Unified {
            return None;
        }
        let group = Cgroup::at(&format!("/sys-test-{}-{name}", std::process::id())).unwrap();
        assert!(!group.exists());
        group.create().unwrap();
        Some(Group(group))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.0.kill_all().unwrap();
        let start = Instant::now();
        while !self.0.procs(true).unwrap().is_empty() && start.elapsed() < WAIT {
            std::thread::yield_now();
        }
        self.0.remove().unwrap();
        assert!(!self.0.exists());
    }
}

fn shell(script: &str) -> Child {
    Command::new("sh").args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < WAIT, "timed out waiting until {what}");
        std::thread::yield_now();
    }
}

#[test]
fn processes_join_freeze_and_die_together() {
    let Some(group) = Group::new("kill") else { return };
    let cgroup = &group.0;
    let mut child = shell("read go; sleep 1000 & sleep 1000 & wait");
    cgroup.add_process(child.id()).unwrap();
    assert_eq!(cgroup.procs(false).unwrap(), [child.id()]);
    assert_eq!(&Cgroup::of_pid(child.id()).unwrap(), cgroup);
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"go\n").unwrap();
    wait_until("the children are there", || cgroup.procs(true).unwrap().len() == 3);
    let Stats::V1(stats) = cgroup.stats().unwrap() else { panic!("version 1 expected") };
    assert_eq!(stats.pids.unwrap().current, 3);
    assert!(stats.cpu.usage_total > 0 && stats.memory.unwrap().usage.usage > 0);

    cgroup.freeze(WAIT).unwrap();
    let frozen = cgroup.dir("freezer").unwrap().join("freezer.state");
    assert_eq!(std::fs::read_to_string(&frozen).unwrap().trim(), "FROZEN");
    cgroup.thaw(WAIT).unwrap();
    assert_eq!(std::fs::read_to_string(&frozen).unwrap().trim(), "THAWED");

    let busy = cgroup.remove().unwrap_err();
    assert!(busy.is_errno(rustix::io::Errno::BUSY), "{busy:?}");
    cgroup.create().unwrap();
    cgroup.kill_all().unwrap();
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
    wait_until("all are gone", || cgroup.procs(true).unwrap().is_empty());
}

#[test]
fn version_2_groups_freeze_and_die() {
    let Some(group) = Group::version_2("v2") else { return };
    let cgroup = &group.0;
    let dir = cgroup.dir("any").unwrap();
    let below = Cgroup::V2(dir.join("below"));
    below.create().unwrap();
    let mut child = shell("read go; sleep 1000 & wait");
    cgroup.add_process(child.id()).unwrap();
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"go\n").unwrap();
    wait_until("the child is there", || cgroup.procs(true).unwrap().len() == 2);
    let pids = cgroup.procs(true).unwrap();
    below.add_process(pids.into_iter().find(|p| *p != child.id()).unwrap()).unwrap();
    assert_eq!((cgroup.procs(false).unwrap().len(), cgroup.procs(true).unwrap().len()), (1, 2));
    let Stats::V2(stats) = cgroup.stats().unwrap() else { panic!("version 2 expected") };
    assert!(stats.cpu.usage_usec > 0);

    cgroup.freeze(WAIT).unwrap();
    assert!(std::fs::read_to_string(dir.join("cgroup.events")).unwrap().contains("frozen 1"));
    cgroup.thaw(WAIT).unwrap();
    assert!(std::fs::read_to_string(dir.join("cgroup.events")).unwrap().contains("frozen 0"));
    assert!(cgroup.remove().unwrap_err().is_errno(rustix::io::Errno::BUSY));
    cgroup.kill_all().unwrap();
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
    wait_until("all are gone", || cgroup.procs(true).unwrap().is_empty());
    cgroup.remove().unwrap();
    assert!(!cgroup.exists());
}

#[test]
fn running_out_of_memory_is_noticed() {
    let Some(group) = Group::new("oom") else { return };
    let dir = group.0.dir("memory").unwrap().to_owned();
    std::fs::write(dir.join("memory.limit_in_bytes"), "8388608").unwrap();
    let mut watch = group.0.watch_oom().unwrap();
    assert!(!watch.read_events().unwrap().is_oom());
    let mut child = shell("read go; head -c 100000000 /dev/zero | tail -c 90000000");
    group.0.add_process(child.id()).unwrap();
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"go\n").unwrap();
    let mut kills = 0;
    let mut notices = 0;
    wait_until("the kill is seen", || {
        let none = rustix::time::Timespec { tv_sec: 1, tv_nsec: 0 };
        let mut fds = [rustix::event::PollFd::new(&watch, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut fds, Some(&none)).unwrap();
        let events = watch.read_events().unwrap();
        kills += events.kills;
        notices += events.notices;
        kills > 0 && notices > 0
    });
    assert!(!child.wait().unwrap().success());
    assert!(watch.oom_kills().unwrap().unwrap() > 0);
    group.0.remove().unwrap();
    wait_until("the end is seen", || watch.read_events().unwrap().gone);
    group.0.create().unwrap();
}

#[test]
fn groups_that_are_gone_are_empty() {
    let gone = Cgroup::at("/no/such/group").unwrap();
    assert!(gone.procs(true).unwrap().is_empty());
    gone.kill_all().unwrap();
    gone.remove().unwrap();
    assert!(gone.add_process(std::process::id()).unwrap_err().is_not_found());
}
