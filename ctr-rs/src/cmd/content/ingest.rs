//! `content ingest REFERENCE`.

use std::collections::BTreeMap;
use std::io::Read;

use bytes::Bytes;
use protos::api::content::{WriteAction, WriteContentRequest};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::digest;
use crate::cli::Global;
use crate::client::lease;
use crate::error::{Answered, Error, Result};
use crate::io::output;

const PIECE: usize = 1 << 20;

/// Arguments of `content ingest`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Bytes there must be
    #[arg(long, value_name = "BYTES", default_value_t = 0, hide_default_value = true)]
    expected_size: u64,
    /// Digest they must have
    #[arg(long, value_name = "DIGEST")]
    expected_digest: Option<String>,
    /// Name of the ingest
    reference: String,
}

/// Writes standard input; prints the digest. Nothing refers to the blob but a lease that ends in a day.
pub async fn run(global: &Global, args: Args) -> Result<()> {
    let expected = args.expected_digest.as_deref().map(digest).transpose()?;
    let total =
        i64::try_from(args.expected_size).map_err(|_| Error::invalid("--expected-size is too large"))?;
    let client = global.client()?;
    let lease = lease::create(&client).await?;
    let client = client.under_lease(&lease)?;
    let what = format!("cannot ingest {}", args.reference);

    let (requests, queue) = mpsc::channel(4);
    let (failed, failure) = tokio::sync::oneshot::channel();
    let first = WriteContentRequest {
        action: WriteAction::Write as i32,
        r#ref: args.reference.clone(),
        total,
        expected: expected.as_ref().map(ToString::to_string).unwrap_or_default(),
        offset: 0,
        data: Bytes::new(),
        labels: BTreeMap::new(),
    };
    std::thread::Builder::new()
        .name("stdin".into())
        .spawn(move || {
            if let Err(e) = feed(first, &requests) {
                let _nobody_waits = failed.send(e);
            }
        })
        .map_err(Error::io("cannot start the thread that reads standard input"))?;
    let mut answers = client.content().write(ReceiverStream::new(queue)).await.or_say(&what)?;
    while let Some(answer) = answers.message().await.map_err(|s| Error::rpc(&what, &s))? {
        if answer.action() == WriteAction::Commit {
            return output::line(answer.digest);
        }
    }
    match failure.await {
        Ok(e) => Err(Error::Io { what: "cannot read standard input".into(), source: e }),
        Err(_) => Err(Error::invalid(format!("{what}: the daemon ended the ingest"))),
    }
}

/// Pieces of standard input, and the commit. Ends early when the call has ended.
fn feed(first: WriteContentRequest, requests: &mpsc::Sender<WriteContentRequest>) -> std::io::Result<()> {
    let mut offset = 0;
    let mut stdin = std::io::stdin().lock();
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        stdin.by_ref().take(PIECE as u64).read_to_end(&mut piece)?;
        let last = piece.is_empty();
        let size = i64::try_from(piece.len()).unwrap_or(i64::MAX);
        let action = if last { WriteAction::Commit } else { WriteAction::Write };
        let request =
            WriteContentRequest { action: action as i32, offset, data: piece.into(), ..first.clone() };
        if requests.blocking_send(request).is_err() || last {
            return Ok(());
        }
        offset += size;
    }
}
