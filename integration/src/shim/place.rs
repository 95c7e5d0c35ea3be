//! What a test of a shim stands in: a directory with an event socket, and the shims that were started in it.
#![allow(clippy::unwrap_used)] // a fixture: what it cannot make ends the test

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use protobuf::Message;
use protos::shim::task_v3::DeleteResponse;

use super::events::{EventServer, Seen, record};
use super::patience::eventually;
use super::task::{Task, Version};
use super::{Bundle, NAMESPACE, Program};

/// See the module. What was started in it is ended when it is dropped.
pub struct Place {
    /// The directory.
    pub dir: tempfile::TempDir,
    /// What the shims told.
    pub seen: Seen,
    /// The shim under test, as a daemon that lives here calls it.
    pub program: Program,
    events: Option<EventServer>,
}

impl Place {
    /// A new place for the shim `file`, with an event socket.
    pub async fn of(file: impl Into<PathBuf>) -> Place {
        let dir = tempfile::Builder::new().prefix("shim").tempdir().unwrap();
        let program = Program::new(file, NAMESPACE, &dir.path().join("d"));
        let mut place = Place { dir, seen: Seen::default(), program, events: None };
        place.daemon_comes().await;
        place
    }

    /// The socket that shims send their events to.
    pub fn ttrpc(&self) -> PathBuf {
        self.program.ttrpc.clone()
    }

    /// The socket that shims take for the daemon's.
    pub fn grpc(&self) -> PathBuf {
        self.program.grpc.clone()
    }

    /// Events are taken.
    pub async fn daemon_comes(&mut self) {
        let _ = std::fs::remove_file(self.ttrpc());
        self.events = Some(record(&self.ttrpc(), &self.seen).await.unwrap());
    }

    /// Nobody takes events any more.
    pub async fn daemon_goes(&mut self) {
        if let Some(server) = self.events.take() {
            server.stop().await.unwrap();
        }
        let _ = std::fs::remove_file(self.ttrpc());
    }

    /// A bundle whose container runs `args`.
    pub fn bundle(&self, id: &str, args: &[&str]) -> Bundle {
        Bundle::new(self.dir.path(), id, args)
    }

    /// `start` in the dialect of 1.6.
    pub fn start(&self, bundle: &Bundle) -> Shim<'_> {
        let (output, took) = self.run_start(bundle, b"", &[]);
        Shim { place: self, address: String::from_utf8(output).unwrap(), start_took: took }
    }

    /// `start` with any input and environment: what it printed, and how long it took.
    pub fn run_start(&self, bundle: &Bundle, stdin: &[u8], env: &[(&str, &str)]) -> (Vec<u8>, Duration) {
        let begun = Instant::now();
        let mut command = self.command(bundle, "start");
        command.envs(env.iter().copied());
        let output = super::program::with_stdin(command, stdin).unwrap();
        (output, begun.elapsed())
    }

    /// The command for a verb in a bundle.
    pub fn command(&self, bundle: &Bundle, verb: &str) -> Command {
        self.program.command(&bundle.dir, &bundle.id, verb)
    }

    /// The `delete` verb.
    pub fn delete(&self, bundle: &Bundle) -> DeleteResponse {
        let output = self.command(bundle, "delete").stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "delete: {}", String::from_utf8_lossy(&output.stderr));
        DeleteResponse::parse_from_bytes(&output.stdout).unwrap()
    }
}

impl Drop for Place {
    /// After a test that failed: nothing of it stays. (After one that passed there is nothing.)
    fn drop(&mut self) {
        let ours = self.dir.path().to_string_lossy().into_owned();
        for (pid, args) in crate::daemon::processes() {
            if pid != std::process::id() && args.iter().any(|a| a.contains(&ours)) {
                let _ = sys::pidfd::Pidfd::open(pid).and_then(|p| p.send_signal(9));
            }
        }
        for entry in std::fs::read_dir(self.dir.path()).into_iter().flatten().flatten() {
            if entry.path().join("options.json").exists() {
                let id = entry.file_name().to_string_lossy().into_owned();
                let _ = self.command(&Bundle { id, dir: entry.path() }, "delete").output();
            }
        }
    }
}

/// A shim that runs.
pub struct Shim<'a> {
    /// Where it was started.
    pub place: &'a Place,
    /// Where it listens.
    pub address: String,
    /// How long `start` took.
    pub start_took: Duration,
}

impl Shim<'_> {
    /// A client of version 3.
    pub async fn client(&self) -> Task {
        self.client_of(Version::V3).await
    }

    /// A client.
    pub async fn client_of(&self, version: Version) -> Task {
        Task::dial(&self.address, version).await.unwrap()
    }

    /// The socket's path.
    pub fn socket(&self) -> PathBuf {
        PathBuf::from(self.address.trim_start_matches("unix://"))
    }

    /// Waits until it has left its socket.
    pub async fn gone(&self) {
        let path = self.socket();
        eventually("shim leaves its socket", || (!path.exists()).then_some(())).await;
    }
}
