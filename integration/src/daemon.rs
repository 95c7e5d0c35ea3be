//! A daemon in a private root: ours, or Debian's containerd as the peer and oracle.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::program;

/// Which daemon.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `containerd-rs` from `target/dist`.
    Ours,
    /// Debian's `containerd`.
    Peer,
}

/// A daemon with its root, state and socket below one directory. Stopped when dropped, its shims too.
pub struct Daemon {
    kind: Kind,
    dir: PathBuf,
    child: Option<Child>,
    extra_config: String,
    top_config: String,
    path_first: Option<PathBuf>,
    namespace: String,
    program: Option<PathBuf>,
}

impl Daemon {
    /// Lay out a daemon below `dir` without starting it.
    pub fn new(kind: Kind, dir: impl Into<PathBuf>) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // One of its own for each daemon: runtimes keep state by namespace and container id, machine-wide.
        let namespace = format!("t{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self {
            kind,
            dir: dir.into(),
            child: None,
            extra_config: String::new(),
            top_config: String::new(),
            path_first: None,
            namespace,
            program: None,
        }
    }

    /// More text for config.toml (tables, version 2 keys).
    pub fn config(mut self, text: &str) -> Self {
        self.extra_config.push_str(text);
        self
    }

    /// More top-level keys for config.toml.
    pub fn top(mut self, text: &str) -> Self {
        self.top_config.push_str(text);
        self
    }

    /// Put `dir` first in the daemon's PATH, so that shims and runtimes are found there.
    pub fn path_first(mut self, dir: impl Into<PathBuf>) -> Self {
        self.path_first = Some(dir.into());
        self
    }

    /// Run this program instead of the one that the kind stands for; its directory goes first in PATH.
    pub fn program(mut self, program: impl Into<PathBuf>) -> Self {
        let program = program.into();
        self.path_first = program.parent().map(Path::to_path_buf);
        self.program = Some(program);
        self
    }

    /// The gRPC socket.
    pub fn address(&self) -> PathBuf {
        self.dir.join("c.sock")
    }

    /// The namespace that its clients work in.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Panic unless nothing is left of it on the machine: mounts, shims, cgroups, runtime state. Stop it first.
    pub fn assert_clean(&self) {
        crate::leftovers::assert_clean(&self.dir, &self.namespace);
    }

    /// The persistent root.
    pub fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    /// The state directory.
    pub fn state(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// What the daemon logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("daemon.log")).unwrap_or_default()
    }

    /// The process id of the running daemon.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    fn write_config(&self) -> anyhow::Result<PathBuf> {
        std::fs::create_dir_all(&self.dir)?;
        let path = self.dir.join("config.toml");
        let cri = match self.kind {
            Kind::Ours => "",
            Kind::Peer => "disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n",
        };
        let top = &self.top_config;
        let text = format!(
            "version = 2\nroot = \"{}\"\nstate = \"{}\"\n{cri}{top}[grpc]\n  address = \"{}\"\n{}",
            self.root().display(),
            self.state().display(),
            self.address().display(),
            self.extra_config
        );
        std::fs::write(&path, text)?;
        Ok(path)
    }

    /// Start it; returns at once. See [`Daemon::start`].
    pub fn spawn(&mut self) -> anyhow::Result<()> {
        let config = self.write_config()?;
        let log = File::options().create(true).append(true).open(self.dir.join("daemon.log"))?;
        let bin = match (&self.program, self.kind) {
            (Some(program), _) => program.clone(),
            (None, Kind::Ours) => program::ours("containerd-rs"),
            (None, Kind::Peer) => program::installed("containerd"),
        };
        let mut command = Command::new(bin);
        command.arg("--config").arg(config).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        command.current_dir(&self.dir);
        if let Some(first) = &self.path_first {
            let path = std::env::var("PATH").unwrap_or_default();
            command.env("PATH", format!("{}:{path}", first.display()));
        }
        self.child = Some(command.spawn().context("start the daemon")?);
        Ok(())
    }

    /// Start it and wait until its socket answers; gives the time that took.
    pub fn start(&mut self) -> anyhow::Result<Duration> {
        let start = Instant::now();
        self.spawn()?;
        loop {
            if std::os::unix::net::UnixStream::connect(self.address()).is_ok() {
                return Ok(start.elapsed());
            }
            if let Some(child) = self.child.as_mut()
                && let Some(status) = child.try_wait()?
            {
                self.child = None;
                anyhow::bail!("the daemon ended with {status}:\n{}", self.log());
            }
            anyhow::ensure!(
                start.elapsed() < Duration::from_secs(60),
                "no socket after 60 s:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Whether the daemon that was started has ended by itself.
    pub fn has_ended(&mut self) -> anyhow::Result<bool> {
        let ended = match self.child.as_mut() {
            Some(child) => child.try_wait()?.is_some(),
            None => false,
        };
        if ended {
            self.child = None;
        }
        Ok(ended)
    }

    fn signal(&mut self, signal: Signal) -> anyhow::Result<()> {
        if let Some(child) = &self.child {
            kill(Pid::from_raw(i32::try_from(child.id())?), signal)?;
        }
        Ok(())
    }

    /// `kill -9`, and wait for its end.
    pub fn kill9(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::SIGKILL)?;
        if let Some(mut child) = self.child.take() {
            child.wait()?;
        }
        Ok(())
    }

    /// SIGTERM, and wait for its end (SIGKILL after 15 s).
    pub fn stop(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::SIGTERM)?;
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let start = Instant::now();
        while child.try_wait()?.is_none() {
            if start.elapsed() > Duration::from_secs(15) {
                child.kill()?;
                child.wait()?;
                anyhow::bail!("the daemon did not stop within 15 s of SIGTERM");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Run Debian's `ctr` against this daemon.
    pub fn ctr(&self, args: &[&str]) -> anyhow::Result<program::Ran> {
        program::run(&mut self.ctr_command(args))
    }

    /// The command that [`Daemon::ctr`] runs.
    pub fn ctr_command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program::installed("ctr"));
        command.env("CONTAINERD_NAMESPACE", &self.namespace);
        command.arg("--address").arg(self.address()).args(args);
        command
    }

    /// Run our `ctr-rs` against this daemon.
    pub fn ctr_rs(&self, args: &[&str]) -> anyhow::Result<program::Ran> {
        program::run(&mut self.ctr_rs_command(args))
    }

    /// The command that [`Daemon::ctr_rs`] runs.
    pub fn ctr_rs_command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program::ours("ctr-rs"));
        command.env("CONTAINERD_NAMESPACE", &self.namespace);
        command.arg("--address").arg(self.address()).args(args);
        command
    }

    /// Pids of the shims whose command line names this daemon's socket.
    pub fn shims(&self) -> Vec<u32> {
        shims_of(&self.address())
    }

    /// End every shim and every container process of this daemon (for clean-up after a failed test), and unmount what
    /// is below its directory.
    fn sweep(&self) {
        let mut victims: Vec<u32> = self.shims();
        let children = children_of(&victims);
        victims.extend(children);
        for pid in victims {
            if let Ok(pid) = i32::try_from(pid) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
        for mount in crate::leftovers::mounts_below(&self.dir).into_iter().rev() {
            let _ = nix::mount::umount2(Path::new(&mount), nix::mount::MntFlags::MNT_DETACH);
        }
        for id in crate::leftovers::entries(&Path::new("/run/containerd/runc").join(&self.namespace)) {
            let root = format!("/run/containerd/runc/{}", self.namespace);
            let mut runc = Command::new(program::installed("runc"));
            let _ = program::run(runc.args(["--root", &root, "delete", "--force", &id]));
        }
        crate::leftovers::sweep(&self.namespace);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.stop().is_err() {
            eprintln!("daemon log:\n{}", self.log());
        }
        if std::thread::panicking() {
            eprintln!("daemon log:\n{}", self.log());
        }
        self.sweep();
    }
}

/// Pids of the processes whose command line is a shim's and names `address`.
pub fn shims_of(address: &Path) -> Vec<u32> {
    let address = address.to_string_lossy().into_owned();
    processes()
        .filter(|(_, args)| {
            args.first().is_some_and(|a| a.contains("containerd-shim")) && args.contains(&address)
        })
        .map(|p| p.0)
        .collect()
}

/// Every process with its arguments.
pub fn processes() -> impl Iterator<Item = (u32, Vec<String>)> {
    let dirs = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    dirs.filter_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let raw = std::fs::read(entry.path().join("cmdline")).ok()?;
        let args = raw.split(|b| *b == 0).map(|a| String::from_utf8_lossy(a).into_owned()).collect();
        Some((pid, args))
    })
}

/// Direct children of `parents`.
pub fn children_of(parents: &[u32]) -> Vec<u32> {
    let status = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let parent = |text: &str| text.lines().find_map(|l| l.strip_prefix("PPid:")?.trim().parse::<u32>().ok());
    processes()
        .map(|p| p.0)
        .filter(|pid| parent(&status(*pid)).is_some_and(|pp| parents.contains(&pp)))
        .collect()
}
