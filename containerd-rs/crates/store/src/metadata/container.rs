//! Containers: what a task is made from. The record owns neither task nor snapshot.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::SystemTime;

use base::filter::{Fields, FilterSet};
use base::labels::Labels;
use base::mask::{Mask, parse_mask};
use base::{Any, Namespace, validate_identifier};

use super::tables::CONTAINERS;
use super::{Metadata, filtered, load, map_field, namespace, save, text_field, without_empty};
use crate::codec::{Decoder, Encoder, Reason, Record};
use crate::error::{Error, Result};
use crate::key::{key, prefix};
use crate::kv::Read;

/// Which runtime, and its options.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuntimeInfo {
    /// `io.containerd.runc.v2` or the like.
    pub name: String,
    /// Kept byte for byte.
    pub options: Option<Any>,
}

impl RuntimeInfo {
    pub(super) fn encode(&self, out: &mut Encoder) {
        out.str(&self.name);
        out.option(self.options.as_ref(), Encoder::any);
    }

    pub(super) fn decode(from: &mut Decoder<'_>) -> Result<Self, Reason> {
        Ok(RuntimeInfo { name: from.str()?, options: from.option(Decoder::any)? })
    }
}

/// A container record.
#[derive(Clone, Debug, PartialEq)]
pub struct Container {
    /// Unique in its namespace; cannot change.
    pub id: String,
    /// Labels.
    pub labels: Labels,
    /// Name of the image it was made from; may be empty, is not a reference for garbage collection.
    pub image: String,
    /// Runtime; its name cannot change.
    pub runtime: RuntimeInfo,
    /// OCI spec, kept byte for byte.
    pub spec: Option<Any>,
    /// Snapshotter of the root file system; cannot change.
    pub snapshotter: String,
    /// Its snapshot, kept from collection while the container exists.
    pub snapshot_key: String,
    /// When the record was made.
    pub created_at: SystemTime,
    /// When it was last changed.
    pub updated_at: SystemTime,
    /// What clients and plugins keep with the container.
    pub extensions: BTreeMap<String, Any>,
    /// The sandbox it belongs to, if any.
    pub sandbox_id: String,
}

impl Container {
    /// A record with only id, runtime and spec.
    pub fn new(id: impl Into<String>, runtime: RuntimeInfo, spec: Any) -> Self {
        let now = SystemTime::UNIX_EPOCH;
        Container {
            id: id.into(),
            labels: Labels::new(),
            image: String::new(),
            runtime,
            spec: Some(spec),
            snapshotter: String::new(),
            snapshot_key: String::new(),
            created_at: now,
            updated_at: now,
            extensions: BTreeMap::new(),
            sandbox_id: String::new(),
        }
    }
}

impl Record for Container {
    const VERSION: u8 = 1;

    fn encode(&self, out: &mut Encoder) {
        out.time(self.created_at);
        out.time(self.updated_at);
        out.map(&self.labels);
        out.str(&self.image);
        self.runtime.encode(out);
        out.option(self.spec.as_ref(), Encoder::any);
        out.str(&self.snapshotter);
        out.str(&self.snapshot_key);
        out.anys(&self.extensions);
        out.str(&self.sandbox_id);
    }

    fn decode(_: u8, from: &mut Decoder<'_>) -> Result<Self, Reason> {
        Ok(Container {
            id: String::new(),
            created_at: from.time()?,
            updated_at: from.time()?,
            labels: from.map()?,
            image: from.str()?,
            runtime: RuntimeInfo::decode(from)?,
            spec: from.option(Decoder::any)?,
            snapshotter: from.str()?,
            snapshot_key: from.str()?,
            extensions: from.anys()?,
            sandbox_id: from.str()?,
        })
    }
}

impl Fields for Container {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["id"] => text_field(&self.id),
            ["runtime", "name"] => text_field(&self.runtime.name),
            ["image"] => text_field(&self.image),
            ["labels", rest @ ..] => map_field(&self.labels, rest),
            _ => None,
        }
    }
}

fn read(from: &dyn Read, ns: &Namespace, id: &str) -> Result<Option<Container>> {
    let found: Option<Container> = load(from, CONTAINERS, &key(&[ns.as_str(), id]))?;
    Ok(found.map(|container| Container { id: id.to_owned(), ..container }))
}

fn validate(container: &Container) -> Result<()> {
    validate_identifier(&container.id).map_err(|e| Error::field("container.ID", e))?;
    if container.extensions.contains_key("") {
        return Err(Error::invalid("container.Extension keys must not be zero-length"));
    }
    super::validate_labels("containers.Labels", &container.labels)?;
    if container.runtime.name.is_empty() {
        return Err(Error::invalid("container.Runtime.Name must be set"));
    }
    if container.spec.is_none() {
        return Err(Error::invalid("container.Spec must be set"));
    }
    if !container.snapshot_key.is_empty() && container.snapshotter.is_empty() {
        return Err(Error::invalid("container.Snapshotter must be set if container.SnapshotKey is set"));
    }
    Ok(())
}

/// Access to containers.
pub struct Containers<'a> {
    pub(super) meta: &'a Metadata,
}

impl Containers<'_> {
    /// The container with this id.
    ///
    /// # Errors
    /// NotFound.
    pub fn get(&self, ns: &Namespace, id: &str) -> Result<Container> {
        read(&*self.meta.view()?, ns, id)?
            .ok_or_else(|| Error::not_found(format!("container {id:?} in namespace {:?}", ns.as_str())))
    }

    /// Containers that the filters let through, by id.
    pub fn list(&self, ns: &Namespace, filters: &FilterSet) -> Result<Vec<Container>> {
        let view = self.meta.view()?;
        let named = |container: &mut Container, [_, id]: [String; 2]| container.id = id;
        filtered(&*view, CONTAINERS, &prefix(&[ns.as_str()]), filters, named)
    }

    /// Makes a container record; its times become now.
    ///
    /// # Errors
    /// InvalidArgument, AlreadyExists.
    pub async fn create(&self, ns: &Namespace, mut container: Container) -> Result<Container> {
        validate(&container).map_err(|e| wrap("create container failed validation", e))?;
        let ns = ns.clone();
        self.meta
            .write(move |tx| {
                let key = key(&[ns.as_str(), &container.id]);
                if tx.contains(CONTAINERS, &key)? {
                    return Err(Error::already_exists(format!("container {:?}", container.id)));
                }
                namespace::ensure(tx, ns.as_str())?;
                container.labels = without_empty(std::mem::take(&mut container.labels));
                container.created_at = SystemTime::now();
                container.updated_at = container.created_at;
                save(tx, CONTAINERS, &key, &container)?;
                Ok(container)
            })
            .await
    }

    /// Replaces what may change (labels, spec, extensions, image, snapshot key), or what the mask
    /// names: `labels[.key]`, `extensions[.key]`, `spec`, `image`, `snapshotkey`.
    ///
    /// # Errors
    /// NotFound; InvalidArgument for another path, or when without a mask snapshotter or runtime name
    /// differ.
    pub async fn update(&self, ns: &Namespace, container: Container, mask: &[String]) -> Result<Container> {
        if container.id.is_empty() {
            return Err(Error::invalid("must specify a container id"));
        }
        let (ns, mask) = (ns.clone(), mask.to_vec());
        self.meta
            .write(move |tx| {
                let current = read(tx, &ns, &container.id)?
                    .ok_or_else(|| Error::not_found(format!("container {:?}", container.id)))?;
                let mut updated = masked(current, container, &parse_mask(&mask))?;
                validate(&updated).map_err(|e| wrap("update failed validation", e))?;
                updated.labels = without_empty(std::mem::take(&mut updated.labels));
                updated.updated_at = SystemTime::now();
                save(tx, CONTAINERS, &key(&[ns.as_str(), &updated.id]), &updated)?;
                Ok(updated)
            })
            .await
    }

    /// Deletes the record. Its snapshot is then held by nothing but its own references.
    ///
    /// # Errors
    /// NotFound.
    pub async fn delete(&self, ns: &Namespace, id: &str) -> Result<()> {
        let (ns, id) = (ns.clone(), id.to_owned());
        self.meta
            .write(move |tx| {
                if !tx.delete(CONTAINERS, &key(&[ns.as_str(), &id]))? {
                    return Err(Error::not_found(format!("container {id:?}")));
                }
                tx.mark_dirty();
                Ok(())
            })
            .await
    }
}

fn masked(mut updated: Container, new: Container, mask: &Mask<'_>) -> Result<Container> {
    if mask.is_everything() {
        if updated.snapshotter != new.snapshotter {
            return Err(Error::invalid("container.Snapshotter field is immutable"));
        }
        if updated.runtime.name != new.runtime.name {
            return Err(Error::invalid("container.Runtime.Name field is immutable"));
        }
    }
    if let Some(path) = mask.unknown(&["spec", "image", "snapshotkey"], &["labels", "extensions"]) {
        return Err(Error::invalid(format!("cannot update {path:?} field on {:?}", new.id)));
    }
    mask.apply_map("labels", &mut updated.labels, &new.labels);
    mask.apply_map("extensions", &mut updated.extensions, &new.extensions);
    if mask.has("spec") {
        updated.spec = new.spec;
    }
    if mask.has("image") {
        updated.image = new.image;
    }
    if mask.has("snapshotkey") {
        updated.snapshot_key = new.snapshot_key;
    }
    Ok(updated)
}

/// Puts words in front of a validation failure.
fn wrap(what: &str, e: Error) -> Error {
    match e {
        Error::Refused { kind, message } => Error::Refused { kind, message: format!("{what}: {message}") },
        Error::Invalid { what: field, source } => Error::Invalid { what: format!("{what}: {field}"), source },
        other => other,
    }
}
