//! Where the programs under test and their peers are, and running them with a bound.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// The directory with our three binaries: `CONTAINERD_RS_DIST`, else `target/dist` of this checkout.
pub fn dist() -> PathBuf {
    match std::env::var_os("CONTAINERD_RS_DIST") {
        Some(dir) => PathBuf::from(dir),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/dist"),
    }
}

/// One of our binaries. Panics with what to do when it has not been built.
pub fn ours(name: &str) -> PathBuf {
    let path = dist().join(name);
    assert!(path.exists(), "{} is missing: run `make build` first", path.display());
    path.canonicalize().unwrap_or(path)
}

/// A program of the distribution, looked up in `PATH`. Panics with what to do when it is not installed.
pub fn installed(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let extra = ["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(extra)
        .map(|dir| dir.join(name))
        .find(|p| p.exists())
        .unwrap_or_else(|| panic!("{name} is not installed: run integration/scripts/install-deps.sh test"))
}

/// What a program printed and how it ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// The standard output of a program that ended with 0; an error with everything it said otherwise.
    pub fn ok(self) -> anyhow::Result<String> {
        if self.code != 0 {
            bail!("exit {}: {}{}", self.code, self.stderr, self.stdout);
        }
        Ok(self.stdout)
    }
}

/// Run `command` to its end without standard input, for at most `bound`; it is killed then.
pub fn run_within(bound: Duration, command: &mut Command) -> anyhow::Result<Ran> {
    let what = format!("{command:?}");
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.with_context(|| format!("start {what}"))?;
    let pid = child.id();
    let (done, finished) = std::sync::mpsc::channel();
    let waiter = std::thread::spawn(move || {
        let _ = done.send(child.wait_with_output());
    });
    let start = Instant::now();
    let output: Output = match finished.recv_timeout(bound) {
        Ok(output) => output.with_context(|| format!("wait for {what}"))?,
        Err(_) => {
            let pid = nix::unistd::Pid::from_raw(i32::try_from(pid)?);
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
            let _ = waiter.join();
            bail!("{what} did not end within {:?}", start.elapsed());
        }
    };
    let _ = waiter.join();
    use std::os::unix::process::ExitStatusExt;
    let code = output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0));
    Ok(Ran {
        code,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// [`run_within`] 60 s.
pub fn run(command: &mut Command) -> anyhow::Result<Ran> {
    run_within(Duration::from_secs(60), command)
}
