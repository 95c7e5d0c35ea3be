//! `shim delete [ID]`.

use protos::shim::task_v3::{DeleteRequest, DeleteResponse};

use super::connect::Shim;
use crate::error::Result;
use crate::io::output;

/// Arguments of `shim delete`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Id of the container; the shim's own without it
    id: Option<String>,
}

/// Deletes a container.
pub(super) async fn run(shim: &Shim, args: Args) -> Result<()> {
    let mut request = DeleteRequest::new();
    request.id = shim.container(args.id)?;
    let what = format!("cannot delete {}", request.id);
    let answer: DeleteResponse = shim.call(&what, "Delete", &request).await?;
    output::line(format!("container deleted and returned exit status {}", answer.exit_status))
}
