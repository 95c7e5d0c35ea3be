//! `content label DIGEST KEY=VALUE...`.

use protos::api::content::{Info, InfoRequest, UpdateRequest};

use super::digest;
use crate::cli::Global;
use crate::cmd::flags::labels;
use crate::error::{Answered, Result};
use crate::io::output;
use crate::table;

/// Arguments of `content label`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Digest of the blob
    digest: String,
    /// Labels; an empty value removes one
    #[arg(value_name = "KEY=VALUE")]
    labels: Vec<String>,
}

/// Sets them and prints all.
pub async fn run(global: &Global, args: Args) -> Result<()> {
    let client = global.client()?;
    let digest = digest(&args.digest)?.to_string();
    let info = if args.labels.is_empty() {
        let answer = client.content().info(InfoRequest { digest: digest.clone() }).await;
        answer.or_say(format!("cannot get content {digest}"))?.info
    } else {
        let labels = labels(&args.labels);
        let paths = labels.keys().map(|key| format!("labels.{key}")).collect();
        let request = UpdateRequest {
            info: Some(Info { digest: digest.clone(), labels, ..Info::default() }),
            update_mask: Some(prost_types::FieldMask { paths }),
        };
        client.content().update(request).await.or_say(format!("cannot label content {digest}"))?.info
    };
    output::line(table::labels(&info.unwrap_or_default().labels))
}
