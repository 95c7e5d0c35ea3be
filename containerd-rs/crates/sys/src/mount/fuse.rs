//! File systems that a program serves: `fuse.NAME` and `fuse3.NAME` through their mount helpers.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::process::{Command, Stdio};
use std::time::Duration;

use base::Mount;
use rustix::fs::MemfdFlags;

use super::apply::Target;
use super::info::is_mount_point;
use crate::error::{Context, Error, Result};
use crate::pidfd::Pidfd;

/// Longest that a mount helper may take.
const HELPER_TIMEOUT: Duration = Duration::from_secs(60);

/// The helper and the file system's name, when the type asks for one.
pub(super) fn helper_for(fstype: &str) -> Option<(&'static str, &str)> {
    let helpers = [("mount.fuse", "fuse."), ("mount.fuse3", "fuse3.")];
    helpers.into_iter().find_map(|(helper, prefix)| Some((helper, fstype.strip_prefix(prefix)?)))
}

/// Runs `mount.fuse3 SOURCE TARGET -o OPTION... -t NAME`.
pub(super) fn mount(helper: &'static str, program: &str, m: &Mount, target: &Target) -> Result<()> {
    let mut command = Command::new(helper);
    command.arg(&m.source).arg(&target.shown);
    for option in &m.options {
        command.arg("-o").arg(option);
    }
    command.arg("-t").arg(program);
    run(command, helper, || is_mount_point(&target.shown).unwrap_or(false))
}

/// Runs a helper to its end. `succeeded` decides when somebody else has reaped it (the shim's reaper takes every child).
pub(super) fn run(mut command: Command, name: &str, succeeded: impl Fn() -> bool) -> Result<()> {
    let output = rustix::fs::memfd_create("helper", MemfdFlags::CLOEXEC)
        .map(File::from)
        .doing("create memory file")?;
    let clone = || output.try_clone().doing("clone descriptor");
    command.stdin(Stdio::null()).stdout(clone()?).stderr(clone()?);
    let mut child = command.spawn().doing(format_args!("start {name}"))?;
    // Cannot be another process: nobody has reaped it unless that fails with ESRCH.
    let ended = match Pidfd::open(child.id()) {
        Ok(pidfd) => pidfd.wait_exited(HELPER_TIMEOUT)?,
        Err(e) if e.is_errno(rustix::io::Errno::SRCH) => true,
        Err(e) => return Err(e),
    };
    if !ended {
        let _ = child.kill();
        let _ = child.wait();
        return Err(Error::Timeout { what: name.to_owned(), millis: HELPER_TIMEOUT.as_millis() as u64 });
    }
    let status = match child.wait() {
        Ok(status) if status.success() => return Ok(()),
        Ok(status) => status.to_string(),
        Err(_) if succeeded() => return Ok(()),
        Err(e) => e.to_string(),
    };
    Err(Error::Program { program: name.to_owned(), status, output: first_part(output) })
}

fn first_part(mut file: File) -> String {
    let mut text = Vec::new();
    let read = file.seek(SeekFrom::Start(0)).and_then(|_| file.take(1024).read_to_end(&mut text));
    if read.is_err() {
        return String::new();
    }
    String::from_utf8_lossy(&text).trim().to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn types_choose_their_helper() {
        assert_eq!(helper_for("fuse3.fuse-overlayfs"), Some(("mount.fuse3", "fuse-overlayfs")));
        assert_eq!(helper_for("fuse.sshfs"), Some(("mount.fuse", "sshfs")));
        assert_eq!(helper_for("fuse"), None);
        assert_eq!(helper_for("overlay"), None);
    }

    #[test]
    fn a_failing_helper_is_quoted() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such device >&2; exit 3"]);
        let error = run(command, "mount.x", || false).unwrap_err();
        assert_eq!(error.to_string(), "mount.x failed with exit status: 3: no such device");
        assert!(run(Command::new("true"), "true", || false).is_ok());
        assert!(run(Command::new("/no/such/helper"), "x", || false).unwrap_err().is_not_found());
    }
}
