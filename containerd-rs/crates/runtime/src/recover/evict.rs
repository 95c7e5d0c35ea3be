//! Shims that run tasks which no record names, and creates that an earlier daemon did not finish.

use std::sync::Arc;
use std::time::Duration;

use base::{ErrorKind, Kinded};
use protobuf::well_known_types::empty::Empty;
use protos::shim::task_v3::{DeleteRequest, DeleteResponse, KillRequest, WaitRequest, WaitResponse};
use rustix::process::Signal;

use crate::entry::Entry;
use crate::rpc::CallError;
use crate::runtime::Runtime;
use crate::shim::Shim;
use crate::shimlog::ShimLog;
use crate::task::{clean_up, shut_down, take_away};

impl Runtime {
    /// Kills the task, deletes it, ends the shim, removes the bundle. What the shim refuses is done without it.
    pub(super) async fn evict(&self, entry: &Arc<Entry>, shim: Arc<Shim>) {
        let deleted = self.empty(entry, &shim).await;
        let down = shut_down(self, entry, &shim).await;
        if !(deleted && down) {
            clean_up(self, entry).await;
        }
        take_away(self, entry).await;
    }

    /// Whether the shim got rid of its task by itself.
    async fn empty(&self, entry: &Arc<Entry>, shim: &Arc<Shim>) -> bool {
        let limit = self.shared.options.timeouts.cleanup;
        let id = entry.bundle.id.clone();
        let signal = u32::try_from(Signal::KILL.as_raw()).unwrap_or(9);
        let kill = KillRequest { id: id.clone(), signal, all: true, ..KillRequest::default() };
        let killed: Result<Empty, CallError> = shim.client.call("Kill", &kill, limit).await;
        if killed.is_ok() {
            let wait = WaitRequest { id: id.clone(), ..WaitRequest::default() };
            // The delete says what came of it.
            let _: Result<WaitResponse, CallError> = shim.client.call("Wait", &wait, limit).await;
        }
        let delete = DeleteRequest { id, ..DeleteRequest::default() };
        let deleted: Result<DeleteResponse, CallError> = shim.client.call("Delete", &delete, limit).await;
        match deleted {
            Ok(_) => true,
            Err(error) => error.kind() == ErrorKind::NotFound,
        }
    }

    /// Undoes a create that was cut short, whether its shim runs, was about to, or never did.
    pub(super) async fn undo_unfinished(&self, entry: &Arc<Entry>) {
        let bundle = &entry.bundle;
        if let (Some(program), Ok(Some(answer))) = (bundle.shim_path(), bundle.answer())
            && let Ok(log) = ShimLog::open(&bundle.path, self.shared.log_sink.clone())
        {
            let limit = Duration::from_secs(1);
            if let Ok(shim) = Shim::connect(bundle, Some(program), answer, Arc::new(log), limit).await {
                self.empty(entry, &shim).await;
                shut_down(self, entry, &shim).await;
            }
        }
        // The shim may not have known yet of what its runtime was just making.
        clean_up(self, entry).await;
        take_away(self, entry).await;
    }
}
