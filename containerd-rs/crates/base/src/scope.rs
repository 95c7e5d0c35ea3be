//! What a request runs under.

use crate::ids::{LeaseId, Namespace};

/// The namespace of a request, and the lease that keeps what it creates.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scope {
    /// Where the request reads and writes.
    pub namespace: Namespace,
    /// What holds the objects that the request makes; none: they live only by references.
    pub lease: Option<LeaseId>,
}

impl Scope {
    /// A scope without a lease.
    pub fn new(namespace: Namespace) -> Self {
        Scope { namespace, lease: None }
    }

    /// The same namespace under `lease`.
    #[must_use]
    pub fn with_lease(&self, lease: LeaseId) -> Self {
        Scope { namespace: self.namespace.clone(), lease: Some(lease) }
    }

    /// The same namespace without a lease.
    #[must_use]
    pub fn without_lease(&self) -> Self {
        Scope::new(self.namespace.clone())
    }
}

impl From<Namespace> for Scope {
    fn from(namespace: Namespace) -> Self {
        Scope::new(namespace)
    }
}
