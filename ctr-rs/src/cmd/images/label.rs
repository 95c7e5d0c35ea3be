//! `images label NAME KEY=VALUE...`.

use protos::api::images::{Image, UpdateImageRequest};
use protos::api::types::Descriptor;

use crate::cli::Global;
use crate::client::image;
use crate::cmd::flags::labels;
use crate::error::{Answered, Result};
use crate::io::output;
use crate::table;

/// Arguments of `images label`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Remove all other labels
    #[arg(long, short)]
    replace_all: bool,
    /// Name of the image
    name: String,
    /// Labels; an empty value removes one
    #[arg(value_name = "KEY=VALUE")]
    labels: Vec<String>,
}

/// Sets them and prints all.
pub async fn run(global: &Global, args: Args) -> Result<()> {
    let client = global.client()?;
    if args.labels.is_empty() && !args.replace_all {
        return output::line(table::labels(&image::get(&client, &args.name).await?.labels));
    }
    let labels = labels(&args.labels);
    let paths = match args.replace_all {
        true => vec!["labels".into()],
        false => labels.keys().map(|key| format!("labels.{key}")).collect(),
    };
    let request = UpdateImageRequest {
        // Go containerd reads the target without asking whether there is one
        image: Some(Image {
            name: args.name.clone(),
            labels,
            target: Some(Descriptor::default()),
            ..Image::default()
        }),
        update_mask: Some(prost_types::FieldMask { paths }),
        source_date_epoch: None,
    };
    let answer = client.images().update(request).await.or_say(format!("cannot label image {}", args.name))?;
    output::line(table::labels(&answer.image.unwrap_or_default().labels))
}
