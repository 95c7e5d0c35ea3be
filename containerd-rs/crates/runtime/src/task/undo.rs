//! Takes back a create that failed or was given up, however far it had come.

use std::sync::Arc;

use base::{ErrorKind, Kinded};
use protos::shim::task_v3::{DeleteRequest, DeleteResponse};

use super::{clean_up, shut_down, take_away};
use crate::binary::InvokeError;
use crate::entry::Entry;
use crate::error::Error;
use crate::rpc::CallError;
use crate::runtime::Runtime;
use crate::shim::Shim;

impl Runtime {
    /// Leaves neither shim nor container nor bundle, and gives the id back. Failures are logged: the caller has the
    /// error that matters.
    pub(crate) async fn undo(&self, entry: &Arc<Entry>, why: &Error) {
        let clean = match entry.shim() {
            Some(shim) => self.undo_in(entry, &shim).await,
            None => never_ran(why),
        };
        if !(clean && is_certain(why)) {
            clean_up(self, entry).await;
        }
        take_away(self, entry).await;
    }

    /// Whether the shim itself has cleaned up.
    async fn undo_in(&self, entry: &Arc<Entry>, shim: &Arc<Shim>) -> bool {
        let request = DeleteRequest { id: entry.bundle.id.clone(), ..DeleteRequest::default() };
        let limit = self.shared.options.timeouts.cleanup;
        let deleted: Result<DeleteResponse, CallError> = shim.client.call("Delete", &request, limit).await;
        let down = shut_down(self, entry, shim).await;
        down && deleted.err().is_none_or(|e| e.kind() == ErrorKind::NotFound)
    }
}

/// Whether the failure says for sure that no runtime is still at work: the shim answered, or nothing was run.
fn is_certain(why: &Error) -> bool {
    match why {
        Error::CreateTask { source } => matches!(**source, Error::Call(CallError::Status { .. })),
        why => never_ran(why),
    }
}

/// Whether no program was run at all.
fn never_ran(why: &Error) -> bool {
    let source = match why {
        Error::StartShim { source } => source,
        // The bundle or the root file system could not be made.
        Error::Io { .. } | Error::Spec(_) | Error::Rootfs { .. } => return true,
        _ => return false,
    };
    match &**source {
        Error::Start(source) => matches!(**source, Error::Invoke(InvokeError::Spawn { .. })),
        Error::Resolve(_) | Error::Sandbox { .. } | Error::Answer(_) => true,
        _ => false,
    }
}
