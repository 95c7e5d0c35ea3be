//! `run`: a container, its task, and (unless detached) its end.
//!
//! ```text
//! container -> task create -> { wait | start } -> end -> rest of the output -> task delete -> with --rm: record and snapshot
//! ```

pub mod create;
pub mod flags;
pub mod spec;

use std::path::Path;

use protos::api::Any;
use protos::api::containers::Container;
use protos::api::runc_options::Options as RuncOptions;
use protos::api::tasks::CreateTaskRequest;
use protos::api::types::Mount;

use self::create::{Created, Words};
use self::flags::{ContainerFlags, TaskFlags};
use crate::cli::Global;
use crate::client::Client;
use crate::error::{Answered, Error, Result};
use crate::io::output::warn_error;
use crate::task::attached;
use crate::task::call::ProcessRef;
use crate::task::signals::Signals;
use crate::task::stdio::Stdio;

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "ctr-rs run [FLAGS] IMAGE|DIRECTORY ID [COMMAND...]\n       ctr-rs run [FLAGS] --config FILE ID"
)]
pub struct Args {
    /// Remove the container when its process has ended; not with -d
    #[arg(long, conflicts_with = "detach")]
    pub rm: bool,
    /// Network by CNI: not done by this client
    #[arg(long, hide = true)]
    pub cni: bool,
    /// Write the runtime spec to this file
    #[arg(long, value_name = "FILE")]
    pub dump_config: Option<String>,
    #[command(flatten)]
    pub task: TaskFlags,
    #[command(flatten)]
    pub container: ContainerFlags,
    /// Image (or directory with --rootfs), id of the container, and the command to run
    #[arg(
        value_name = "IMAGE ID COMMAND",
        trailing_var_arg = true,
        allow_hyphen_values = true,
        required = true
    )]
    pub words: Vec<String>,
}

/// Runs it; gives the exit status of its process.
pub async fn run(global: &Global, args: Args) -> Result<u8> {
    if args.cni {
        return Err(Error::invalid(
            "--cni is not done by this client: use --net-host, or join a network namespace that CNI has set up with --with-ns network:PATH",
        ));
    }
    let words = Words::read(&args.words, &args.container)?;
    let client = global.client()?;
    let signals = Signals::take()?;
    let mut created = create::create(&client, &args.container, &words, &signals).await?;
    let status = task(&client, &args, &mut created, &signals).await;
    if args.rm {
        let record = &created.container;
        let snapshot = Some((record.snapshotter.as_str(), record.snapshot_key.as_str()));
        let snapshot = snapshot.filter(|(_, key)| !key.is_empty());
        if let Err(e) = create::remove(&client, Some(&record.id), snapshot).await {
            warn_error(&e);
        }
    }
    // the lease is over when the task was created; else it ends here
    created.end_lease(&client).await;
    status
}

async fn task(client: &Client, args: &Args, created: &mut Created, signals: &Signals) -> Result<u8> {
    if let Some(path) = &args.dump_config {
        dump(created, path)?;
    }
    let id = created.container.id.clone();
    let mut stdio = Stdio::prepare(&id, &args.task.stdio(created.terminal))?;
    stdio.begin_output()?;
    let rootfs = std::mem::take(&mut created.rootfs);
    let options = task_options(&created.container, &args.task, created.io_owner);
    let request = create_request(&id, rootfs, &stdio, options);
    let create = async {
        let create = client.clone();
        let create =
            async { create.tasks().create(request).await.or_say(format!("cannot create task {id}")) };
        Ok(tokio::join!(create, created.end_lease(client)).0)
    };
    let process = ProcessRef::task(client, &id);
    let pid = match signals.guard(create).await {
        Ok(answer) => answer?.pid,
        Err(e) => {
            // given up half-way: there may be a task by now
            let _gone = process.kill_and_delete().await;
            return Err(e);
        }
    };
    follow(&process, &mut stdio, &args.task, pid, signals).await.inspect(|_| {
        if args.task.detach {
            stdio.leave();
        }
    })
}

/// Starts a task that was created and, unless detached, stays with it. Gives the exit status. A task that is stayed with, or could
/// not be started, is deleted.
pub async fn follow(
    process: &ProcessRef,
    stdio: &mut Stdio,
    flags: &TaskFlags,
    pid: u32,
    signals: &Signals,
) -> Result<u8> {
    let done = async {
        if let Some(path) = &flags.pid_file {
            write_pid(path, pid)?;
        }
        signals.check()?;
        if flags.detach {
            signals.guard(process.start()).await?;
            stdio.started(None)?;
            return Ok(None);
        }
        attached::run(process, stdio, signals).await.map(Some)
    };
    match done.await {
        Ok(None) => Ok(0),
        Ok(Some((status, copies))) => {
            process.delete_surely().await?;
            attached::drain(copies).await;
            Ok(exit_code(status))
        }
        Err(e) => {
            if let Err(left) = process.kill_and_delete().await
                && !left.is_not_found()
            {
                warn_error(&left);
            }
            Err(e)
        }
    }
}

/// Options of a task that differ from the container's; `None` when there are none.
pub fn task_options(container: &Container, flags: &TaskFlags, (io_uid, io_gid): (u32, u32)) -> Option<Any> {
    if !flags.no_pivot && (io_uid, io_gid) == (0, 0) {
        return None;
    }
    let own = container.runtime.as_ref().and_then(|r| r.options.as_ref());
    let own: RuncOptions = own.and_then(|o| o.unpack().ok()).unwrap_or_default();
    Some(Any::pack(&RuncOptions { no_pivot_root: flags.no_pivot, io_uid, io_gid, ..own }))
}

/// The request that makes a container's task.
pub fn create_request(
    id: &str,
    rootfs: Vec<Mount>,
    stdio: &Stdio,
    options: Option<Any>,
) -> CreateTaskRequest {
    let streams = &stdio.streams;
    CreateTaskRequest {
        container_id: id.into(),
        rootfs,
        stdin: streams.stdin.clone(),
        stdout: streams.stdout.clone(),
        stderr: streams.stderr.clone(),
        terminal: streams.terminal,
        options,
        ..CreateTaskRequest::default()
    }
}

/// What a process ended with, as our own status.
pub fn exit_code(status: u32) -> u8 {
    u8::try_from(status).unwrap_or(u8::MAX)
}

/// Writes the pid so that a reader sees all of it or nothing.
pub fn write_pid(path: &Path, pid: u32) -> Result<()> {
    let what = || format!("cannot write pid file {}", path.display());
    let mut name = path.file_name().ok_or_else(|| Error::invalid(what()))?.to_owned();
    name.push(format!(".{}", std::process::id()));
    let part = path.with_file_name(name);
    std::fs::write(&part, pid.to_string())
        .and_then(|()| std::fs::rename(&part, path))
        .inspect_err(|_| {
            let _removed = std::fs::remove_file(&part);
        })
        .map_err(Error::io(what()))
}

fn dump(created: &Created, path: &str) -> Result<()> {
    let spec = created.container.spec.as_ref().and_then(crate::cmd::flags::json_any).unwrap_or_default();
    let text = serde_json::to_vec_pretty(&spec)
        .map_err(|source| Error::Json { what: "the spec cannot be written".into(), source })?;
    std::fs::write(path, text).map_err(Error::io(format!("cannot write {path}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn pid_files_are_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        write_pid(&path, 12).unwrap();
        write_pid(&path, 345).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "345");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(write_pid(&dir.path().join("no/pid"), 1).is_err());
    }

    #[test]
    fn exit_statuses_fit() {
        assert_eq!((exit_code(7), exit_code(137), exit_code(70_000)), (7, 137, 255));
    }
}
