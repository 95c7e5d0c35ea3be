//! `tasks exec --exec-id X ID COMMAND...`.

use std::path::PathBuf;

use protos::api::containers::Container;
use protos::api::snapshots::MountsRequest;
use protos::api::tasks::ExecProcessRequest;

use crate::cli::Global;
use crate::client::Client;
use crate::cmd::containers::{get, spec_of};
use crate::cmd::run::flags::TaskFlags;
use crate::cmd::run::follow;
use crate::error::{Answered, Error, Result};
use crate::spec::model::{Process, User};
use crate::spec::rootfs::Rootfs;
use crate::spec::{Spec, user};
use crate::task::call::{ProcessRef, spec_any};
use crate::task::signals::Signals;
use crate::task::stdio::Stdio;

/// Arguments of `tasks exec`.
#[derive(Debug, clap::Args)]
#[command(override_usage = "ctr-rs tasks exec [FLAGS] --exec-id EXEC ID COMMAND...")]
pub struct Args {
    /// Id of the new process
    #[arg(long, value_name = "EXEC")]
    exec_id: String,
    /// Directory to start in
    #[arg(long)]
    cwd: Option<String>,
    /// Give the process a terminal
    #[arg(long, short)]
    tty: bool,
    /// Do not stay
    #[arg(long, short)]
    detach: bool,
    /// Directory for the FIFOs of standard streams
    #[arg(long, value_name = "DIR")]
    fifo_dir: Option<PathBuf>,
    /// Where the shim writes output: file:///path or binary:///program
    #[arg(long, value_name = "URI", conflicts_with_all = ["tty", "fifo_dir"])]
    log_uri: Option<String>,
    /// User: name or uid, and optionally :group or :gid
    #[arg(long)]
    user: Option<String>,
    /// Id of the container, and the command
    #[arg(value_name = "ID COMMAND", trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    words: Vec<String>,
}

/// Runs it; gives its exit status.
pub async fn run(global: &Global, args: Args) -> Result<u8> {
    let [id, command @ ..] = args.words.as_slice() else {
        return Err(Error::invalid("a container id must be given"));
    };
    if command.is_empty() {
        return Err(Error::invalid("a command must be given after the container id"));
    }
    base::ExecId::new(&args.exec_id).map_err(|e| Error::refused("exec id cannot be used", e))?;
    let client = global.client()?;
    let signals = Signals::take()?;
    let container = get(&client, id).await?;
    let spec = spec_of(&container)?;
    let mut process = spec.process.clone().unwrap_or_default();
    if let Some(name) = &args.user {
        process.user = resolve(&client, &container, &spec, name).await?;
    }
    adapt(&mut process, &args, command);

    let flags = TaskFlags {
        detach: args.detach,
        log_uri: args.log_uri.clone(),
        fifo_dir: args.fifo_dir.clone(),
        ..TaskFlags::default()
    };
    let mut stdio = Stdio::prepare(&args.exec_id, &flags.stdio(args.tty))?;
    let request = ExecProcessRequest {
        container_id: id.clone(),
        stdin: stdio.streams.stdin.clone(),
        stdout: stdio.streams.stdout.clone(),
        stderr: stdio.streams.stderr.clone(),
        terminal: args.tty,
        spec: Some(spec_any(base::any::type_url::PROCESS, &process)?),
        exec_id: args.exec_id.clone(),
    };
    let exec = async {
        client.tasks().exec(request).await.or_say(format!("cannot exec {} in task {id}", args.exec_id))
    };
    signals.guard(exec).await?;
    let exec = ProcessRef::exec(&client, id, &args.exec_id);
    let status = follow(&exec, &mut stdio, &flags, 0, &signals).await?;
    if args.detach {
        stdio.leave();
    }
    Ok(status)
}

/// The container's own process with another command.
fn adapt(process: &mut Process, args: &Args, command: &[String]) {
    process.terminal = args.tty;
    process.args = command.to_vec();
    if let Some(cwd) = &args.cwd {
        process.cwd.clone_from(cwd);
    }
}

async fn resolve(client: &Client, container: &Container, spec: &Spec, name: &str) -> Result<User> {
    if container.snapshot_key.is_empty() {
        let root = spec.root.as_ref().map(|r| r.path.as_str()).unwrap_or_default();
        if !root.starts_with('/') {
            return Err(Error::invalid(
                "the container has no root file system to look users up in: give numbers, --user UID:GID",
            ));
        }
        return user::resolve(name, Rootfs::Dir(root.as_ref()));
    }
    let request =
        MountsRequest { snapshotter: container.snapshotter.clone(), key: container.snapshot_key.clone() };
    let what = format!("cannot get the mounts of snapshot {}", container.snapshot_key);
    let mounts = client.snapshots().mounts(request).await.or_say(what)?.mounts;
    user::resolve(name, Rootfs::Mounts(&mounts))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use crate::cli::Cli;
    use clap::Parser;

    #[test]
    fn what_follows_the_id_is_the_command() {
        let words = ["ctr-rs", "t", "exec", "--exec-id", "e", "-t", "c", "sh", "-c", "-t"];
        let cli = Cli::try_parse_from(words).unwrap();
        let crate::cmd::Command::Tasks(super::super::Command::Exec(args)) = cli.command else { panic!() };
        assert!(args.tty);
        assert_eq!(args.words, ["c", "sh", "-c", "-t"]);
        assert!(Cli::try_parse_from(["ctr-rs", "t", "exec", "c", "sh"]).is_err(), "an exec id is needed");
    }
}
