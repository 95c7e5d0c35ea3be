//! `containerd.services.images.v1.Images`: names of images. A synchronous delete waits for the collection of what it let go.

use std::sync::Arc;

use protos::api::images::images_server::Images;
use protos::api::images::*;
use tonic::{Request, Response, Status};

use crate::convert::{descriptor_in, filters, image_in, image_out, mask, time};
use crate::parts::Parts;
use crate::request::scope;
use crate::status::{invalid, not_found, status, to_the_end};

pub(crate) struct Service(pub(crate) Arc<Parts>);

type Result<T> = std::result::Result<Response<T>, Status>;

#[tonic::async_trait]
impl Images for Service {
    async fn get(&self, request: Request<GetImageRequest>) -> Result<GetImageResponse> {
        let scope = scope(&request)?;
        let found =
            self.0.metadata.images().get(&scope.namespace, &request.get_ref().name).map_err(status)?;
        Ok(Response::new(GetImageResponse { image: Some(image_out(found)) }))
    }

    async fn list(&self, request: Request<ListImagesRequest>) -> Result<ListImagesResponse> {
        let scope = scope(&request)?;
        let filters = filters(&request.get_ref().filters)?;
        let found = self.0.metadata.images().list(&scope.namespace, &filters).map_err(status)?;
        Ok(Response::new(ListImagesResponse { images: found.into_iter().map(image_out).collect() }))
    }

    async fn create(&self, request: Request<CreateImageRequest>) -> Result<CreateImageResponse> {
        let scope = scope(&request)?;
        let CreateImageRequest { image, source_date_epoch } = request.into_inner();
        let image = image.ok_or_else(|| invalid("image must be set"))?;
        if image.name.is_empty() {
            return Err(invalid("Image.Name required"));
        }
        let image = image_in(image)?;
        let epoch = source_date_epoch.as_ref().map(time).transpose()?;
        let parts = Arc::clone(&self.0);
        to_the_end(async move {
            let made = parts.metadata.images().create(&scope, image, epoch).await.map_err(status)?;
            let event = ImageCreate { name: made.name.clone(), labels: made.labels.clone() };
            parts.publish(&scope.namespace, "/images/create", &event);
            Ok(Response::new(CreateImageResponse { image: Some(image_out(made)) }))
        })
        .await
    }

    async fn update(&self, request: Request<UpdateImageRequest>) -> Result<UpdateImageResponse> {
        let scope = scope(&request)?;
        let UpdateImageRequest { image, update_mask, source_date_epoch } = request.into_inner();
        let mut image = image.ok_or_else(|| invalid("image must be set"))?;
        if image.name.is_empty() {
            return Err(invalid("Image.Name required"));
        }
        let mask = mask(update_mask);
        // An update of labels alone may leave the target out; the stored one stands in for it.
        if image.target.is_none() && !mask.is_empty() && !mask.iter().any(|p| p.starts_with("target")) {
            let stored = self.0.metadata.images().get(&scope.namespace, &image.name).map_err(status)?;
            image.target = image_out(stored).target;
        }
        let image = image_in(image)?;
        let epoch = source_date_epoch.as_ref().map(time).transpose()?;
        let parts = Arc::clone(&self.0);
        to_the_end(async move {
            let updated =
                parts.metadata.images().update(&scope, image, &mask, epoch).await.map_err(status)?;
            let event = ImageUpdate { name: updated.name.clone(), labels: updated.labels.clone() };
            parts.publish(&scope.namespace, "/images/update", &event);
            Ok(Response::new(UpdateImageResponse { image: Some(image_out(updated)) }))
        })
        .await
    }

    async fn delete(&self, request: Request<DeleteImageRequest>) -> Result<()> {
        let scope = scope(&request)?;
        let DeleteImageRequest { name, sync, target } = request.into_inner();
        // An empty digest asks for no target in particular; one that is no digest is nobody's.
        let target = match target.filter(|t| !t.digest.is_empty()) {
            Some(target) => match descriptor_in(target.clone()) {
                Ok(target) => Some(target),
                Err(_) => return Err(self.has_another(&scope, &name, &target.digest)),
            },
            None => None,
        };
        let parts = Arc::clone(&self.0);
        to_the_end(async move {
            parts.metadata.images().delete(&scope, &name, target.as_ref()).await.map_err(status)?;
            parts.publish(&scope.namespace, "/images/delete", &ImageDelete { name });
            if sync {
                parts.collect().await?;
            }
            Ok(Response::new(()))
        })
        .await
    }
}

impl Service {
    /// The image points at something else than `digest`, or is not there.
    fn has_another(&self, scope: &base::Scope, name: &str, digest: &str) -> Status {
        match self.0.metadata.images().get(&scope.namespace, name) {
            Ok(image) => {
                not_found(format!("image {name:?} has target {}, not {digest}", image.target.digest))
            }
            Err(error) => status(error),
        }
    }
}
