//! `containers create`.

use crate::cli::Global;
use crate::cmd::run::create::{Words, create};
use crate::cmd::run::flags::ContainerFlags;
use crate::error::Result;
use crate::task::signals::Signals;

/// Arguments of `containers create`.
#[derive(Debug, clap::Args)]
#[command(override_usage = "ctr-rs containers create [FLAGS] IMAGE|DIRECTORY ID [COMMAND...]")]
pub struct Args {
    #[command(flatten)]
    container: ContainerFlags,
    /// Image (or directory with --rootfs), id of the container, and the command to run
    #[arg(
        value_name = "IMAGE ID COMMAND",
        trailing_var_arg = true,
        allow_hyphen_values = true,
        required = true
    )]
    words: Vec<String>,
}

/// Makes the record and the snapshot.
pub async fn run(global: &Global, args: Args) -> Result<()> {
    let words = Words::read(&args.words, &args.container)?;
    let client = global.client()?;
    let signals = Signals::take()?;
    let mut created = create(&client, &args.container, &words, &signals).await?;
    created.end_lease(&client).await;
    Ok(())
}
