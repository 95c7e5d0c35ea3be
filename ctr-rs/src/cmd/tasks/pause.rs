//! `tasks pause ID`.

use protos::api::tasks::PauseTaskRequest;

use crate::cli::Global;
use crate::error::{Answered, Result};

/// Arguments of `tasks pause`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Id of the container
    id: String,
}

/// Freezes all processes of a task.
pub async fn run(global: &Global, args: Args) -> Result<()> {
    let what = format!("cannot pause task {}", args.id);
    global.client()?.tasks().pause(PauseTaskRequest { container_id: args.id }).await.or_say(what)
}
