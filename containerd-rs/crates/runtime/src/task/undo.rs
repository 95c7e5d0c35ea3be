//! Takes back a create that failed or was given up, however far it had come.

use std::sync::Arc;

use protos::shim::task_v3::{DeleteRequest, DeleteResponse};

use super::{shut_down, take_away};
use crate::binary;
use crate::entry::Entry;
use crate::runtime::Runtime;
use crate::shim::Shim;

impl Runtime {
    /// Leaves neither shim nor container nor bundle, and gives the id back. Failures are logged: the caller has the
    /// error that matters.
    pub(crate) async fn undo(&self, entry: &Arc<Entry>) {
        let bundle = &entry.bundle;
        let deleted = match entry.shim() {
            Some(shim) => self.undo_in(entry, &shim).await,
            None => false,
        };
        if !deleted && let Some(program) = bundle.shim_path() {
            // The shim may have made the container without being able to say so.
            if let Err(error) = binary::delete(&program, bundle, &self.shared.options).await {
                let error = base::chain(&error);
                tracing::warn!(id = bundle.id, error, "failed to clean up after a failed create");
            }
        }
        take_away(self, entry).await;
    }

    /// Whether the shim itself has cleaned up.
    async fn undo_in(&self, entry: &Arc<Entry>, shim: &Arc<Shim>) -> bool {
        let request = DeleteRequest { id: entry.bundle.id.clone(), ..DeleteRequest::default() };
        let limit = self.shared.options.timeouts.cleanup;
        let deleted: Result<DeleteResponse, _> = shim.client.call("Delete", &request, limit).await;
        let down = shut_down(self, entry, shim).await;
        let clean = deleted.is_ok()
            || matches!(&deleted, Err(e) if base::Kinded::kind(e) == base::ErrorKind::NotFound);
        clean && down
    }
}
