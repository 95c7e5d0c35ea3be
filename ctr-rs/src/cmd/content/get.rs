//! `content get DIGEST`.

use protos::api::content::ReadContentRequest;

use super::digest;
use crate::cli::Global;
use crate::error::{Answered, Error, Result};
use crate::io::output;

/// Arguments of `content get`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Digest of the blob
    digest: String,
}

/// Prints it as it comes.
pub async fn run(global: &Global, args: Args) -> Result<()> {
    let digest = digest(&args.digest)?;
    let what = format!("cannot read content {digest}");
    let client = global.client()?;
    let request = ReadContentRequest { digest: digest.to_string(), offset: 0, size: 0 };
    let mut stream = client.content().read(request).await.or_say(&what)?;
    while let Some(piece) = stream.message().await.map_err(|s| Error::rpc(&what, &s))? {
        output::bytes(&piece.data)?;
    }
    Ok(())
}
