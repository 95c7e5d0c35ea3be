//! What a bundle says about its shim: the files that a restarted daemon reads.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::Bundle;
use super::create::write;
use crate::binary::Answer;
use crate::error::Error;
use crate::model::Exit;

const SHIM_PATH: &str = "shim-binary-path";
const BOOTSTRAP: &str = "bootstrap.json";
const ADDRESS: &str = "address";
const SANDBOX: &str = "sandbox";
const INTENT: &str = ".intent";
const INIT_PID: &str = "init.pid";
const EXIT_TOLD: &str = ".exit-told";
const OOM_TOLD: &str = ".oom-told";

/// No fact is longer.
const MAX_FACT: u64 = 64 << 10;

impl Bundle {
    /// Says that a shim is about to be started for a task that is not there yet. Until [`Self::clear_intent`], a
    /// restarted daemon undoes whatever it finds.
    pub(crate) fn write_intent(&self, program: &Path) -> Result<(), Error> {
        self.write_shim_path(program)?;
        write(&self.file(INTENT), 0o600, b"create\n")
    }

    /// The task is there.
    pub(crate) fn clear_intent(&self) -> Result<(), Error> {
        fs::remove_file(self.file(INTENT)).map_err(Error::io("remove", &self.file(INTENT)))
    }

    /// Whether the daemon died between starting the shim and having the task.
    pub(crate) fn has_intent(&self) -> bool {
        self.file(INTENT).exists()
    }

    pub(crate) fn write_shim_path(&self, program: &Path) -> Result<(), Error> {
        use std::os::unix::ffi::OsStrExt;
        write(&self.file(SHIM_PATH), 0o600, program.as_os_str().as_bytes())
    }

    /// The program that the shim was started with.
    pub(crate) fn shim_path(&self) -> Option<PathBuf> {
        let text = self.read(SHIM_PATH).ok()??;
        (!text.trim().is_empty()).then(|| PathBuf::from(text.trim()))
    }

    pub(crate) fn write_sandbox(&self, id: &str) -> Result<(), Error> {
        write(&self.file(SANDBOX), 0o600, id.as_bytes())
    }

    /// The sandbox whose shim serves this task; `None`: the task has a shim of its own.
    pub(crate) fn sandbox(&self) -> Option<String> {
        self.read(SANDBOX).ok()?.filter(|id| !id.is_empty())
    }

    /// Records how to reach the shim; replaces the file as a whole.
    pub(crate) fn write_answer(&self, answer: &Answer) -> Result<(), Error> {
        let new = self.file(".bootstrap.json.new");
        write(&new, 0o644, &answer.to_json())?;
        fs::rename(&new, self.file(BOOTSTRAP)).map_err(Error::io("rename", &new))
    }

    /// How to reach the shim. Bundles of containerd before 1.7 hold only an `address`; `None`: neither is there.
    pub(crate) fn answer(&self) -> Result<Option<Answer>, Error> {
        if let Some(text) = self.read(BOOTSTRAP)? {
            return Ok(Some(Answer::parse(text.as_bytes())?));
        }
        let Some(address) = self.read(ADDRESS)?.filter(|a| !a.trim().is_empty()) else {
            return Ok(None);
        };
        let answer = Answer { version: 2, address: address.trim().to_owned(), protocol: "ttrpc".to_owned() };
        self.write_answer(&answer)?;
        Ok(Some(answer))
    }

    /// Writes down what subscribers were told of the first process's end, for a restarted daemon.
    pub(crate) fn write_told(&self, exit: &Exit) {
        let since = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let at = exit.exited_at.map_or(0, |time| since(time).as_nanos());
        let text = format!("{} {} {at}\n", exit.pid, exit.status);
        // Gone with the bundle when the task was deleted meanwhile; told once more is better than never told.
        let _ = write(&self.file(EXIT_TOLD), 0o600, text.as_bytes());
    }

    /// What subscribers were told, before this daemon.
    pub(crate) fn told(&self) -> Option<Exit> {
        let text = self.read(EXIT_TOLD).ok()??;
        let mut words = text.split_whitespace();
        let (pid, status) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let nanos: u64 = words.next()?.parse().ok()?;
        let exited_at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_nanos(nanos)).filter(|_| nanos > 0);
        Some(Exit { pid, status, exited_at })
    }

    /// Writes down that subscribers heard of a want of memory, for a restarted daemon.
    pub(crate) fn write_oom_told(&self) {
        let _ = write(&self.file(OOM_TOLD), 0o600, b"");
    }

    /// Whether they did, before this daemon.
    pub(crate) fn oom_told(&self) -> bool {
        self.file(OOM_TOLD).exists()
    }

    /// The first process's pid as the OCI runtime wrote it.
    pub(crate) fn init_pid(&self) -> Option<u32> {
        self.read(INIT_PID).ok()??.trim().parse().ok().filter(|pid| *pid > 1)
    }

    fn read(&self, name: &str) -> Result<Option<String>, Error> {
        let path = self.file(name);
        let file = match fs::File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io("open", &path)(e)),
        };
        let mut text = String::new();
        file.take(MAX_FACT).read_to_string(&mut text).map_err(Error::io("read", &path))?;
        Ok(Some(text))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use base::Namespace;

    #[test]
    fn facts_come_back_and_old_bundles_are_migrated() {
        let dir = tempfile::tempdir().unwrap();
        let bundle =
            Bundle::locate(&dir.path().join("r"), &dir.path().join("s"), &Namespace::new("n").unwrap(), "c");
        bundle.create(None).unwrap();
        assert!(bundle.answer().unwrap().is_none() && bundle.shim_path().is_none());
        bundle.write_intent(Path::new("/bin/shim")).unwrap();
        assert!(bundle.has_intent());
        bundle.clear_intent().unwrap();
        assert!(!bundle.has_intent());
        assert_eq!(bundle.shim_path().unwrap(), Path::new("/bin/shim"));
        fs::write(bundle.file("address"), "unix:///run/containerd/s/abc").unwrap();
        let answer = bundle.answer().unwrap().unwrap();
        assert_eq!((answer.version, answer.address.as_str()), (2, "unix:///run/containerd/s/abc"));
        assert_eq!(
            fs::read_to_string(bundle.file("bootstrap.json")).unwrap(),
            r#"{"version":2,"address":"unix:///run/containerd/s/abc","protocol":"ttrpc"}"#
        );
        fs::write(bundle.file("init.pid"), "4711").unwrap();
        assert_eq!(bundle.init_pid(), Some(4711));
        assert_eq!(bundle.told(), None);
        let at = SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789);
        for exited_at in [Some(at), None] {
            let exit = Exit { pid: 42, status: 137, exited_at };
            bundle.write_told(&exit);
            assert_eq!(bundle.told(), Some(exit));
        }
        fs::write(bundle.file("bootstrap.json"), "\u{1}\u{2}").unwrap();
        assert!(bundle.answer().is_err());
    }
}
