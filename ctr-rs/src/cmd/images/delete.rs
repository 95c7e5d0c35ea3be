//! `images rm NAME...`.

use protos::api::images::DeleteImageRequest;

use crate::cli::Global;
use crate::cmd::flags::all_done;
use crate::error::{Answered, Result};
use crate::io::output::{self, warn, warn_error};

/// Arguments of `images rm`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Wait until what nothing refers to any more is collected
    #[arg(long)]
    sync: bool,
    /// Names of the images
    #[arg(required = true)]
    names: Vec<String>,
}

/// Removes them all, even when one fails; prints those that are gone.
pub async fn run(global: &Global, args: Args) -> Result<()> {
    let client = global.client()?;
    let mut failed = 0;
    for (at, name) in args.names.iter().enumerate() {
        let sync = args.sync && at + 1 == args.names.len();
        let request = DeleteImageRequest { name: name.clone(), sync, target: None };
        match client.images().delete(request).await.or_say(format!("cannot delete image {name}")) {
            Ok(()) => output::line(name)?,
            Err(e) if e.is_not_found() => warn(format!("image {name} was not here")),
            Err(e) if args.names.len() == 1 => return Err(e),
            Err(e) => {
                warn_error(&e);
                failed += 1;
            }
        }
    }
    all_done(failed, args.names.len())
}
