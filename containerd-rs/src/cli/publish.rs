//! `publish`: the way older shims hand an event to the daemon.

use std::io::Read;
use std::time::Duration;

use anyhow::Context;
use prost::Message;
use protos::api::Any;
use protos::api::events::{PublishRequest, events_client::EventsClient};

use super::Cli;

/// The biggest event that is taken from standard input.
const MAX_EVENT: u64 = 4 << 20;
/// How long the daemon may take.
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Namespace to publish to
    #[arg(long)]
    namespace: String,
    /// Topic of the event
    #[arg(long)]
    topic: String,
}

pub(super) fn run(cli: &Cli, args: &Args) -> anyhow::Result<()> {
    let mut bytes = Vec::new();
    std::io::stdin().take(MAX_EVENT).read_to_end(&mut bytes).context("read the event from standard input")?;
    let event = Any::decode(&bytes[..]).context("standard input is not a protobuf Any")?;
    let address = cli.address.as_deref().unwrap_or(base::defaults::ADDRESS);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let publish = async {
            let channel =
                tonic::transport::Endpoint::try_from(format!("unix://{address}"))?.connect().await?;
            let request = PublishRequest { topic: args.topic.clone(), event: Some(event) };
            let mut request = tonic::Request::new(request);
            let namespace = args.namespace.parse().context("the namespace is not a valid header value")?;
            request.metadata_mut().insert("containerd-namespace", namespace);
            EventsClient::new(channel)
                .publish(request)
                .await
                .map_err(|s| anyhow::anyhow!("{}", s.message().to_owned()))?;
            anyhow::Ok(())
        };
        tokio::time::timeout(TIMEOUT, publish)
            .await
            .with_context(|| format!("no answer from {address} within {TIMEOUT:?}"))?
    })
}
