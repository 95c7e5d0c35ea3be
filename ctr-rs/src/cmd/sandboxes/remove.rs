//! `sandboxes rm ID...`.

use protos::api::sandbox::{ControllerShutdownRequest, ControllerStopRequest, StoreDeleteRequest};

use crate::cli::Global;
use crate::client::Client;
use crate::error::{Answered, Error, Result};
use crate::io::output;

/// Arguments of `sandboxes rm`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Go on when a sandbox cannot be stopped
    #[arg(long, short)]
    force: bool,
    /// Ids of the sandboxes
    #[arg(required = true)]
    ids: Vec<String>,
}

/// Ends and removes each one that can be; prints those. The first failure is told at the end.
pub async fn run(global: &Global, args: Args) -> Result<()> {
    let client = global.client()?;
    let mut first = None;
    for id in &args.ids {
        match remove(&client, id, args.force).await {
            Ok(()) => output::line(id)?,
            Err(e) if first.is_none() => first = Some(e),
            Err(e) => output::warn_error(&e),
        }
    }
    first.map_or(Ok(()), Err)
}

async fn remove(client: &Client, id: &str, force: bool) -> Result<()> {
    let sandboxer = super::get(client, id).await?.sandboxer;
    let sandboxer = if sandboxer.is_empty() { super::default_sandboxer(client).await? } else { sandboxer };
    let sandbox_id = id.to_owned();
    let request = ControllerStopRequest {
        sandbox_id: sandbox_id.clone(),
        sandboxer: sandboxer.clone(),
        ..ControllerStopRequest::default()
    };
    let stopped =
        client.sandbox_controllers().stop(request).await.or_say(format!("failed to stop sandbox {id}"));
    if let Err(e) = stopped {
        if !force {
            return Err(e);
        }
        output::warn_error(&e);
    }
    let request = ControllerShutdownRequest { sandbox_id: sandbox_id.clone(), sandboxer };
    let down = client.sandbox_controllers().shutdown(request).await;
    gone(down.or_say(format!("failed to shutdown sandbox {id}")).map(|_| ()))?;
    let deleted = client.sandboxes().delete(StoreDeleteRequest { sandbox_id }).await;
    gone(deleted.or_say(format!("failed to delete sandbox {id} from store")).map(|_| ()))
}

/// What is not there is gone.
fn gone(done: Result<()>) -> Result<()> {
    done.or_else(|e: Error| if e.is_not_found() { Ok(()) } else { Err(e) })
}
