//! `tasks checkpoint ID`.

use std::path::{Path, PathBuf};

use protos::api::Any;
use protos::api::runc_options::CheckpointOptions;
use protos::api::tasks::CheckpointTaskRequest;

use crate::cli::Global;
use crate::error::{Answered, Error, Result};

/// Arguments of `tasks checkpoint`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// End the task with its checkpoint
    #[arg(long)]
    exit: bool,
    /// Directory for CRIU's files; `tasks start --checkpoint` restores from it
    #[arg(long, value_name = "DIR")]
    image_path: PathBuf,
    /// Directory for CRIU's work files and logs
    #[arg(long, value_name = "DIR")]
    work_path: Option<PathBuf>,
    /// Id of the container
    id: String,
}

/// Dumps the processes of a task into a directory of the daemon's machine.
pub async fn run(global: &Global, args: Args) -> Result<()> {
    let what = format!("cannot checkpoint task {}", args.id);
    let options = CheckpointOptions {
        exit: args.exit,
        image_path: absolute(&args.image_path)?,
        work_path: args.work_path.as_deref().map(absolute).transpose()?.unwrap_or_default(),
        ..CheckpointOptions::default()
    };
    let request = CheckpointTaskRequest {
        container_id: args.id,
        options: Some(Any::pack(&options)),
        ..CheckpointTaskRequest::default()
    };
    global.client()?.tasks().checkpoint(request).await.or_say(what)?;
    Ok(())
}

/// The daemon has another working directory.
pub fn absolute(path: &Path) -> Result<String> {
    let path = std::path::absolute(path).map_err(Error::io("cannot make a path absolute"))?;
    Ok(path.to_string_lossy().into_owned())
}
