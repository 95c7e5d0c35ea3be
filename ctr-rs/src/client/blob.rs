//! Reading blobs of the content store.

use base::Digest;
use bytes::Bytes;
use protos::api::content::ReadContentRequest;

use super::Client;
use crate::error::{Answered, Error, Result};

/// Reads a whole blob of at most `max` bytes.
pub async fn read(client: &Client, digest: &Digest, max: u64) -> Result<Bytes> {
    let what = || format!("cannot read content {digest}");
    let request = ReadContentRequest { digest: digest.to_string(), offset: 0, size: 0 };
    let mut stream = client.content().read(request).await.or_say(what())?;
    let mut first = Bytes::new();
    let mut rest: Vec<u8> = Vec::new();
    loop {
        let Some(piece) = stream.message().await.map_err(|s| Error::rpc(what(), &s))? else { break };
        if (first.len() + rest.len() + piece.data.len()) as u64 > max {
            return Err(Error::invalid(format!("{}: it is larger than {max} bytes", what())));
        }
        if first.is_empty() && rest.is_empty() {
            first = piece.data;
        } else {
            if rest.is_empty() {
                rest.extend_from_slice(&std::mem::take(&mut first));
            }
            rest.extend_from_slice(&piece.data);
        }
    }
    Ok(if rest.is_empty() { first } else { rest.into() })
}
