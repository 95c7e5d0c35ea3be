//! `tasks resume ID`.

use protos::api::tasks::ResumeTaskRequest;

use crate::cli::Global;
use crate::error::{Answered, Result};

/// Arguments of `tasks resume`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Id of the container
    id: String,
}

/// Lets a frozen task go on.
pub async fn run(global: &Global, args: Args) -> Result<()> {
    let what = format!("cannot resume task {}", args.id);
    global.client()?.tasks().resume(ResumeTaskRequest { container_id: args.id }).await.or_say(what)
}
