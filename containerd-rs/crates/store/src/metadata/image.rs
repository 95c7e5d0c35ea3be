//! Images: names that point at a descriptor. An image is a root of garbage collection until it
//! expires, if it ever does.

use std::borrow::Cow;
use std::time::SystemTime;

use base::filter::{Fields, FilterSet};
use base::labels::Labels;
use base::mask::parse_mask;
use base::{Descriptor, Digest, Namespace, Scope};

use super::lease::{LeaseRef, holds_image};
use super::tables::IMAGES;
use super::{Metadata, filtered, load, map_field, namespace, save, text_field, without_empty};
use crate::codec::{Decoder, Encoder, Reason, Record};
use crate::error::{Error, Result};
use crate::key::{key, prefix};
use crate::kv::{Read, Tx};

/// A name and what it points at.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// Any text that is not empty; usually a reference.
    pub name: String,
    /// Labels.
    pub labels: Labels,
    /// Media type, digest, size and annotations are kept; the rest of the descriptor is not.
    pub target: Descriptor,
    /// When the name was made.
    pub created_at: SystemTime,
    /// When it was last changed.
    pub updated_at: SystemTime,
}

impl Record for Image {
    const VERSION: u8 = 1;

    fn encode(&self, out: &mut Encoder) {
        out.time(self.created_at);
        out.time(self.updated_at);
        out.map(&self.labels);
        out.str(&self.target.media_type);
        out.str(self.target.digest.as_str());
        out.int(self.target.size);
        out.map(&self.target.annotations);
    }

    fn decode(_: u8, from: &mut Decoder<'_>) -> Result<Self, Reason> {
        let (created_at, updated_at, labels) = (from.time()?, from.time()?, from.map()?);
        let media_type = from.str()?;
        let digest = Digest::parse(&from.str()?).map_err(|_| "malformed digest")?;
        let mut target = Descriptor::new(media_type, digest, from.int()?);
        target.annotations = from.map()?;
        Ok(Image { name: String::new(), labels, target, created_at, updated_at })
    }
}

impl Fields for Image {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["name"] => text_field(&self.name),
            ["target", "digest"] => text_field(self.target.digest.as_str()),
            ["target", "mediatype"] => text_field(&self.target.media_type),
            ["labels", rest @ ..] => map_field(&self.labels, rest),
            ["annotations", rest @ ..] => map_field(&self.target.annotations, rest),
            _ => None,
        }
    }
}

/// Reads one image.
pub(crate) fn read(from: &dyn Read, ns: &str, name: &str) -> Result<Option<Image>> {
    let found: Option<Image> = load(from, IMAGES, &key(&[ns, name]))?;
    Ok(found.map(|image| Image { name: name.to_owned(), ..image }))
}

fn missing(name: &str) -> Error {
    Error::not_found(format!("image {name:?}"))
}

fn validate(image: &Image) -> Result<()> {
    if image.name.is_empty() {
        return Err(Error::invalid("image name must not be empty"));
    }
    super::validate_labels("image.Labels", &image.labels)?;
    if image.target.size <= 0 {
        return Err(Error::invalid("target.Size must be greater than zero"));
    }
    if image.target.media_type.is_empty() {
        return Err(Error::invalid("target.MediaType must be set"));
    }
    Ok(())
}

/// Puts the image as it will be read back, and lets the lease of the scope hold it if it can expire.
fn put(tx: &mut Tx<'_>, scope: &Scope, image: &mut Image) -> Result<()> {
    validate(image)?;
    if holds_image(&image.labels) {
        LeaseRef::Image(&image.name).add(tx, scope)?;
    }
    image.labels = without_empty(std::mem::take(&mut image.labels));
    image.target.annotations = without_empty(std::mem::take(&mut image.target.annotations));
    save(tx, IMAGES, &key(&[scope.namespace.as_str(), &image.name]), image)
}

/// Access to images.
pub struct Images<'a> {
    pub(super) meta: &'a Metadata,
}

impl Images<'_> {
    /// The image with this name.
    ///
    /// # Errors
    /// NotFound.
    pub fn get(&self, ns: &Namespace, name: &str) -> Result<Image> {
        read(&*self.meta.view()?, ns.as_str(), name)?.ok_or_else(|| missing(name))
    }

    /// Images that the filters let through, by name.
    pub fn list(&self, ns: &Namespace, filters: &FilterSet) -> Result<Vec<Image>> {
        let view = self.meta.view()?;
        filtered(
            &*view,
            IMAGES,
            &prefix(&[ns.as_str()]),
            filters,
            |image: &mut Image, [_, name]: [String; 2]| {
                image.name = name;
            },
        )
    }

    /// Makes an image. Its times become now, or `epoch` when given.
    ///
    /// # Errors
    /// InvalidArgument, AlreadyExists; NotFound when the lease of the scope does not exist.
    pub async fn create(&self, scope: &Scope, mut image: Image, epoch: Option<SystemTime>) -> Result<Image> {
        let scope = scope.clone();
        self.meta
            .write(move |tx| {
                validate(&image)?;
                let ns = scope.namespace.as_str();
                if tx.contains(IMAGES, &key(&[ns, &image.name]))? {
                    return Err(Error::already_exists(format!("image {:?}", image.name)));
                }
                namespace::ensure(tx, ns)?;
                image.created_at = epoch.unwrap_or_else(SystemTime::now);
                image.updated_at = image.created_at;
                put(tx, &scope, &mut image)?;
                Ok(image)
            })
            .await
    }

    /// Replaces labels and target, or what the mask names: `labels`, `labels.<key>`, `target`,
    /// `annotations`, `annotations.<key>`.
    ///
    /// # Errors
    /// NotFound, InvalidArgument.
    pub async fn update(
        &self,
        scope: &Scope,
        image: Image,
        mask: &[String],
        epoch: Option<SystemTime>,
    ) -> Result<Image> {
        if image.name.is_empty() {
            return Err(Error::invalid("image name is required for update"));
        }
        let (scope, mask) = (scope.clone(), mask.to_vec());
        self.meta
            .write(move |tx| {
                let current = read(tx, scope.namespace.as_str(), &image.name)?;
                let current = current.ok_or_else(|| missing(&image.name))?;
                let mut updated = masked(current, image, &mask)?;
                updated.updated_at = epoch.unwrap_or_else(SystemTime::now);
                put(tx, &scope, &mut updated)?;
                Ok(updated)
            })
            .await
    }

    /// Deletes an image; with a target only if it still points there.
    ///
    /// # Errors
    /// NotFound, also when the target is another.
    pub async fn delete(&self, scope: &Scope, name: &str, target: Option<&Descriptor>) -> Result<()> {
        let (scope, name) = (scope.clone(), name.to_owned());
        let wanted = target.map(|t| t.digest.clone());
        self.meta
            .write(move |tx| {
                let ns = scope.namespace.as_str();
                let image = read(tx, ns, &name)?.ok_or_else(|| missing(&name))?;
                if let Some(wanted) = wanted.filter(|w| *w != image.target.digest) {
                    return Err(Error::not_found(format!(
                        "image {name:?} has target {}, not {wanted}",
                        image.target.digest
                    )));
                }
                LeaseRef::Image(&name).remove(tx, &scope)?;
                tx.delete(IMAGES, &key(&[ns, &name]))?;
                tx.mark_dirty();
                Ok(())
            })
            .await
    }
}

fn masked(current: Image, new: Image, paths: &[String]) -> Result<Image> {
    let mask = parse_mask(paths);
    if mask.is_everything() {
        return Ok(Image { created_at: current.created_at, ..new });
    }
    if let Some(path) = mask.unknown(&["target"], &["labels", "annotations"]) {
        return Err(Error::invalid(format!("cannot update {path:?} field on image {:?}", new.name)));
    }
    let mut updated = current;
    mask.apply_labels(&mut updated.labels, &new.labels);
    if mask.has("target") {
        updated.target = new.target.clone();
    }
    mask.apply_map("annotations", &mut updated.target.annotations, &new.target.annotations);
    Ok(updated)
}
