//! `create`: a bundle, a shim, and the container made but not started.

use std::sync::Arc;
use std::time::Duration;

use base::Namespace;
use tokio::sync::oneshot;

use crate::entry::{Entry, Phase};
use crate::error::Error;
use crate::model::CreateTask;
use crate::runtime::Runtime;

/// How long a create waits for the remains of an earlier task of the same id.
const REMAINS: Duration = Duration::from_secs(15);

impl Runtime {
    /// Makes a task and gives the pid of its first process. Its container should be recorded already; nothing else
    /// of that id may exist.
    ///
    /// Not cancel-safe by design: dropping the future undoes the create, in the background. One that is done in that
    /// very moment stays, as a task that was created.
    ///
    /// # Errors
    /// `AlreadyExists` for a second task of that id; the shim's own refusals; whatever keeps a shim from starting.
    /// Nothing is left of a failed create.
    pub async fn create(&self, namespace: &Namespace, request: CreateTask) -> Result<u32, Error> {
        let id = request.container_id.clone();
        base::validate_identifier(&id).map_err(|source| Error::TaskId { id: id.clone(), source })?;
        let entry = self.reserve(namespace, &id).await?;
        let (sender, given_up) = oneshot::channel::<()>();
        let _caller = Caller { entry: entry.clone(), _gone: sender };
        let runtime = self.clone();
        self.tracked("create", async move {
            let mut reservation = Reservation { runtime: runtime.clone(), entry: Some(entry.clone()) };
            let made = match runtime.prepare(&entry, &request).await {
                Ok(prepared) => tokio::select! {
                    biased;
                    _ = given_up => Err(Error::Abandoned { id: request.container_id.clone() }),
                    made = runtime.launch(&entry, &request, prepared) => made,
                },
                Err(error) => Err(error),
            };
            if let Err(error) = &made {
                entry.advance(|phase| *phase == Phase::Creating, Phase::Closing);
                runtime.undo(&entry, error).await;
            }
            reservation.entry = None;
            made
        })
        .await
    }

    /// Takes the id for a new task, after whatever is just going away under it.
    async fn reserve(&self, namespace: &Namespace, id: &str) -> Result<Arc<Entry>, Error> {
        let table = &self.shared.table;
        let deadline = tokio::time::Instant::now() + REMAINS;
        loop {
            let taken = match table.reserve(self.bundle(namespace, id), Phase::Creating) {
                Ok(entry) => return Ok(entry),
                Err(taken) => taken,
            };
            self.recovered(&taken, self.shared.options.timeouts.load).await;
            match taken.phase() {
                Phase::Dead | Phase::Closing => {
                    let mut phase = taken.watch_phase();
                    let gone = phase.wait_for(|phase| *phase == Phase::Gone);
                    if tokio::time::timeout_at(deadline, gone).await.is_err() {
                        return Err(Error::Busy { id: id.to_owned(), after: REMAINS });
                    }
                }
                Phase::Gone => tokio::task::yield_now().await,
                Phase::Creating | Phase::Recovering | Phase::Live | Phase::Aside(_) => {
                    return Err(Error::TaskExists { id: id.to_owned() });
                }
            }
        }
    }
}

/// Dropped with the caller's future. A create that is not done by then is given up from that moment on: whoever
/// wants the id next waits for its end.
struct Caller {
    entry: Arc<Entry>,
    _gone: oneshot::Sender<()>,
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.entry.advance(|phase| *phase == Phase::Creating, Phase::Closing);
    }
}

/// Gives the id back even when the work on it breaks off.
struct Reservation {
    runtime: Runtime,
    entry: Option<Arc<Entry>>,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(entry) = self.entry.take() {
            self.runtime.shared.table.remove(&entry);
        }
    }
}
