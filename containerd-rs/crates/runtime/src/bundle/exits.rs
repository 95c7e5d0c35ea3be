//! What a shim wrote down about the ends of its processes, and what of it was told.
//!
//! ```text
//! exits/init.json  exits/exec.ID.json   by the shim, before it tells anyone
//! .exit-told.ID                         by the daemon: subscribers know of that exec's end
//! ```
//! Shims of others keep no such records; then there are none.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use serde::Deserialize;

use super::Bundle;
use super::create::write;
use crate::model::Exit;

const EXITS: &str = "exits";
const TOLD: &str = ".exit-told.";
/// No record is longer.
const MAX_RECORD: u64 = 64 << 10;
/// Execs whose ends are looked at; a shim keeps those that were not deleted.
const MAX_EXECS: usize = 4096;

/// The ends that a shim recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Recorded {
    /// Of the first process.
    pub(crate) init: Option<Exit>,
    /// Of execs that were not deleted, by their ids.
    pub(crate) execs: BTreeMap<String, Exit>,
    /// Whether the kernel killed something in the container for want of memory.
    pub(crate) oom: bool,
}

#[derive(Deserialize)]
struct Record {
    pid: u32,
    code: u32,
    exited_at: String,
    #[serde(default)]
    oom: bool,
}

impl Bundle {
    /// Reads the records; those that make no sense are none. Blocking.
    pub(crate) fn recorded(&self) -> Recorded {
        let mut recorded = Recorded::default();
        let Ok(files) = fs::read_dir(self.file(EXITS)) else { return recorded };
        for file in files.flatten().take(MAX_EXECS) {
            let Ok(name) = file.file_name().into_string() else { continue };
            let Some(name) = name.strip_suffix(".json") else { continue };
            let exec = name.strip_prefix("exec.");
            if name != "init" && exec.is_none_or(|id| base::validate_identifier(id).is_err()) {
                continue;
            }
            let Some(record) = read(&file.path()) else { continue };
            let exited_at = base::timestamp::parse_rfc3339(&record.exited_at).ok();
            let exit = Exit { pid: record.pid, status: record.code, exited_at };
            recorded.oom |= record.oom;
            match exec {
                Some(id) => drop(recorded.execs.insert(id.to_owned(), exit)),
                None => recorded.init = Some(exit),
            }
        }
        recorded
    }

    /// Notes that subscribers know of an exec's end, for a restarted daemon.
    pub(crate) fn write_exec_told(&self, exec_id: &str, pid: u32) {
        if let Some(path) = self.told_file(exec_id) {
            // Told once more is better than never told.
            let _ = write(&path, 0o600, format!("{pid}\n").as_bytes());
        }
    }

    /// The exec is deleted: nobody will tell of it again.
    pub(crate) fn forget_exec_told(&self, exec_id: &str) {
        if let Some(path) = self.told_file(exec_id) {
            let _ = fs::remove_file(path);
        }
    }

    /// The execs, with their pids, of whose ends subscribers knew before this daemon. Blocking.
    pub(crate) fn execs_told(&self) -> Vec<(String, u32)> {
        let Ok(files) = fs::read_dir(&self.path) else { return vec![] };
        let told = |file: fs::DirEntry| {
            let name = file.file_name().into_string().ok()?;
            let id = name.strip_prefix(TOLD)?;
            Some((id.to_owned(), fs::read_to_string(file.path()).ok()?.trim().parse().ok()?))
        };
        files.flatten().filter_map(told).take(MAX_EXECS).collect()
    }

    fn told_file(&self, exec_id: &str) -> Option<PathBuf> {
        // Shims name execs in their events; not every one of them is to be believed.
        base::validate_identifier(exec_id).ok()?;
        Some(self.file(&format!("{TOLD}{exec_id}")))
    }
}

fn read(path: &Path) -> Option<Record> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let flags = i32::try_from(flags.bits()).ok()?;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = Vec::new();
    file.take(MAX_RECORD).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use base::Namespace;
    use std::time::{Duration, SystemTime};

    #[test]
    fn records_are_read_and_nonsense_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let ns = Namespace::new("n").unwrap();
        let bundle = Bundle::locate(&dir.path().join("r"), &dir.path().join("s"), &ns, "c");
        assert_eq!(bundle.recorded(), Recorded::default());
        let exits = bundle.file(EXITS);
        fs::create_dir_all(&exits).unwrap();
        let record = |pid, code, oom| {
            format!(
                r#"{{"pid":{pid},"code":{code},"signal":9,"exited_at":"2023-11-14T22:13:20.123456789Z","oom":{oom}}}"#
            )
        };
        fs::write(exits.join("init.json"), record(7, 137, true)).unwrap();
        fs::write(exits.join("exec.init.json"), record(8, 3, false)).unwrap();
        fs::write(exits.join("exec.torn.json"), r#"{"pid":8,"#).unwrap();
        fs::write(exits.join("exec.-.json"), record(9, 3, false)).unwrap();
        fs::write(exits.join("exec.huge.json"), "1".repeat(1 << 20)).unwrap();
        fs::write(exits.join("other.json"), record(9, 3, false)).unwrap();
        std::os::unix::fs::symlink(exits.join("init.json"), exits.join("exec.link.json")).unwrap();
        sys::fifo::create(&exits.join("exec.fifo.json"), 0o600).unwrap();
        let at = SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789);
        let exit = |pid, status| Exit { pid, status, exited_at: Some(at) };
        let recorded = bundle.recorded();
        assert_eq!(recorded.init, Some(exit(7, 137)));
        assert_eq!(recorded.execs, BTreeMap::from([("init".to_owned(), exit(8, 3))]));
        assert!(recorded.oom);
    }

    #[test]
    fn what_was_told_of_an_exec_is_known_until_it_is_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let ns = Namespace::new("n").unwrap();
        let bundle = Bundle::locate(&dir.path().join("r"), &dir.path().join("s"), &ns, "c");
        bundle.create(None).unwrap();
        bundle.write_exec_told("e1", 41);
        bundle.write_exec_told("e1", 42);
        bundle.write_exec_told("../e2", 43);
        assert_eq!(bundle.execs_told(), [("e1".to_owned(), 42)]);
        assert_eq!(bundle.told(), None, "the first process's is another file");
        bundle.forget_exec_told("e1");
        assert_eq!(bundle.execs_told(), []);
    }
}
