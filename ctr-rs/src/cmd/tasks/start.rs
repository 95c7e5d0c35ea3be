//! `tasks start ID`.

use std::path::PathBuf;

use protos::api::Any;
use protos::api::runc_options::Options as RuncOptions;
use protos::api::snapshots::MountsRequest;
use protos::api::types::Mount;

use crate::cli::Global;
use crate::client::Client;
use crate::cmd::containers::{get, spec_of};
use crate::cmd::run::flags::TaskFlags;
use crate::cmd::run::{create_request, follow, task_options};
use crate::cmd::tasks::checkpoint::absolute;
use crate::error::{Answered, Result};
use crate::task::call::ProcessRef;
use crate::task::signals::Signals;
use crate::task::stdio::Stdio;

/// Arguments of `tasks start`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    task: TaskFlags,
    /// Restore it from the files that `tasks checkpoint` has left in this directory
    #[arg(long, value_name = "DIR")]
    checkpoint: Option<PathBuf>,
    /// Id of the container
    id: String,
}

/// Makes the task of a container, starts it and, unless detached, stays; gives its exit status.
pub async fn run(global: &Global, args: Args) -> Result<u8> {
    let client = global.client()?;
    let signals = Signals::take()?;
    let container = get(&client, &args.id).await?;
    let spec = spec_of(&container)?;
    let terminal = spec.process.as_ref().is_some_and(|p| p.terminal);
    let linux = spec.linux.unwrap_or_default();
    let owner = |list: &[crate::spec::model::IdMapping]| list.first().map_or(0, |m| m.host_id);
    let mut options =
        task_options(&container, &args.task, (owner(&linux.uid_mappings), owner(&linux.gid_mappings)));
    if let Some(dir) = &args.checkpoint {
        let own = options.as_ref().or_else(|| container.runtime.as_ref()?.options.as_ref());
        let own: RuncOptions = own.and_then(|o| o.unpack().ok()).unwrap_or_default();
        options = Some(Any::pack(&RuncOptions { criu_image_path: absolute(dir)?, ..own }));
    }
    let rootfs = mounts(&client, &container.snapshotter, &container.snapshot_key).await?;

    let mut stdio = Stdio::prepare(&args.id, &args.task.stdio(terminal))?;
    let request = create_request(&args.id, rootfs, &stdio, options);
    let create =
        async { client.tasks().create(request).await.or_say(format!("cannot create task {}", args.id)) };
    let pid = signals.guard(create).await?.pid;
    let process = ProcessRef::task(&client, &args.id);
    let status = follow(&process, &mut stdio, &args.task, pid, &signals).await?;
    if args.task.detach {
        stdio.leave();
    }
    Ok(status)
}

async fn mounts(client: &Client, snapshotter: &str, key: &str) -> Result<Vec<Mount>> {
    if key.is_empty() {
        return Ok(Vec::new());
    }
    let request = MountsRequest { snapshotter: snapshotter.into(), key: key.into() };
    let what = format!("cannot get the mounts of snapshot {key}");
    Ok(client.snapshots().mounts(request).await.or_say(what)?.mounts)
}
