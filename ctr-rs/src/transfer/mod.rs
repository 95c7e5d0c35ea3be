//! The transfer service: images between registries, archives and the daemon's store, moved by the daemon itself. We name source and
//! destination, answer what it asks on streams beside the call, and show its progress.

pub mod archive;
pub mod auth;
pub mod progress;
pub mod registry;
mod tls;

use std::time::Duration;

use protos::api::Any;
use protos::api::transfer::{TransferOptions, TransferRequest};
use tokio::sync::watch;

use self::progress::{Display, Progress};
use crate::client::{Client, stream};
use crate::error::{Answered, Error, Result};

/// How long the last messages of progress may take after the call was answered.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What goes on beside the call.
#[derive(Debug)]
pub enum Beside {
    /// Ends with the call.
    UntilAnswered,
    /// The call's success is not all: bytes may still come. It is told when the call was answered.
    ToItsEnd(watch::Sender<bool>),
}

/// Moves `source` to `destination`. `what` begins the error: "cannot pull x".
pub async fn transfer(
    client: &Client,
    what: &str,
    source: Any,
    destination: Any,
    display: Display,
    (beside, mode): (impl Future<Output = Result<()>>, Beside),
) -> Result<()> {
    let mut progress = match stream::open(client, "progress").await {
        Ok(stream) => stream,
        Err(e) if base::Kinded::kind(&e) == base::ErrorKind::Unimplemented => return Err(no_service(what)),
        Err(e) => return Err(e),
    };
    let mut shown = Progress::new(display);
    let options = Some(TransferOptions { progress_stream: progress.id.clone() });
    let request = TransferRequest { source: Some(source), destination: Some(destination), options };
    let mut service = client.transfer();
    let call = service.transfer(request);
    tokio::pin!(call, beside);
    let (mut beside_done, mut listening) = (false, true);
    let answer = loop {
        tokio::select! {
            answer = &mut call => break answer.or_say(what),
            result = &mut beside, if !beside_done => {
                beside_done = true;
                result?;
            }
            message = progress.from.next(), if listening => match message {
                Ok(Some(any)) => shown.show(&any)?,
                // the answer to the call tells what happened
                Ok(None) | Err(_) => listening = false,
            },
        }
    };
    if answer.is_ok() {
        if let Beside::ToItsEnd(answered) = mode
            && !beside_done
        {
            answered.send_replace(true);
            beside.await?;
        }
        let rest = async {
            while let Ok(Some(any)) = progress.from.next().await {
                shown.show(&any)?;
            }
            Ok(())
        };
        if listening && let Ok(done) = tokio::time::timeout(LAST_WORDS, rest).await {
            done?;
        }
    }
    shown.finish();
    match answer {
        Err(e) if base::Kinded::kind(&e) == base::ErrorKind::Unimplemented => Err(no_service(what)),
        answer => answer,
    }
}

fn no_service(what: &str) -> Error {
    Error::invalid(format!(
        "{what}: the daemon has no transfer service for this (it came with containerd 1.7, and does not do everything); use the daemon's own ctr"
    ))
}
