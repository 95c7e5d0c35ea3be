//! `dmsetup(8)`: what is asked of it and what its answers mean.

use std::path::PathBuf;
use std::time::Duration;

use rustix::io::Errno;

use crate::error::{Error, Result};

/// Longest that one command may take; `--retry` itself goes on for a few seconds.
const LIMIT: Duration = Duration::from_secs(120);
const SECTOR: u64 = 512;

/// The program.
#[derive(Debug, Clone)]
pub(super) struct Dmsetup {
    pub(super) program: String,
    /// Where devices appear.
    pub(super) directory: PathBuf,
}

impl Dmsetup {
    fn run(&self, arguments: &[&str]) -> Result<String> {
        match sys::program::run(&self.program, arguments, LIMIT) {
            Ok(output) => Ok(output.trim().to_owned()),
            Err(sys::Error::Program { program, status, output }) => match errno(&output) {
                Some(errno) => {
                    let action = format!("{program} {}", arguments.join(" "));
                    Err(Error::Sys(sys::Error::Call { what: action, source: errno.into() }))
                }
                None => Err(Error::Sys(sys::Error::Program { program, status, output })),
            },
            Err(e) => Err(e.into()),
        }
    }

    pub(super) fn version(&self) -> Result<String> {
        self.run(&["version"])
    }

    /// The file of a device.
    pub(super) fn path(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    pub(super) fn is_loaded(&self, name: &str) -> Result<bool> {
        let names = self.run(&["info", "--columns", "--noheadings", "-o", "name"])?;
        Ok(names.lines().any(|line| line.trim() == name))
    }

    pub(super) fn create_thin(&self, pool: &str, device: u32) -> Result<()> {
        self.message(pool, &format!("create_thin {device}"))
    }

    pub(super) fn create_snap(&self, pool: &str, device: u32, origin: u32) -> Result<()> {
        self.message(pool, &format!("create_snap {device} {origin}"))
    }

    /// Gone already is fine.
    pub(super) fn delete(&self, pool: &str, device: u32) -> Result<()> {
        match self.message(pool, &format!("delete {device}")) {
            Err(e) if is_errno(&e, Errno::NODATA) => Ok(()),
            other => other,
        }
    }

    fn message(&self, pool: &str, text: &str) -> Result<()> {
        self.run(&["message", pool, "0", text]).map(|_| ())
    }

    pub(super) fn activate(&self, pool: &str, name: &str, device: u32, bytes: u64) -> Result<()> {
        let table = format!("0 {} thin {} {device}", bytes / SECTOR, self.path(pool));
        self.run(&["create", name, "--table", &table]).map(|_| ())
    }

    pub(super) fn suspend(&self, name: &str) -> Result<()> {
        self.run(&["suspend", name]).map(|_| ())
    }

    pub(super) fn resume(&self, name: &str) -> Result<()> {
        self.run(&["resume", name]).map(|_| ())
    }

    /// Takes a device from sight; with `deferred` when its last user lets go. Gone already is fine.
    pub(super) fn deactivate(&self, name: &str, deferred: bool) -> Result<()> {
        let how = if deferred { "--deferred" } else { "--force" };
        match self.run(&["remove", "--retry", how, &self.path(name)]) {
            Err(e) if is_errno(&e, Errno::NXIO) => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// Bytes of the pool that a thin device has mapped.
    pub(super) fn mapped(&self, name: &str) -> Result<u64> {
        mapped(&self.run(&["status", name])?)
    }
}

/// `0 20971520 thin 3072 20971519`: start, length, target, mapped sectors, highest mapped sector (or `-`).
fn mapped(status: &str) -> Result<u64> {
    let fields: Vec<&str> = status.split_ascii_whitespace().collect();
    let sectors = match fields.as_slice() {
        [_, _, "thin", sectors, ..] => sectors.parse::<u64>().ok(),
        _ => None,
    };
    let bytes = sectors.and_then(|s| s.checked_mul(SECTOR));
    bytes
        .ok_or_else(|| Error::refused(base::ErrorKind::Unknown, format!("failed to parse status {status:?}")))
}

/// The errno behind `device-mapper: message ioctl on POOL failed: File exists`: the program tells it in no other way.
fn errno(output: &str) -> Option<Errno> {
    let line = output.lines().next()?;
    if line.trim_end().ends_with("not found") {
        return Some(Errno::NXIO);
    }
    let words = line.rsplit_once("failed: ")?.1;
    // An error of ours has everything on one line, the summary behind it.
    let words = words.split(" Command failed").next().unwrap_or(words).trim().to_ascii_lowercase();
    let known = [
        ("file exists", Errno::EXIST),
        ("device or resource busy", Errno::BUSY),
        ("no data available", Errno::NODATA),
        ("no such device or address", Errno::NXIO),
        ("no such device", Errno::NODEV),
        ("no space left on device", Errno::NOSPC),
        ("invalid argument", Errno::INVAL),
        ("operation not permitted", Errno::PERM),
        ("input/output error", Errno::IO),
        ("cannot allocate memory", Errno::NOMEM),
    ];
    known.iter().find(|(text, _)| *text == words).map(|(_, errno)| *errno)
}

/// Whether the program failed for this reason.
pub(super) fn is_errno(e: &Error, errno: Errno) -> bool {
    matches!(e, Error::Sys(sys) if sys.is_errno(errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_lines() {
        assert_eq!(mapped("0 20971520 thin 3072 20971519").unwrap(), 3072 * 512);
        assert_eq!(mapped("0 20971520 thin 0 -").unwrap(), 0);
        for bad in ["", "0 8 linear", "0 8 thin x 1", "0 8 thin Fail", "0 1 thin 18446744073709551615 1"] {
            assert!(mapped(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn reasons_of_failures() {
        for (said, wanted) in [
            (
                "device-mapper: message ioctl on pool  failed: File exists\nCommand failed.",
                Some(Errno::EXIST),
            ),
            (
                "device-mapper: remove ioctl on x  failed: Device or resource busy\nCommand failed.",
                Some(Errno::BUSY),
            ),
            (
                "device-mapper: message ioctl on pool failed: No data available\nCommand failed",
                Some(Errno::NODATA),
            ),
            ("Device /dev/mapper/pool-snap-1 not found\nCommand failed.", Some(Errno::NXIO)),
            ("device-mapper: reload ioctl on x failed: Something new", None),
            ("/dev/mapper/control: open failed", None),
            ("", None),
        ] {
            assert_eq!(errno(said), wanted, "{said}");
        }
    }
}
