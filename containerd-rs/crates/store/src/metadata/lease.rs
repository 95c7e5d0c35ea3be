//! Leases: named holders of content, snapshots, ingests and images, each for as long as it exists.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::time::SystemTime;

use base::filter::{Fields, FilterSet};
use base::labels::{Labels, gc};
use base::{Digest, LeaseId, Namespace, Scope};

use super::tables::{LEASE_REFS, LEASES};
use super::{Metadata, filtered, map_field, namespace, save, text_field, without_empty};
use crate::codec::{Decoder, Encoder, Reason, Record};
use crate::error::{Error, Result};
use crate::key::{key, prefix, split};
use crate::kv::{Read, Tx};

/// A lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Unique in its namespace.
    pub id: String,
    /// When it was made.
    pub created_at: SystemTime,
    /// `containerd.io/gc.expire` and `containerd.io/gc.flat` have a meaning.
    pub labels: Labels,
}

impl Record for Lease {
    const VERSION: u8 = 1;
    fn encode(&self, out: &mut Encoder) {
        out.time(self.created_at);
        out.map(&self.labels);
    }
    fn decode(_: u8, from: &mut Decoder<'_>) -> Result<Self, Reason> {
        Ok(Lease { id: String::new(), created_at: from.time()?, labels: from.map()? })
    }
}

impl Fields for Lease {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["id"] => text_field(&self.id),
            ["labels", rest @ ..] => map_field(&self.labels, rest),
            _ => None,
        }
    }
}

/// Something that a lease holds, as on the wire.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resource {
    /// Digest, reference, name or key.
    pub id: String,
    /// `content`, `ingests`, `images` or `snapshots/<snapshotter>`.
    pub kind: String,
}

/// A checked [`Resource`].
#[derive(Clone, Copy, Debug)]
pub(crate) enum LeaseRef<'a> {
    Content(&'a str),
    Ingest(&'a str),
    Image(&'a str),
    Snapshot(&'a str, &'a str),
}

impl LeaseRef<'_> {
    fn key(&self, ns: &str, lease: &str) -> Vec<u8> {
        match self {
            LeaseRef::Content(digest) => key(&[ns, lease, "content", digest]),
            LeaseRef::Ingest(reference) => key(&[ns, lease, "ingests", reference]),
            LeaseRef::Image(name) => key(&[ns, lease, "images", name]),
            LeaseRef::Snapshot(snapshotter, name) => {
                key(&[ns, lease, &format!("snapshots/{snapshotter}"), name])
            }
        }
    }

    /// Holds this by the lease of the scope, if it has one; tells whether it has.
    pub(crate) fn add(&self, tx: &mut Tx<'_>, scope: &Scope) -> Result<bool> {
        let Some(lease) = &scope.lease else { return Ok(false) };
        let ns = scope.namespace.as_str();
        if !tx.contains(LEASES, &key(&[ns, lease.as_str()]))? {
            return Err(Error::not_found("lease does not exist"));
        }
        let key = self.key(ns, lease.as_str());
        if !tx.contains(LEASE_REFS, &key)? {
            tx.put(LEASE_REFS, &key, &[])?;
        }
        Ok(true)
    }

    /// No longer holds this by the lease of the scope.
    pub(crate) fn remove(&self, tx: &mut Tx<'_>, scope: &Scope) -> Result<()> {
        if let Some(lease) = &scope.lease {
            tx.delete(LEASE_REFS, &self.key(scope.namespace.as_str(), lease.as_str()))?;
        }
        Ok(())
    }
}

/// Refuses kinds that no lease can hold.
fn check(resource: &Resource) -> Result<LeaseRef<'_>> {
    let (id, kind) = (resource.id.as_str(), resource.kind.as_str());
    let parts: Vec<&str> = kind.split('/').collect();
    match parts.as_slice() {
        ["ingests" | "images"] | ["snapshots", _] if id.is_empty() => {
            Err(Error::invalid(format!("invalid {kind} resource: id must not be empty")))
        }
        ["snapshots", ""] => Err(Error::invalid(format!("invalid snapshot resource type {kind}"))),
        ["content"] => {
            Digest::parse(id).map_err(|e| Error::field(format!("invalid content resource id {id}"), e))?;
            Ok(LeaseRef::Content(id))
        }
        ["ingests"] => Ok(LeaseRef::Ingest(id)),
        ["images"] => Ok(LeaseRef::Image(id)),
        ["snapshots", snapshotter] => Ok(LeaseRef::Snapshot(snapshotter, id)),
        ["snapshots", ..] => Err(Error::invalid(format!("invalid snapshot resource type {kind}"))),
        ["content" | "ingests" | "images", ..] => {
            Err(Error::invalid(format!("invalid resource type {kind}")))
        }
        _ => Err(Error::refused(
            base::ErrorKind::Unimplemented,
            format!("resource type {kind} not supported yet"),
        )),
    }
}

/// Access to leases.
pub struct Leases<'a> {
    pub(super) meta: &'a Metadata,
}

impl Leases<'_> {
    /// Makes a lease; without an id it gets a random one.
    ///
    /// # Errors
    /// AlreadyExists.
    pub async fn create(&self, ns: &Namespace, id: Option<LeaseId>, labels: Labels) -> Result<Lease> {
        let id = id.map_or_else(random_id, |id| id.as_str().to_owned());
        let lease = Lease { id, created_at: SystemTime::now(), labels: without_empty(labels) };
        let ns = ns.clone();
        self.meta
            .write(move |tx| {
                let key = key(&[ns.as_str(), &lease.id]);
                if tx.contains(LEASES, &key)? {
                    return Err(Error::already_exists(format!("lease {:?}", lease.id)));
                }
                namespace::ensure(tx, ns.as_str())?;
                save(tx, LEASES, &key, &lease)?;
                Ok(lease)
            })
            .await
    }

    /// Deletes a lease; what only it held is garbage from then on.
    ///
    /// # Errors
    /// NotFound.
    pub async fn delete(&self, ns: &Namespace, id: &str) -> Result<()> {
        let (ns, id) = (ns.clone(), id.to_owned());
        self.meta
            .write(move |tx| {
                if !remove(tx, ns.as_str(), &id)? {
                    return Err(missing(&id));
                }
                tx.mark_dirty();
                Ok(())
            })
            .await
    }

    /// The lease with this id.
    ///
    /// # Errors
    /// NotFound.
    pub fn get(&self, ns: &Namespace, id: &str) -> Result<Lease> {
        let found: Option<Lease> = super::load(&*self.meta.view()?, LEASES, &key(&[ns.as_str(), id]))?;
        let lease = found.ok_or_else(|| missing(id))?;
        Ok(Lease { id: id.to_owned(), ..lease })
    }

    /// Leases that the filters let through, by id.
    pub fn list(&self, ns: &Namespace, filters: &FilterSet) -> Result<Vec<Lease>> {
        let view = self.meta.view()?;
        filtered(
            &*view,
            LEASES,
            &prefix(&[ns.as_str()]),
            filters,
            |lease: &mut Lease, [_, id]: [String; 2]| {
                lease.id = id;
            },
        )
    }

    /// Lets the lease hold a resource, which need not exist.
    ///
    /// # Errors
    /// NotFound for the lease, InvalidArgument for a malformed digest or kind, Unimplemented for an
    /// unknown kind.
    pub async fn add_resource(&self, ns: &Namespace, id: &str, resource: Resource) -> Result<()> {
        let scope = Scope { namespace: ns.clone(), lease: Some(lease_id(id)?) };
        let id = id.to_owned();
        self.meta
            .write(move |tx| {
                exists(tx, &scope.namespace, &id)?;
                check(&resource)?.add(tx, &scope).map(drop)
            })
            .await
    }

    /// Lets go of a resource; one that is not held is no error.
    ///
    /// # Errors
    /// As for [`Leases::add_resource`].
    pub async fn delete_resource(&self, ns: &Namespace, id: &str, resource: Resource) -> Result<()> {
        let scope = Scope { namespace: ns.clone(), lease: Some(lease_id(id)?) };
        let id = id.to_owned();
        self.meta
            .write(move |tx| {
                exists(tx, &scope.namespace, &id)?;
                check(&resource)?.remove(tx, &scope)?;
                tx.mark_dirty();
                Ok(())
            })
            .await
    }

    /// What the lease holds: content, images, ingests, then snapshots.
    ///
    /// # Errors
    /// NotFound for the lease.
    pub fn list_resources(&self, ns: &Namespace, id: &str) -> Result<Vec<Resource>> {
        let view = self.meta.view()?;
        exists(&*view, ns, id)?;
        let mut out = Vec::new();
        resources(&*view, &prefix(&[ns.as_str(), id]), |_, kind, id| {
            out.push(Resource { id, kind });
            Ok(())
        })?;
        Ok(out)
    }
}

/// Visits lease, kind and id of each reference below a prefix of [`LEASE_REFS`].
pub(crate) fn resources(
    from: &dyn Read,
    prefix: &[u8],
    mut visit: impl FnMut(String, String, String) -> Result<()>,
) -> Result<()> {
    from.scan(LEASE_REFS, prefix, &mut |k, _| {
        let [_, lease, kind, id] =
            split::<4>(k).ok_or_else(|| super::bad_record(LEASE_REFS, k, "malformed key"))?;
        visit(lease, kind, id)?;
        Ok(ControlFlow::Continue(()))
    })
}

/// Removes a lease and its references; tells whether it was there.
pub(crate) fn remove(tx: &mut Tx<'_>, ns: &str, id: &str) -> Result<bool> {
    tx.delete_prefix(LEASE_REFS, &prefix(&[ns, id]))?;
    tx.delete(LEASES, &key(&[ns, id]))
}

fn exists(from: &dyn Read, ns: &Namespace, id: &str) -> Result<()> {
    if from.contains(LEASES, &key(&[ns.as_str(), id]))? { Ok(()) } else { Err(missing(id)) }
}

fn missing(id: &str) -> Error {
    Error::not_found(format!("lease {id:?}"))
}

/// An id that no lease can have cannot be found either.
fn lease_id(id: &str) -> Result<LeaseId> {
    LeaseId::new(id).map_err(|_| missing(id))
}

/// Seconds since 1970 and eight random characters: sorts by age, does not repeat.
fn random_id() -> String {
    use std::hash::{BuildHasher, Hasher};
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut random = std::collections::hash_map::RandomState::new().build_hasher();
    random.write_u32(now.subsec_nanos());
    format!("{}-{:016x}", now.as_nanos(), random.finish())
}

/// Whether an image with these labels is held by leases at all (without an expiry it is a root).
pub(crate) fn holds_image(labels: &Labels) -> bool {
    labels.contains_key(gc::EXPIRE)
}
