//! `delete`: a stopped task goes away, and with it its shim and its bundle.

use std::sync::Arc;
use std::time::Duration;

use base::{ErrorKind, Kinded, Namespace};
use protos::shim::task_v3::{DeleteRequest, DeleteResponse};

use super::{shut_down, take_away};
use crate::entry::{Entry, Phase};
use crate::error::{Error, SharedError};
use crate::model::Exit;
use crate::rpc::CallError;
use crate::runtime::Runtime;
use crate::shim::{self, Shim};
use crate::wire;

/// How long after its shim's end a task's own events may still be on their way.
const STRAGGLERS: Duration = Duration::from_secs(1);

/// Shims are known to end with events still in their queue: what they did not tell, the daemon does.
async fn make_known(runtime: &Runtime, entry: &Entry, exit: Exit) {
    if tokio::time::timeout(STRAGGLERS, entry.all_told()).await.is_err() {
        tracing::warn!(id = entry.bundle.id, "shim did not tell the end of its task");
        shim::publish_exit(runtime, entry, exit);
        shim::publish_delete(runtime, entry, exit);
    }
}

impl Runtime {
    /// Deletes a stopped task and tells how it ended. Callers that ask at the same time get the same answer.
    ///
    /// The answer comes when the container is deleted; shim and bundle follow at once, and a create of the same id
    /// waits for that. Runs on when the future is dropped.
    ///
    /// # Errors
    /// `NotFound`, or the shim's refusal: `FailedPrecondition` while the process runs.
    pub async fn delete(&self, namespace: &Namespace, id: &str) -> Result<Exit, Error> {
        if self.shared.records.runtime_of(namespace, id).map_err(Error::Records)?.is_none() {
            return Err(Error::ContainerNotFound { id: id.to_owned(), namespace: namespace.to_string() });
        }
        let (entry, shim) = self.live(namespace, id).await?;
        let (mut outcome, first) = entry.join_deletion();
        let Some(sender) = first else {
            let done = outcome.wait_for(Option::is_some).await;
            return match done.as_deref() {
                Ok(Some(Ok(exit))) => Ok(*exit),
                Ok(Some(Err(error))) => Err(Error::Shared(error.clone())),
                Ok(None) | Err(_) => Err(Error::TaskNotFound { id: id.to_owned() }),
            };
        };
        let runtime = self.clone();
        self.tracked("delete", async move {
            let deleted = runtime.delete_in(&entry, &shim).await;
            if deleted.is_err() {
                entry.reset_deletion();
            }
            let told = match &deleted {
                Ok(exit) => Ok(*exit),
                Err(error) => Err(Arc::new(SharedError::from(error))),
            };
            sender.send_replace(Some(told));
            deleted
        })
        .await
    }

    async fn delete_in(&self, entry: &Arc<Entry>, shim: &Arc<Shim>) -> Result<Exit, Error> {
        let request = DeleteRequest { id: entry.bundle.id.clone(), ..DeleteRequest::default() };
        let limit = self.shared.options.timeouts.call;
        let deleted: Result<DeleteResponse, CallError> = shim.client.call("Delete", &request, limit).await;
        let failed = |e: CallError| Error::DeleteTask { source: Box::new(e.into()) };
        match deleted {
            Ok(response) => {
                let exit = Exit {
                    pid: response.pid,
                    status: response.exit_status,
                    exited_at: wire::time(response.exited_at.as_ref()),
                };
                self.close(entry, shim, Some(exit));
                Ok(exit)
            }
            // The shim died under the call; whoever sees to that knows the exit.
            Err(e @ CallError::Closed) => {
                let limit = self.shared.options.timeouts.cleanup * 3;
                tokio::time::timeout(limit, entry.ended()).await.map_err(|_| failed(e))
            }
            // Deleted already, perhaps for an earlier daemon that died before it could say so.
            Err(e) if e.kind() == ErrorKind::NotFound => {
                let known = entry.known_exit();
                self.close(entry, shim, known);
                known.ok_or_else(|| failed(e))
            }
            Err(e) => Err(failed(e)),
        }
    }

    /// From here on the task is gone to everyone; shim and bundle go in the background.
    fn close(&self, entry: &Arc<Entry>, shim: &Arc<Shim>, exit: Option<Exit>) {
        if !entry.advance(|phase| *phase == Phase::Live, Phase::Closing) {
            return;
        }
        if let Some(exit) = exit {
            entry.set_exit(exit);
        }
        let (runtime, entry, shim) = (self.clone(), entry.clone(), shim.clone());
        self.shared.tasks.spawn(async move {
            shut_down(&runtime, &entry, &shim).await;
            drop(shim);
            take_away(&runtime, &entry).await;
            if let Some(exit) = exit {
                make_known(&runtime, &entry, exit).await;
            }
        });
    }
}
