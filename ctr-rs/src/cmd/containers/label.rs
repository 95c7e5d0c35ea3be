//! `containers label ID KEY=VALUE...`.

use protos::api::containers::{Container, UpdateContainerRequest};

use crate::cli::Global;
use crate::cmd::flags::labels;
use crate::error::{Answered, Result};
use crate::io::output;
use crate::table;

/// Arguments of `containers label`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Id of the container
    id: String,
    /// Labels; an empty value removes one
    #[arg(value_name = "KEY=VALUE")]
    labels: Vec<String>,
}

/// Sets them and prints all.
pub async fn run(global: &Global, args: Args) -> Result<()> {
    let client = global.client()?;
    if args.labels.is_empty() {
        return output::line(table::labels(&super::get(&client, &args.id).await?.labels));
    }
    let labels = labels(&args.labels);
    let paths = labels.keys().map(|key| format!("labels.{key}")).collect();
    let request = UpdateContainerRequest {
        container: Some(Container { id: args.id.clone(), labels, ..Container::default() }),
        update_mask: Some(prost_types::FieldMask { paths }),
    };
    let answer = client.containers().update(request).await;
    let answer = answer.or_say(format!("cannot label container {}", args.id))?;
    output::line(table::labels(&answer.container.unwrap_or_default().labels))
}
