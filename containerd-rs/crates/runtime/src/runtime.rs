//! The handle that everyone else uses, and what its verbs share.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use base::Namespace;
use events::Exchange;
use tokio_util::task::TaskTracker;

use crate::binary::{Dialects, Resolver, RuntimeInfo};
use crate::bundle::Bundle;
use crate::entry::{Entry, Phase};
use crate::error::Error;
use crate::gate::EndsOnce;
use crate::model::Endpoint;
use crate::options::{LogSink, RuntimeOptions};
use crate::records::Records;
use crate::sandbox;
use crate::shim::Shim;
use crate::shimlog;
use crate::table::Table;

/// Tasks and their shims. Clones share everything.
///
/// Calls that change something run in tasks of their own: dropping the future of such a call does not stop it half
/// way. `create` is the exception, as in the original: given up by its caller, it is undone.
#[derive(Clone)]
pub struct Runtime {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) options: RuntimeOptions,
    pub(crate) records: Box<dyn Records>,
    pub(crate) exchange: Exchange,
    pub(crate) table: Table,
    pub(crate) resolver: Resolver,
    pub(crate) dialects: Dialects,
    pub(crate) tasks: TaskTracker,
    pub(crate) log_sink: LogSink,
}

impl Runtime {
    /// A runtime without tasks; call [`Runtime::recover`] next. Adds its gate to the exchange. Must run inside tokio.
    pub fn new(options: RuntimeOptions, records: impl Records, exchange: Exchange) -> Self {
        let shared = Arc::new(Shared {
            resolver: Resolver::new(&options.daemon_binary),
            log_sink: options.log_sink.clone().unwrap_or_else(shimlog::standard_error),
            options,
            records: Box::new(records),
            exchange,
            table: Table::default(),
            dialects: Dialects::default(),
            tasks: TaskTracker::new(),
        });
        shared.exchange.add_gate(Arc::new(EndsOnce(Arc::downgrade(&shared))));
        Self { shared }
    }

    /// Lets the work that is under way (creates, deletes, clean-up) end, at most for `limit`. Shims and containers
    /// stay. Says whether all of it ended.
    pub async fn drain(&self, limit: Duration) -> bool {
        self.shared.tasks.close();
        let ended = tokio::time::timeout(limit, self.shared.tasks.wait()).await.is_ok();
        self.shared.tasks.reopen();
        ended
    }

    /// Describes a runtime, by name or absolute path, by asking its shim (`-info`).
    pub async fn runtime_info(
        &self,
        runtime: &str,
        options: Option<&base::Any>,
    ) -> Result<RuntimeInfo, Error> {
        let program = self.shared.resolver.resolve(runtime).map_err(Error::Resolve)?;
        crate::binary::info(&program, options).await
    }

    /// Where a task's shim listens.
    pub async fn endpoint(&self, namespace: &Namespace, id: &str) -> Result<Endpoint, Error> {
        let (_, shim) = self.live(namespace, id).await?;
        Ok(Endpoint {
            address: format!("{}+{}", shim.answer.protocol.to_ascii_lowercase(), shim.answer.address),
            version: shim.client.version(),
            shim_pid: shim.process.get().map_or(0, |process| process.pid),
        })
    }

    /// How many tasks are held, and how many of those have shims that do not answer.
    pub fn census(&self) -> (usize, usize) {
        let all = self.shared.table.list(None);
        let aside = all.iter().filter(|entry| matches!(entry.phase(), Phase::Aside(_))).count();
        (all.len(), aside)
    }

    /// Hangs up on a task's shim as a broken network would; for tests of what follows.
    #[doc(hidden)]
    pub fn break_connection(&self, namespace: &Namespace, id: &str) {
        if let Some(shim) = self.shared.table.get(namespace, id).and_then(|entry| entry.shim()) {
            shim.client.conn().close();
        }
    }

    pub(crate) fn bundle(&self, namespace: &Namespace, id: &str) -> Bundle {
        let options = &self.shared.options;
        Bundle::locate(&options.root, &options.state, namespace, id)
    }

    /// Where the shim sandbox controller keeps the bundle of a sandbox that has no task of its own.
    pub(crate) fn sandbox_bundle(&self, namespace: &Namespace, id: &str) -> Bundle {
        let options = &self.shared.options;
        Bundle::locate(&sandbox::beside(&options.root), &sandbox::beside(&options.state), namespace, id)
    }

    /// The task and its shim, waiting for the task's recovery if that is under way.
    pub(crate) async fn live(
        &self,
        namespace: &Namespace,
        id: &str,
    ) -> Result<(Arc<Entry>, Arc<Shim>), Error> {
        let entry = self.shared.table.get(namespace, id).ok_or_else(|| self.not_found(namespace, id))?;
        self.recovered(&entry, self.shared.options.timeouts.load).await;
        match entry.phase() {
            Phase::Live => match entry.shim() {
                Some(shim) => Ok((entry, shim)),
                None => Err(self.not_found(namespace, id)),
            },
            Phase::Aside(reason) => Err(Error::Aside { id: id.to_owned(), reason: reason.to_string() }),
            Phase::Recovering => {
                Err(Error::Aside { id: id.to_owned(), reason: "still being recovered".to_owned() })
            }
            Phase::Creating | Phase::Dead | Phase::Closing | Phase::Gone => {
                Err(self.not_found(namespace, id))
            }
        }
    }

    /// Waits, at most for `limit`, until the task's recovery has come to something.
    pub(crate) async fn recovered(&self, entry: &Entry, limit: Duration) {
        if entry.phase() == Phase::Recovering {
            let mut phase = entry.watch_phase();
            // Either outcome is looked at by the caller.
            let _ = tokio::time::timeout(limit, phase.wait_for(|p| *p != Phase::Recovering)).await;
        }
    }

    /// The refusal in the original's order: first the container's record, then its task.
    pub(crate) fn not_found(&self, namespace: &Namespace, id: &str) -> Error {
        match self.shared.records.runtime_of(namespace, id) {
            Ok(None) => Error::ContainerNotFound { id: id.to_owned(), namespace: namespace.to_string() },
            Ok(Some(_)) => Error::TaskNotFound { id: id.to_owned() },
            Err(e) => Error::Records(e),
        }
    }

    /// Runs `work` to its end even when the caller goes away.
    pub(crate) async fn tracked<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        match self.shared.tasks.spawn(work).await {
            Ok(result) => result,
            Err(e) => Err(Error::Internal { what, reason: e.to_string() }),
        }
    }
}

/// Runs file system work off the asynchronous threads.
pub(crate) async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => Err(Error::Internal { what, reason: e.to_string() }),
    }
}
