//! Exit records: how each process ended, written down durably before anyone is told.
//!
//! `exits/init.json` and `exits/exec.<id>.json` in the bundle. When the shim dies after a process
//! did, `delete` (and the daemon) find the true code here.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use base::Error;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::reaper::Exit;

/// A record larger than this is not one.
const MAX_RECORD: u64 = 64 * 1024;

/// One record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The process, as the host numbers it.
    pub(crate) pid: u32,
    /// Exit code, or 128 + signal.
    pub(crate) code: u32,
    /// The signal that killed it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) signal: Option<u32>,
    /// RFC 3339, UTC.
    pub(crate) exited_at: String,
    /// Whether the kernel killed something in the container's cgroup for memory.
    #[serde(default)]
    pub(crate) oom: bool,
    /// Whose limit it was, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) oom_cause: Option<String>,
}

impl Record {
    /// The record of an exit.
    pub(crate) fn new(exit: &Exit, oom: bool) -> Self {
        Record {
            pid: exit.pid,
            code: exit.code,
            signal: exit.signal,
            exited_at: base::timestamp::to_rfc3339_nano(exit.at),
            oom,
            oom_cause: None,
        }
    }

    /// When it ended; the epoch when the text is no time.
    pub(crate) fn time(&self) -> SystemTime {
        base::timestamp::parse_rfc3339(&self.exited_at).unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// Writes it: file and directory are synced when this returns.
    ///
    /// # Errors
    /// The directory or file cannot be made.
    pub(crate) fn write(&self, bundle: &Path, exec_id: &str) -> Result<(), Error> {
        let path = path(bundle, exec_id);
        let failed = |e: String| Error::internal(format!("write exit record {}: {e}", path.display()));
        make_dir(bundle)?;
        let text = serde_json::to_vec(self).map_err(|e| failed(e.to_string()))?;
        match sys::fs::write_atomic(&path, &text, 0o600) {
            Ok(()) => Ok(()),
            Err(e) if exec_id.is_empty() && (e.is_errno(Errno::NOSPC) || e.is_errno(Errno::DQUOT)) => {
                write_into_reserve(bundle, &path, &text).map_err(|e| failed(e.to_string()))
            }
            Err(e) => Err(failed(base::chain(&e))),
        }
    }
}

/// Room that is taken when a container is made, so that its init's end can be recorded on a disk that has become full.
const RESERVE: &str = "exits/.reserve";
/// More than a record needs.
const ROOM: usize = 1024;

/// Takes that room.
///
/// # Errors
/// There is none: a container whose end could not be recorded is not made.
pub(crate) fn reserve(bundle: &Path) -> Result<(), Error> {
    make_dir(bundle)?;
    // Blanks: what stays of them behind a record is JSON too.
    crate::bundle::write_private(&bundle.join(RESERVE), &[b' '; ROOM])
}

/// In place, where the blocks are; then under its name.
fn write_into_reserve(bundle: &Path, path: &Path, text: &[u8]) -> std::io::Result<()> {
    let reserve = bundle.join(RESERVE);
    let mut file = std::fs::OpenOptions::new().write(true).open(&reserve)?;
    file.write_all(text)?;
    file.sync_all()?;
    std::fs::rename(&reserve, path)?;
    std::fs::File::open(bundle.join("exits"))?.sync_all()
}

fn make_dir(bundle: &Path) -> Result<(), Error> {
    let dir = bundle.join("exits");
    match std::fs::create_dir(&dir) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(Error::unknown(format!("mkdir {}: {e}", dir.display())))
        }
        _ => Ok(()),
    }
}

/// Reads the record of a process; `None` when there is none that makes sense.
pub(crate) fn read(bundle: &Path, exec_id: &str) -> Option<Record> {
    use std::io::Read;
    let mut text = Vec::new();
    std::fs::File::open(path(bundle, exec_id)).ok()?.take(MAX_RECORD).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Removes the record of an exec that was deleted.
pub(crate) fn remove(bundle: &Path, exec_id: &str) {
    let _ = std::fs::remove_file(path(bundle, exec_id));
}

fn path(bundle: &Path, exec_id: &str) -> PathBuf {
    match exec_id {
        "" => bundle.join("exits/init.json"),
        id => bundle.join(format!("exits/exec.{id}.json")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let bundle = tempfile::tempdir().unwrap();
        let at = SystemTime::UNIX_EPOCH + std::time::Duration::new(1_700_000_000, 123_456_789);
        let exit = Exit { pid: 77, code: 137, signal: Some(9), at };
        assert_eq!(read(bundle.path(), ""), None);
        let record = Record::new(&exit, true);
        record.write(bundle.path(), "").unwrap();
        Record::new(&Exit { code: 3, signal: None, ..exit }, false).write(bundle.path(), "init").unwrap();
        let back = read(bundle.path(), "").unwrap();
        assert_eq!((back.time(), back.clone()), (at, record));
        assert_eq!(read(bundle.path(), "init").unwrap().code, 3, "an exec called init is another file");
        remove(bundle.path(), "init");
        assert_eq!(read(bundle.path(), "init"), None);
        // Room that was taken before: the same record, with blanks behind it.
        let kept = read(bundle.path(), "").unwrap();
        reserve(bundle.path()).unwrap();
        let text = serde_json::to_vec(&kept).unwrap();
        std::fs::remove_file(path(bundle.path(), "")).unwrap();
        write_into_reserve(bundle.path(), &path(bundle.path(), ""), &text).unwrap();
        assert_eq!(read(bundle.path(), "").unwrap(), kept);
        assert!(!bundle.path().join(RESERVE).exists());
        std::fs::write(bundle.path().join("exits/init.json"), "{").unwrap();
        assert_eq!(read(bundle.path(), ""), None, "a torn record is none");
    }
}
