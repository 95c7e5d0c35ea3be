//! The lease that keeps what a transfer brings until the image names it.

use std::time::{Duration, SystemTime};

use base::{Labels, LeaseId, Scope, timestamp};
use store::Metadata;

use crate::error::{Error, Result};

/// How long a lease outlives a daemon that died during its transfer.
const LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// A lease of the caller, or one made for this transfer.
pub(crate) struct TransferLease {
    meta: Metadata,
    /// The caller's scope, with the lease in it.
    pub(crate) scope: Scope,
    own: Option<String>,
}

impl TransferLease {
    /// Uses the lease of `scope`, or makes one that expires in a day.
    pub(crate) async fn take(meta: &Metadata, scope: &Scope) -> Result<TransferLease> {
        let mut scope = scope.clone();
        let mut own = None;
        if scope.lease.is_none() {
            let until = timestamp::to_rfc3339_nano(SystemTime::now() + LIFETIME);
            let labels = Labels::from([(base::labels::gc::EXPIRE.to_owned(), until)]);
            let lease = meta.leases().create(&scope.namespace, None, labels).await?;
            let id = LeaseId::new(&lease.id).map_err(|e| Error::invalid(base::chain(&e)))?;
            (scope.lease, own) = (Some(id), Some(lease.id));
        }
        Ok(TransferLease { meta: meta.clone(), scope, own })
    }

    /// Gives the lease back; one of the caller stays. `resumable`: half-fetched content shall wait
    /// for another try, so a lease that holds some is left to expire.
    pub(crate) async fn release(self, resumable: bool) {
        let Some(id) = &self.own else { return };
        if resumable && self.holds_ingests(id) {
            tracing::debug!(lease = id, "lease kept: another try can resume");
            return;
        }
        if let Err(e) = self.meta.leases().delete(&self.scope.namespace, id).await {
            tracing::warn!(lease = id, error = base::chain(&e), "lease of a transfer stays until it expires");
        }
    }

    fn holds_ingests(&self, id: &str) -> bool {
        let held = self.meta.leases().list_resources(&self.scope.namespace, id);
        held.is_ok_and(|all| all.iter().any(|r| r.kind == "ingests"))
    }
}
