//! What `/proc` says about a process.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::fs::read_text;

/// The parts of `/proc/<pid>/stat` that tell one process from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcStat {
    /// Process id.
    pub pid: u32,
    /// Name of the program, at most 15 bytes, whatever bytes it has.
    pub comm: String,
    /// State letter: R, S, D, Z, T, t, X, I.
    pub state: char,
    /// Parent process id.
    pub ppid: u32,
    /// Process group.
    pub pgrp: i32,
    /// Session.
    pub session: i32,
    /// Number of threads.
    pub threads: u32,
    /// When it started, in clock ticks after boot. With the pid and [`boot_id`] it names a process for ever.
    pub start_time: u64,
}

impl ProcStat {
    /// Whether the process has ended and only waits to be reaped.
    pub fn is_zombie(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }
}

/// Reads `/proc/<pid>/stat`. The error is "not found" (ENOENT or ESRCH) when there is no such process.
pub fn proc_stat(pid: u32) -> Result<ProcStat> {
    let path = PathBuf::from(format!("/proc/{pid}/stat"));
    let text = match std::fs::read(&path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        // A process that ends between open and read.
        Err(e) if e.raw_os_error() == Some(libc::ESRCH) => {
            return Err(Error::path("read", &path, rustix::io::Errno::NOENT));
        }
        Err(e) => return Err(Error::path("read", &path, e)),
    };
    parse_stat(&text).ok_or_else(|| Error::Malformed { path, what: text.chars().take(80).collect() })
}

/// See proc_pid_stat(5). The name may hold spaces and parentheses, so the last closing one ends it.
fn parse_stat(text: &str) -> Option<ProcStat> {
    let (pid, rest) = text.split_once(" (")?;
    let (comm, rest) = rest.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    Some(ProcStat {
        pid: pid.parse().ok()?,
        comm: comm.to_owned(),
        state: fields.first()?.chars().next()?,
        ppid: fields.get(1)?.parse().ok()?,
        pgrp: fields.get(2)?.parse().ok()?,
        session: fields.get(3)?.parse().ok()?,
        threads: fields.get(17)?.parse().ok()?,
        start_time: fields.get(19)?.parse().ok()?,
    })
}

/// When the process started, in clock ticks after boot.
pub fn pid_start_time(pid: u32) -> Result<u64> {
    proc_stat(pid).map(|s| s.start_time)
}

/// Whether `pid` is still the process that started at `start_time` (false when it is gone or its number has been used again).
pub fn is_same_process(pid: u32, start_time: u64) -> Result<bool> {
    match pid_start_time(pid) {
        Ok(t) => Ok(t == start_time),
        Err(e) if e.is_not_found() => Ok(false),
        Err(e) => Err(e),
    }
}

/// The random id of this boot. Records with another id are from before a reboot: no process of theirs lives.
pub fn boot_id() -> Result<String> {
    Ok(read_text(Path::new("/proc/sys/kernel/random/boot_id"), 128)?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn names_with_spaces_and_parentheses_parse() {
        let line = "42 (a) b (c) S 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 3 0 987654 1 1 184 0";
        let stat = parse_stat(line).unwrap();
        assert_eq!((stat.pid, stat.comm.as_str(), stat.state, stat.ppid), (42, "a) b (c", 'S', 1));
        assert_eq!((stat.threads, stat.start_time), (3, 987654));
        assert!(parse_stat("42 (x) S 1").is_none());
        assert!(parse_stat("").is_none());
    }

    #[test]
    fn a_process_is_told_from_its_successor() {
        let me = std::process::id();
        let start = pid_start_time(me).unwrap();
        assert!(is_same_process(me, start).unwrap());
        assert!(!is_same_process(me, start + 1).unwrap());
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let child_start = pid_start_time(child.id()).unwrap();
        child.wait().unwrap();
        assert!(!is_same_process(child.id(), child_start).unwrap());
    }

    #[test]
    fn the_boot_id_is_stable() {
        let id = boot_id().unwrap();
        assert_eq!(id.len(), 36);
        assert_eq!(id, boot_id().unwrap());
    }
}
