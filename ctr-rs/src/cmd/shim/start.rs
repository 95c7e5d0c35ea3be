//! `shim start [ID]`.

use protos::shim::task_v3::{StartRequest, StartResponse};

use super::connect::Shim;
use crate::error::Result;

/// Arguments of `shim start`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Id of the container; the shim's own without it
    id: Option<String>,
}

/// Starts a container.
pub(super) async fn run(shim: &Shim, args: Args) -> Result<()> {
    let mut request = StartRequest::new();
    request.id = shim.container(args.id)?;
    let what = format!("cannot start {}", request.id);
    shim.call::<_, StartResponse>(&what, "Start", &request).await.map(drop)
}
