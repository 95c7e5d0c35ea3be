//! What a bundle says about its shim: the files that a restarted daemon reads.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::Bundle;
use super::create::write;
use crate::binary::Answer;
use crate::error::Error;

const SHIM_PATH: &str = "shim-binary-path";
const BOOTSTRAP: &str = "bootstrap.json";
const ADDRESS: &str = "address";
const SANDBOX: &str = "sandbox";
const INTENT: &str = ".intent";
const INIT_PID: &str = "init.pid";

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
        fs::write(bundle.file("bootstrap.json"), "\u{1}\u{2}").unwrap();
        assert!(bundle.answer().is_err());
    }
}
