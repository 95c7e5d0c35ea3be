//! Sandboxes: groups of containers with a runtime of their own. The record holds nothing in life but
//! what its labels refer to.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::SystemTime;

use base::filter::{Fields, FilterSet};
use base::labels::Labels;
use base::mask::parse_mask;
use base::{Any, Namespace, validate_identifier};

use super::container::RuntimeInfo;
use super::tables::SANDBOXES;
use super::{Metadata, filtered, load, map_field, namespace, save, without_empty};
use crate::codec::{Decoder, Encoder, Reason, Record};
use crate::error::{Error, Result};
use crate::key::{key, prefix};
use crate::kv::Read;

/// A sandbox record.
#[derive(Clone, Debug, PartialEq)]
pub struct Sandbox {
    /// Unique in its namespace.
    pub id: String,
    /// Its runtime; the name cannot change without a mask.
    pub runtime: RuntimeInfo,
    /// Kept byte for byte.
    pub spec: Option<Any>,
    /// Labels.
    pub labels: Labels,
    /// When the record was made.
    pub created_at: SystemTime,
    /// When it was last changed.
    pub updated_at: SystemTime,
    /// What clients keep with the sandbox.
    pub extensions: BTreeMap<String, Any>,
    /// The controller that runs it.
    pub sandboxer: String,
}

impl Record for Sandbox {
    const VERSION: u8 = 1;

    fn encode(&self, out: &mut Encoder) {
        out.time(self.created_at);
        out.time(self.updated_at);
        out.map(&self.labels);
        self.runtime.encode(out);
        out.option(self.spec.as_ref(), Encoder::any);
        out.anys(&self.extensions);
        out.str(&self.sandboxer);
    }

    fn decode(_: u8, from: &mut Decoder<'_>) -> Result<Self, Reason> {
        Ok(Sandbox {
            id: String::new(),
            created_at: from.time()?,
            updated_at: from.time()?,
            labels: from.map()?,
            runtime: RuntimeInfo::decode(from)?,
            spec: from.option(Decoder::any)?,
            extensions: from.anys()?,
            sandboxer: from.str()?,
        })
    }
}

impl Fields for Sandbox {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["id"] => Some(Cow::Borrowed(&self.id)),
            ["labels", rest @ ..] => map_field(&self.labels, rest),
            _ => None,
        }
    }
}

fn read(from: &dyn Read, ns: &Namespace, id: &str) -> Result<Option<Sandbox>> {
    let found: Option<Sandbox> = load(from, SANDBOXES, &key(&[ns.as_str(), id]))?;
    Ok(found.map(|sandbox| Sandbox { id: id.to_owned(), ..sandbox }))
}

fn missing(id: &str) -> Error {
    Error::not_found(format!("bucket {id:?} not found"))
}

fn validate(sandbox: &Sandbox) -> Result<()> {
    validate_identifier(&sandbox.id)
        .map_err(|e| Error::field("failed to validate sandbox: invalid sandbox ID", e))?;
    keyed(sandbox)
}

/// Refuses extensions and labels without a key. Their size is the caller's, as with the original.
fn keyed(sandbox: &Sandbox) -> Result<()> {
    if sandbox.extensions.contains_key("") {
        return Err(Error::invalid("sandbox.Extension keys must not be zero-length"));
    }
    if sandbox.labels.get("").is_some_and(|value| !value.is_empty()) {
        return Err(Error::invalid("sandbox.Labels: label key must not be empty"));
    }
    Ok(())
}

/// Access to sandboxes.
pub struct Sandboxes<'a> {
    pub(super) meta: &'a Metadata,
}

impl Sandboxes<'_> {
    /// The sandbox with this id.
    ///
    /// # Errors
    /// NotFound.
    pub fn get(&self, ns: &Namespace, id: &str) -> Result<Sandbox> {
        read(&*self.meta.view()?, ns, id)?.ok_or_else(|| missing(id))
    }

    /// Sandboxes that the filters let through, by id.
    pub fn list(&self, ns: &Namespace, filters: &FilterSet) -> Result<Vec<Sandbox>> {
        let view = self.meta.view()?;
        let named = |sandbox: &mut Sandbox, [_, id]: [String; 2]| sandbox.id = id;
        filtered(&*view, SANDBOXES, &prefix(&[ns.as_str()]), filters, named)
    }

    /// Makes a sandbox record; its times become now.
    ///
    /// # Errors
    /// InvalidArgument for the id, AlreadyExists.
    pub async fn create(&self, ns: &Namespace, mut sandbox: Sandbox) -> Result<Sandbox> {
        validate(&sandbox)?;
        let ns = ns.clone();
        self.meta
            .write(move |tx| {
                let key = key(&[ns.as_str(), &sandbox.id]);
                if tx.contains(SANDBOXES, &key)? {
                    let text = format!("write error: sandbox bucket {:?} already exists", sandbox.id);
                    return Err(Error::already_exists(text));
                }
                namespace::ensure(tx, ns.as_str())?;
                sandbox.labels = without_empty(std::mem::take(&mut sandbox.labels));
                sandbox.created_at = SystemTime::now();
                sandbox.updated_at = sandbox.created_at;
                save(tx, SANDBOXES, &key, &sandbox)?;
                Ok(sandbox)
            })
            .await
    }

    /// Replaces labels, extensions, spec and runtime, or what the mask names of them (`labels.<key>`
    /// and `extensions.<key>` too).
    ///
    /// # Errors
    /// NotFound; InvalidArgument for another path or, without a mask, another runtime name.
    pub async fn update(&self, ns: &Namespace, sandbox: Sandbox, mask: &[String]) -> Result<Sandbox> {
        let (ns, mask) = (ns.clone(), mask.to_vec());
        self.meta
            .write(move |tx| {
                let current = read(tx, &ns, &sandbox.id)?.ok_or_else(|| missing(&sandbox.id))?;
                let mut updated = masked(current, sandbox, &mask)?;
                keyed(&updated)?;
                updated.labels = without_empty(std::mem::take(&mut updated.labels));
                updated.updated_at = SystemTime::now();
                save(tx, SANDBOXES, &key(&[ns.as_str(), &updated.id]), &updated)?;
                Ok(updated)
            })
            .await
    }

    /// Deletes the record.
    ///
    /// # Errors
    /// NotFound.
    pub async fn delete(&self, ns: &Namespace, id: &str) -> Result<()> {
        let (ns, id) = (ns.clone(), id.to_owned());
        self.meta
            .write(move |tx| {
                if !tx.delete(SANDBOXES, &key(&[ns.as_str(), &id]))? {
                    return Err(Error::not_found(format!("failed to delete sandbox {id:?}")));
                }
                Ok(())
            })
            .await
    }
}

fn masked(mut updated: Sandbox, new: Sandbox, paths: &[String]) -> Result<Sandbox> {
    let mask = parse_mask(paths);
    if mask.is_everything() && updated.runtime.name != new.runtime.name {
        return Err(Error::invalid("sandbox.Runtime.Name field is immutable"));
    }
    if let Some(path) = mask.unknown(&["runtime", "spec"], &["labels", "extensions"]) {
        return Err(Error::invalid(format!("cannot update {path:?} field on sandbox {:?}", new.id)));
    }
    mask.apply_map("labels", &mut updated.labels, &new.labels);
    mask.apply_map("extensions", &mut updated.extensions, &new.extensions);
    if mask.has("runtime") {
        updated.runtime = new.runtime;
    }
    if mask.has("spec") {
        updated.spec = new.spec;
    }
    Ok(updated)
}
