//! `events`: what happens, as it happens.

mod decode;

use protos::api::events::SubscribeRequest;

use crate::cli::Global;
use crate::cmd::flags::rfc3339;
use crate::error::{Answered, Error, Result};
use crate::io::output;

/// Arguments of `events`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Filters, such as topic~=/tasks/ or event.container_id==x; any of them may match
    filters: Vec<String>,
}

/// Prints a line per event (time, namespace, topic, JSON) until it is interrupted.
pub async fn run(global: &Global, args: Args) -> Result<()> {
    const WHAT: &str = "cannot follow events";
    let client = global.client()?;
    let request = SubscribeRequest { filters: args.filters };
    let mut stream = client.events().subscribe(request).await.or_say(WHAT)?;
    while let Some(event) = stream.message().await.map_err(|s| Error::rpc(WHAT, &s))? {
        let time = event.timestamp.as_ref().map(rfc3339).unwrap_or_default();
        let what = event.event.as_ref().map(|any| decode::json(any).to_string()).unwrap_or_default();
        output::line(format!("{time} {} {} {what}", event.namespace, event.topic))?;
    }
    Err(Error::invalid(format!("{WHAT}: the daemon ended the stream")))
}
