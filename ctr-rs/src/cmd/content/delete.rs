//! `content rm DIGEST...`.

use protos::api::content::DeleteContentRequest;

use super::digest;
use crate::cli::Global;
use crate::cmd::flags::all_done;
use crate::error::{Answered, Result};
use crate::io::output::{self, warn, warn_error};

/// Arguments of `content rm`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Digests of the blobs
    #[arg(required = true)]
    digests: Vec<String>,
}

/// Deletes them all, even when one fails; prints those that are gone.
pub async fn run(global: &Global, args: Args) -> Result<()> {
    let client = global.client()?;
    let mut failed = 0;
    for text in &args.digests {
        let request = DeleteContentRequest { digest: digest(text)?.to_string() };
        match client.content().delete(request).await.or_say(format!("cannot delete content {text}")) {
            Ok(()) => output::line(text)?,
            Err(e) if e.is_not_found() => warn(format!("content {text} was not here")),
            Err(e) if args.digests.len() == 1 => return Err(e),
            Err(e) => {
                warn_error(&e);
                failed += 1;
            }
        }
    }
    all_done(failed, args.digests.len())
}
