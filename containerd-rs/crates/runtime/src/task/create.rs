//! `create`: a bundle, a shim, and the container made but not started.

use std::sync::Arc;
use std::time::Duration;

use base::Namespace;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::entry::{Entry, Phase};
use crate::error::Error;
use crate::model::CreateTask;
use crate::runtime::Runtime;
use crate::shim::Shim;

/// How long a create waits for the remains of an earlier task of the same id.
const REMAINS: Duration = Duration::from_secs(15);

impl Runtime {
    /// Makes a task and gives the pid of its first process. Its container should be recorded already; nothing else
    /// of that id may exist.
    ///
    /// Not cancel-safe by design: dropping the future undoes the create, in the background, however far it had come.
    /// A task is there only when this has returned its pid; a create of the same id waits for the end of one given up.
    ///
    /// # Errors
    /// `AlreadyExists` for a second task of that id; the shim's own refusals; whatever keeps a shim from starting.
    /// Nothing is left of a failed create.
    pub async fn create(&self, namespace: &Namespace, request: CreateTask) -> Result<u32, Error> {
        let id = request.container_id.clone();
        base::validate_identifier(&id).map_err(|source| Error::TaskId { id: id.clone(), source })?;
        let entry = self.reserve(namespace, &id).await?;
        let _caller = Caller { entry: entry.clone() };
        let (reply, made) = oneshot::channel();
        let runtime = self.clone();
        self.shared.tasks.spawn(async move { runtime.create_for(reply, entry, request).await });
        match made.await {
            Ok(made) => made?.take(),
            Err(_) => Err(Error::Internal { what: "create", reason: "it gave no result".to_owned() }),
        }
    }

    /// Makes the task for whoever listens at the other end of `reply`, and takes it back when nobody does.
    async fn create_for(
        self,
        mut reply: oneshot::Sender<Result<Made, Error>>,
        entry: Arc<Entry>,
        mut request: CreateTask,
    ) {
        let mut reservation = Reservation { runtime: self.clone(), entry: Some(entry.clone()) };
        let launched = match self.prepare(&entry, &request).await {
            Ok(prepared) => match self.activate_rootfs(&entry, &mut request, &prepared).await {
                Ok(()) => tokio::select! {
                    biased;
                    () = reply.closed() => Err(Error::Abandoned { id: request.container_id.clone() }),
                    launched = self.launch(&entry, &request, prepared) => launched,
                },
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        let made = match launched {
            Ok((pid, shim)) => {
                Ok(Made { runtime: self, pid, launched: Some((entry, shim)), home: Handle::current() })
            }
            Err(error) => {
                entry.advance(|phase| *phase == Phase::Creating, Phase::Closing);
                self.undo(&entry, &error).await;
                Err(error)
            }
        };
        reservation.entry = None;
        // One that nobody takes is dropped here or on its way, and that undoes it.
        let _ = reply.send(made);
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

/// Dropped with the caller's future. A create whose result was not taken by then is given up from that moment on:
/// whoever wants the id next waits for its end.
struct Caller {
    entry: Arc<Entry>,
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.entry.advance(|phase| *phase == Phase::Creating, Phase::Closing);
    }
}

/// A task that is made and that its creator has not been told of. It is in phase Creating until it is taken; dropped
/// before that, it is undone.
struct Made {
    runtime: Runtime,
    pid: u32,
    launched: Option<(Arc<Entry>, Arc<Shim>)>,
    /// Where the undoing runs: the last owner may be dropped anywhere.
    home: Handle,
}

impl Made {
    /// The task is the caller's from here on.
    fn take(mut self) -> Result<u32, Error> {
        if let Some((entry, shim)) = &self.launched {
            self.runtime.settle_in(entry, shim)?;
        }
        self.launched = None;
        Ok(self.pid)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let Some((entry, shim)) = self.launched.take() else { return };
        drop(shim);
        entry.advance(|phase| *phase == Phase::Creating, Phase::Closing);
        let runtime = self.runtime.clone();
        let undo = async move {
            let why = Error::Abandoned { id: entry.bundle.id.clone() };
            runtime.undo(&entry, &why).await;
        };
        self.runtime.shared.tasks.spawn_on(undo, &self.home);
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
