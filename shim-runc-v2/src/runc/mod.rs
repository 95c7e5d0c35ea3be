//! The OCI runtime (`runc`, `crun`, `youki`, ...) driven as a program: its command lines.

pub(crate) mod call;
pub(crate) mod log;

use std::path::{Path, PathBuf};
use std::time::Duration;

use base::Error;
use protos::shim::options::{CheckpointOptions, Options};

use crate::reaper::Reaper;
use crate::task::cancel::Cancel;
use call::{Call, run};
pub(crate) use call::{Failed, Failure, Streams};

/// Runtime used when the options name none.
pub(crate) const DEFAULT_BINARY: &str = "runc";
/// Root of the runtime's state when the options name none; the namespace is joined to it.
pub(crate) const DEFAULT_ROOT: &str = "/run/containerd/runc";

/// Time for what runs hooks or moves memory: create, start, exec, checkpoint, restore.
pub(crate) const LONG: Duration = Duration::from_secs(300);
/// Time for everything else.
pub(crate) const SHORT: Duration = Duration::from_secs(60);

/// A runtime with the flags that every call gets.
#[derive(Debug, Clone)]
pub(crate) struct Runc {
    binary: String,
    root: PathBuf,
    bundle: PathBuf,
    systemd_cgroup: bool,
}

/// What create, exec and restore have in common.
pub(crate) struct Launch {
    /// The file that the new process's pid is written to.
    pub(crate) pid_file: PathBuf,
    /// The socket on which a terminal's master is handed over.
    pub(crate) console_socket: Option<PathBuf>,
    /// The container's streams.
    pub(crate) streams: Streams,
    /// Kills the run.
    pub(crate) cancel: Option<Cancel>,
    /// Time that the caller left us.
    pub(crate) limit: Duration,
}

impl Runc {
    /// The runtime that `options` ask for.
    pub(crate) fn new(options: &Options, namespace: &str, bundle: &Path) -> Runc {
        let or =
            |text: &str, default: &str| if text.is_empty() { default.to_owned() } else { text.to_owned() };
        Runc {
            binary: or(&options.binary_name, DEFAULT_BINARY),
            root: Path::new(&or(&options.root, DEFAULT_ROOT)).join(namespace),
            bundle: bundle.to_owned(),
            systemd_cgroup: options.systemd_cgroup,
        }
    }

    /// Whether the runtime has a container of this name. Each runtime keeps a directory of that name below its root for as
    /// long as it does.
    pub(crate) fn knows(&self, id: &str) -> bool {
        std::fs::symlink_metadata(self.root.join(id)).is_ok()
    }

    /// The log of calls that the shim never makes two of at once.
    fn main_log(&self) -> PathBuf {
        self.bundle.join("log.json")
    }

    /// The log of a call that may run beside others, so that nobody reads another's error.
    fn side_log(&self, tag: &str) -> PathBuf {
        self.bundle.join(format!("log.{tag}.json"))
    }

    fn words(&self, log: &Path, verb: &str) -> Vec<String> {
        let text = |p: &Path| p.to_string_lossy().into_owned();
        let mut words = vec![
            "--root".into(),
            text(&self.root),
            "--log".into(),
            text(log),
            "--log-format".into(),
            "json".into(),
        ];
        if self.systemd_cgroup {
            words.push("--systemd-cgroup".into());
        }
        words.push(verb.into());
        words
    }

    fn call<'a>(&'a self, args: Vec<String>, log: PathBuf, limit: Duration) -> Call<'a> {
        Call { binary: &self.binary, args, streams: Streams::Capture, log: Some(log), limit, cancel: None }
    }

    async fn launch(
        &self,
        reaper: &Reaper,
        mut args: Vec<String>,
        log: PathBuf,
        launch: Launch,
        last: &[&str],
    ) -> Result<(), Failed> {
        args.extend(["--pid-file".into(), launch.pid_file.to_string_lossy().into_owned()]);
        if let Some(socket) = &launch.console_socket {
            args.extend(["--console-socket".into(), socket.to_string_lossy().into_owned()]);
        }
        args.extend(last.iter().map(|&w| w.into()));
        let call =
            Call { streams: launch.streams, cancel: launch.cancel, ..self.call(args, log, launch.limit) };
        run(reaper, call).await.map(drop)
    }

    /// `create`: the container exists afterwards, its init waits to be started.
    pub(crate) async fn create(
        &self,
        reaper: &Reaper,
        id: &str,
        options: &Options,
        launch: Launch,
    ) -> Result<(), Failed> {
        let log = self.main_log();
        let mut args = self.words(&log, "create");
        args.extend(["--bundle".into(), self.bundle.to_string_lossy().into_owned()]);
        args.extend(switches(options));
        self.launch(reaper, args, log, launch, &[id]).await
    }

    /// `restore`: create and start from a checkpoint in `image`.
    pub(crate) async fn restore(
        &self,
        reaper: &Reaper,
        id: &str,
        options: &Options,
        image: &str,
        work: &Path,
        launch: Launch,
    ) -> Result<(), Failed> {
        let log = self.main_log();
        let mut args = self.words(&log, "restore");
        args.extend([
            "--image-path".into(),
            image.to_owned(),
            "--work-path".into(),
            work.to_string_lossy().into_owned(),
        ]);
        args.extend([
            "--bundle".into(),
            self.bundle.to_string_lossy().into_owned(),
            "--detach".into(),
            "--no-subreaper".into(),
        ]);
        if options.no_pivot_root {
            args.push("--no-pivot".into());
        }
        self.launch(reaper, args, log, launch, &[id]).await
    }

    /// `exec --detach` of the process that the file `process` describes. `tag` names this call's own log.
    pub(crate) async fn exec(
        &self,
        reaper: &Reaper,
        id: &str,
        tag: &str,
        process: &Path,
        launch: Launch,
    ) -> Result<(), Failed> {
        let log = self.side_log(&format!("exec.{tag}"));
        let mut args = self.words(&log, "exec");
        args.extend(["--process".into(), process.to_string_lossy().into_owned(), "--detach".into()]);
        let done = self.launch(reaper, args, log.clone(), launch, &[id]).await;
        let _ = std::fs::remove_file(log);
        done
    }

    /// `start` of a created container.
    pub(crate) async fn start(&self, reaper: &Reaper, id: &str, limit: Duration) -> Result<(), Failed> {
        self.plain(reaper, "start", &[id], limit).await
    }

    /// `kill`: `signal` to the init, or to every process.
    pub(crate) async fn kill(&self, reaper: &Reaper, id: &str, signal: u32, all: bool) -> Result<(), Failed> {
        let signal = signal.to_string();
        let log = self.side_log("kill");
        let mut args = self.words(&log, "kill");
        args.extend(all.then(|| "--all".to_owned()));
        args.extend([id.to_owned(), signal]);
        run(reaper, self.call(args, log, SHORT)).await.map(drop)
    }

    /// `delete`.
    pub(crate) async fn delete(
        &self,
        reaper: &Reaper,
        id: &str,
        force: bool,
        limit: Duration,
    ) -> Result<(), Failed> {
        let flags: &[&str] = if force { &["--force"] } else { &[] };
        self.plain(reaper, "delete", &[flags, &[id]].concat(), limit).await
    }

    /// `pause`.
    pub(crate) async fn pause(&self, reaper: &Reaper, id: &str) -> Result<(), Failed> {
        self.plain(reaper, "pause", &[id], SHORT).await
    }

    /// `resume`.
    pub(crate) async fn resume(&self, reaper: &Reaper, id: &str) -> Result<(), Failed> {
        self.plain(reaper, "resume", &[id], SHORT).await
    }

    /// `update` with the resources in a file.
    pub(crate) async fn update(&self, reaper: &Reaper, id: &str, resources: &Path) -> Result<(), Failed> {
        let resources = format!("--resources={}", resources.display());
        self.plain(reaper, "update", &[&resources, id], SHORT).await
    }

    /// `checkpoint` into `image`.
    pub(crate) async fn checkpoint(
        &self,
        reaper: &Reaper,
        id: &str,
        image: &str,
        work: &Path,
        options: &CheckpointOptions,
    ) -> Result<(), Failed> {
        let work = work.to_string_lossy();
        let mut args = vec!["--image-path", image, "--work-path", &work];
        let flags = [
            (!options.exit, "--leave-running"),
            (options.open_tcp, "--tcp-established"),
            (options.external_unix_sockets, "--ext-unix-sk"),
            (options.terminal, "--shell-job"),
            (options.file_locks, "--file-locks"),
        ];
        args.extend(flags.iter().filter(|(on, _)| *on).map(|(_, flag)| *flag));
        for name in &options.empty_namespaces {
            args.extend(["--empty-ns", name]);
        }
        if !options.parent_path.is_empty() {
            args.extend(["--parent-path", &options.parent_path]);
        }
        args.push(id);
        self.plain(reaper, "checkpoint", &args, LONG).await
    }

    /// `ps --format json`: pids, as the host numbers them.
    pub(crate) async fn ps(&self, reaper: &Reaper, id: &str) -> Result<Vec<u32>, Error> {
        let log = self.side_log("ps");
        let mut args = self.words(&log, "ps");
        args.extend(["--format", "json", id].map(String::from));
        let text = run(reaper, self.call(args, log, SHORT)).await.map_err(|f| Error::unknown(f.words()))?;
        let pids: Option<Vec<u32>> = serde_json::from_slice(&text)
            .map_err(|e| Error::internal(format!("read process list of {id}")).with_source(e))?;
        Ok(pids.unwrap_or_default())
    }

    async fn plain(&self, reaper: &Reaper, verb: &str, last: &[&str], limit: Duration) -> Result<(), Failed> {
        let log = self.main_log();
        let mut args = self.words(&log, verb);
        args.extend(last.iter().map(|&w| w.into()));
        run(reaper, self.call(args, log, limit)).await.map(drop)
    }
}

fn switches(options: &Options) -> impl Iterator<Item = String> {
    let flags = [(options.no_pivot_root, "--no-pivot"), (options.no_new_keyring, "--no-new-keyring")];
    flags.into_iter().filter(|(on, _)| *on).map(|(_, flag)| flag.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_name_is_known_while_the_runtime_keeps_its_directory() {
        let dir = tempfile::tempdir().unwrap();
        let mut options = Options::new();
        options.root = dir.path().display().to_string();
        let runc = Runc::new(&options, "n", Path::new("/b"));
        assert!(!runc.knows("c"));
        std::fs::create_dir_all(dir.path().join("n/c")).unwrap();
        assert!(runc.knows("c") && !runc.knows("d"));
    }

    #[test]
    fn flags_that_every_call_gets() {
        let mut options = Options::new();
        let runc = Runc::new(&options, "k8s.io", Path::new("/b"));
        assert_eq!(runc.binary, "runc");
        assert_eq!(
            runc.words(Path::new("/b/log.json"), "start").join(" "),
            "--root /run/containerd/runc/k8s.io --log /b/log.json --log-format json start"
        );
        options.binary_name = "/opt/crun".into();
        options.root = "/x".into();
        options.systemd_cgroup = true;
        options.no_new_keyring = true;
        let runc = Runc::new(&options, "n", Path::new("/b"));
        assert_eq!(
            runc.words(Path::new("/l"), "kill").join(" "),
            "--root /x/n --log /l --log-format json --systemd-cgroup kill"
        );
        assert_eq!(runc.binary, "/opt/crun");
        assert_eq!(switches(&options).collect::<Vec<_>>(), ["--no-new-keyring"]);
    }
}
