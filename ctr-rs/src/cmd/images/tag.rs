//! `images tag NAME NEW...`.

use protos::api::images::{CreateImageRequest, UpdateImageRequest};

use crate::cli::Global;
use crate::client::image;
use crate::error::{Answered, Error, Result};
use crate::io::output;

/// Arguments of `images tag`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Take a name that another image has
    #[arg(long)]
    force: bool,
    /// Take any text as a name
    #[arg(long)]
    skip_reference_check: bool,
    /// Name of the image
    name: String,
    /// New names
    #[arg(required = true)]
    new: Vec<String>,
}

/// Gives it the new names; it keeps the old one.
pub async fn run(global: &Global, args: Args) -> Result<()> {
    let client = global.client()?;
    let mut image = image::get(&client, &args.name).await?;
    (image.created_at, image.updated_at) = (None, None);
    for new in &args.new {
        if !args.skip_reference_check {
            base::reference::Named::parse_normalized(new)
                .map_err(|e| Error::refused(format!("image name {new:?} cannot be used"), e))?;
        }
        image.name.clone_from(new);
        let request = CreateImageRequest { image: Some(image.clone()), source_date_epoch: None };
        let created = client.images().create(request).await.or_say(format!("cannot create image {new}"));
        match created {
            Err(e) if e.is_already_exists() && args.force => {
                let request =
                    UpdateImageRequest { image: Some(image.clone()), ..UpdateImageRequest::default() };
                client.images().update(request).await.or_say(format!("cannot change image {new}"))?;
            }
            Err(e) if e.is_already_exists() => {
                return Err(Error::invalid(format!(
                    "image {new} already exists: --force gives its name to {}",
                    args.name
                )));
            }
            created => {
                created?;
            }
        }
        output::line(new)?;
    }
    Ok(())
}
