//! A shim as a program: the verbs and flags with which daemons call it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use protobuf::Message;
use protos::shim::Any;
use protos::shim::bootstrap::{BootstrapParams, LogLevel};
use protos::shim::task_v3::DeleteResponse;
use protos::shim::types::RuntimeInfo;

use super::{Answer, Dialect};

/// A shim's program, and what a daemon tells it on every call.
#[derive(Clone, Debug)]
pub struct Program {
    /// The file to run.
    pub file: PathBuf,
    /// Namespace of its containers.
    pub namespace: String,
    /// The daemon's gRPC socket: part of the name of the shim's own.
    pub grpc: PathBuf,
    /// The daemon's ttrpc socket, where events go.
    pub ttrpc: PathBuf,
    /// Program for publishing events the old way.
    pub publish_binary: PathBuf,
    /// Log at debug level.
    pub debug: bool,
    /// More of the environment.
    pub env: Vec<(String, String)>,
}

/// What came of `start`.
#[derive(Clone, Debug)]
pub struct Started {
    /// What it printed, read.
    pub answer: Answer,
    /// How long that took.
    pub took: Duration,
}

impl Program {
    /// A shim that belongs to a daemon with its socket at `grpc`; its ttrpc socket has the same name and `.ttrpc`.
    pub fn new(file: impl Into<PathBuf>, namespace: &str, grpc: &Path) -> Self {
        let ttrpc = PathBuf::from(format!("{}.ttrpc", grpc.display()));
        Self {
            file: file.into(),
            namespace: namespace.to_owned(),
            grpc: grpc.to_owned(),
            ttrpc,
            publish_binary: "/bin/false".into(),
            debug: false,
            env: Vec::new(),
        }
    }

    /// The command for a verb (`start`, `delete`), as a daemon runs it in a bundle. No verb: none is given.
    pub fn command(&self, bundle: &Path, id: &str, verb: &str) -> Command {
        let mut command = Command::new(&self.file);
        command.arg("-namespace").arg(&self.namespace).arg("-address").arg(&self.grpc);
        command.arg("-publish-binary").arg(&self.publish_binary).args(["-id", id]);
        if self.debug {
            command.arg("-debug");
        }
        if verb == "delete" {
            command.arg("-bundle").arg(bundle);
        }
        if !verb.is_empty() {
            command.arg(verb);
        }
        command
            .env("TTRPC_ADDRESS", &self.ttrpc)
            .env("GRPC_ADDRESS", &self.grpc)
            .env("NAMESPACE", &self.namespace)
            .env("GOMAXPROCS", "2")
            .env_remove("MAX_SHIM_VERSION")
            .envs(self.env.iter().map(|(k, v)| (k, v)))
            .current_dir(bundle)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// What a daemon of 2.3 writes to `start`.
    pub fn params(&self, id: &str) -> BootstrapParams {
        let mut params = BootstrapParams::new();
        (params.instance_id, params.namespace) = (id.to_owned(), self.namespace.clone());
        params.containerd_grpc_address = self.grpc.to_string_lossy().into_owned();
        params.containerd_ttrpc_address = self.ttrpc.to_string_lossy().into_owned();
        params.containerd_binary = self.publish_binary.to_string_lossy().into_owned();
        params.containerd_version = "2.3.4".into();
        if self.debug {
            params.log_level = LogLevel::LOG_LEVEL_DEBUG.into();
        }
        params
    }

    /// `start` in a bundle.
    ///
    /// # Errors
    /// The shim fails (with what it said), or its answer is none.
    pub fn start(
        &self,
        bundle: &Path,
        id: &str,
        dialect: Dialect,
        options: Option<&Any>,
    ) -> anyhow::Result<Started> {
        let stdin = dialect.stdin(self.params(id), options)?;
        let mut command = self.command(bundle, id, "start");
        if dialect != Dialect::Address {
            command.env("MAX_SHIM_VERSION", "2");
        }
        let begun = Instant::now();
        let output = with_stdin(command, &stdin)?;
        let answer = Answer::read(&output)?;
        Ok(Started { answer, took: begun.elapsed() })
    }

    /// The `delete` verb: what a daemon runs after a shim has died.
    ///
    /// # Errors
    /// The shim fails, or its answer is none.
    pub fn delete(&self, bundle: &Path, id: &str) -> anyhow::Result<DeleteResponse> {
        let output = with_stdin(self.command(bundle, id, "delete"), b"")?;
        DeleteResponse::parse_from_bytes(&output).context("the answer of delete is none")
    }

    /// `-info`: what the shim and the runtime behind it can do.
    ///
    /// # Errors
    /// The shim fails, or its answer is none.
    pub fn info(&self, options: Option<&Any>) -> anyhow::Result<RuntimeInfo> {
        let mut command = Command::new(&self.file);
        command.arg("-info").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let stdin = options.map(Any::write_to_bytes).transpose()?.unwrap_or_default();
        RuntimeInfo::parse_from_bytes(&with_stdin(command, &stdin)?).context("the answer of -info is none")
    }

    /// `-v`: the version, in words.
    ///
    /// # Errors
    /// The shim fails.
    pub fn version(&self) -> anyhow::Result<String> {
        let mut command = Command::new(&self.file);
        command.arg("-v").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(String::from_utf8_lossy(&with_stdin(command, b"")?).into_owned())
    }
}

/// Runs a command to its end with `stdin`; gives its standard output.
///
/// # Errors
/// It cannot be run, or fails: then with what it said.
pub(super) fn with_stdin(mut command: Command, stdin: &[u8]) -> anyhow::Result<Vec<u8>> {
    let what = command.get_program().to_string_lossy().into_owned();
    let mut child = command.stdin(Stdio::piped()).spawn().with_context(|| format!("run {what}"))?;
    if let Some(mut pipe) = child.stdin.take() {
        // One that does not read its input is none the worse.
        let _ = pipe.write_all(stdin);
    }
    let output = child.wait_with_output().with_context(|| format!("wait for {what}"))?;
    if !output.status.success() {
        bail!(
            "{what}: {}: {}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr),
            String::from_utf8_lossy(&output.stdout)
        );
    }
    Ok(output.stdout)
}
