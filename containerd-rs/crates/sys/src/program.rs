//! Programs that are run to their end, with a bound on how long that takes and on how much they may print.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::fs::MemfdFlags;

use crate::error::{Context, Error, Result};
use crate::pidfd::Pidfd;

/// What is kept of the output, in bytes.
const KEPT: u64 = 1 << 20;
/// What an error shows of it.
const SHOWN: usize = 1024;

/// A program that runs.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    output: File,
    errors: File,
}

/// Runs `program` without input and gives what it printed to its standard output.
///
/// # Errors
/// Not found when there is no such program, [`Error::Program`] with what it said when it fails, [`Error::Timeout`] (it is killed then).
pub fn run<A: AsRef<OsStr>>(program: &str, arguments: &[A], limit: Duration) -> Result<String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    Running::start(command, program)?.finish(limit)
}

impl Running {
    /// Starts `command`, whose input the caller has set up; `name` is what errors call it.
    pub fn start(mut command: Command, name: &str) -> Result<Running> {
        let (output, errors) = (memory()?, memory()?);
        let clone = |file: &File| file.try_clone().doing("clone descriptor");
        command.stdout(clone(&output)?).stderr(clone(&errors)?);
        // The same words on every machine: they are read.
        command.env("LC_ALL", "C");
        let child = command.spawn().doing(format_args!("start {name}"))?;
        Ok(Running { name: name.to_owned(), child, output, errors })
    }

    /// The end of its input that is written to, once, when the command has a pipe there.
    pub fn input(&mut self) -> Option<std::process::ChildStdin> {
        self.child.stdin.take()
    }

    /// Waits for its end, at most `limit`; what it printed.
    pub fn finish(mut self, limit: Duration) -> Result<String> {
        drop(self.child.stdin.take());
        let ended = match Pidfd::open(self.child.id()) {
            Ok(pidfd) => pidfd.wait_exited(limit)?,
            Err(e) if e.is_errno(rustix::io::Errno::SRCH) => true,
            Err(e) => return Err(e),
        };
        if !ended {
            return Err(Error::Timeout { what: self.name.clone(), millis: limit.as_millis() as u64 });
        }
        let status = self.child.wait().doing(format_args!("wait for {}", self.name))?;
        let output = text(&mut self.output);
        if status.success() {
            return Ok(output);
        }
        let said = [text(&mut self.errors), output].map(|t| t.trim().to_owned()).join(" ");
        let said = said.trim().chars().take(SHOWN).collect();
        Err(Error::Program { program: self.name.clone(), status: status.to_string(), output: said })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn memory() -> Result<File> {
    rustix::fs::memfd_create("output", MemfdFlags::CLOEXEC).map(File::from).doing("create memory file")
}

fn text(file: &mut File) -> String {
    let mut bytes = Vec::new();
    match file.seek(SeekFrom::Start(0)).and_then(|_| file.take(KEPT).read_to_end(&mut bytes)) {
        Ok(_) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn output_errors_and_bounds() {
        assert_eq!(run("sh", &["-c", "echo out; echo err >&2"], LONG).unwrap(), "out\n");
        let error = run("sh", &["-c", "echo said; echo why >&2; exit 3"], LONG).unwrap_err();
        assert_eq!(error.to_string(), "sh failed with exit status: 3: why said");
        assert!(run("/no/such/program", &["x"], LONG).unwrap_err().is_not_found());
        let error = run("sleep", &["1000"], Duration::from_millis(1)).unwrap_err();
        assert!(matches!(error, Error::Timeout { .. }), "{error}");
    }

    #[test]
    fn input_is_passed_on() {
        let mut command = Command::new("cat");
        command.stdin(Stdio::piped());
        let mut running = Running::start(command, "cat").unwrap();
        running.input().unwrap().write_all(b"through").unwrap();
        assert_eq!(running.finish(LONG).unwrap(), "through");
    }
}
