//! Another name for an image.

use base::Scope;
use store::Image;

use crate::error::{Error, Result};
use crate::transfer::{Destination, Local, store_images};

/// Gives the image `source` the names of `destination`; names that exist point to it afterwards.
///
/// # Errors
/// NotFound when there is no such image, or the destination names nothing.
pub async fn tag(
    local: &Local,
    scope: &Scope,
    source: &str,
    destination: &Destination,
) -> Result<Vec<Image>> {
    let image = local.meta.images().get(&scope.namespace, source)?;
    let names = destination.names(&image.target);
    if names.is_empty() {
        return Err(Error::not_found("no image name found: not found"));
    }
    store_images(&local.meta, scope, names, &image.target).await
}
