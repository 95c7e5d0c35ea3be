//! Sandboxes: what runs a pod's containers. The [`Sandboxer`] seam, and the controller for shims that are sandboxes by
//! themselves (`containerd.runtime.sandbox.v1`), in place of a pause container.
//!
//! A sandbox of the `shim` controller has a bundle of its own beside those of tasks, and a record like a task's
//! (`entry.rs`, with the same phases). Its tasks reach its shim through that bundle (`task/launch.rs`).
//!
//! Tasks it spawns: per sandbox a waiter for its end and a watcher of its connection, at start-up one per bundle.

mod create;
mod death;
mod model;
mod recover;
mod shutdown;
mod start;
mod status;
mod stop;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use base::{Kinded, Namespace, Platform};
use protobuf::Message;

use crate::entry::{Entry, Phase};
use crate::options::RuntimeOptions;
use crate::rpc::CallError;
use crate::runtime::Runtime;
use crate::shim::Shim;
use crate::table::Table;

pub use model::{CreateSandbox, SandboxExit, SandboxInstance, SandboxMetrics, SandboxStatus};

/// What went wrong with a sandbox, with the code that clients get.
pub type Result<T> = std::result::Result<T, base::Error>;

/// A kind of sandboxes: `shim` here, `podsandbox` (a pause container) in the CRI part, proxies. A client names it when it
/// makes a sandbox. Calls that change something are carried through when their future is dropped.
#[async_trait]
pub trait Sandboxer: Send + Sync {
    /// Makes a sandbox; nothing of it runs. Its record should be in the store already.
    ///
    /// # Errors
    /// `AlreadyExists`; what keeps it from being made. Nothing is left then.
    async fn create(&self, namespace: &Namespace, request: CreateSandbox) -> Result<()>;

    /// Runs it.
    ///
    /// # Errors
    /// `NotFound`; `FailedPrecondition` for a second start; what keeps it from running: nothing is left of it then.
    async fn start(&self, namespace: &Namespace, id: &str) -> Result<SandboxInstance>;

    /// What its containers are to be made for.
    ///
    /// # Errors
    /// `NotFound`, and whatever the sandbox says.
    async fn platform(&self, namespace: &Namespace, id: &str) -> Result<Platform>;

    /// Ends it, by force after `timeout`; an unknown one has ended. Its remains stay until [`Self::shutdown`].
    ///
    /// # Errors
    /// It does not end.
    async fn stop(&self, namespace: &Namespace, id: &str, timeout: Option<Duration>) -> Result<()>;

    /// Waits for its end. Cancel-safe.
    ///
    /// # Errors
    /// `NotFound`.
    async fn wait(&self, namespace: &Namespace, id: &str) -> Result<SandboxExit>;

    /// How it is; of an unknown one, that it has ended.
    ///
    /// # Errors
    /// It does not answer.
    async fn status(&self, namespace: &Namespace, id: &str, verbose: bool) -> Result<SandboxStatus>;

    /// Ends it with all its containers, and takes everything of it away but its record.
    ///
    /// # Errors
    /// `NotFound`; it does not end.
    async fn shutdown(&self, namespace: &Namespace, id: &str) -> Result<()>;

    /// What it uses.
    ///
    /// # Errors
    /// `NotFound`, and whatever the sandbox says.
    async fn metrics(&self, namespace: &Namespace, id: &str) -> Result<SandboxMetrics>;

    /// Its record has changed in `fields`. The `shim` controller has nothing to do then, as in the original.
    ///
    /// # Errors
    /// The sandbox cannot follow.
    async fn update(
        &self,
        namespace: &Namespace,
        id: &str,
        record: &store::Sandbox,
        fields: &[String],
    ) -> Result<()>;
}

/// The `shim` controller. Clones share everything.
#[derive(Clone)]
pub struct ShimSandboxer {
    shared: Arc<Shared>,
}

struct Shared {
    runtime: Runtime,
    /// The runtime's, with the sandboxes' own directories.
    options: RuntimeOptions,
    table: Table,
}

const SERVICE: &str = "containerd.runtime.sandbox.v1.Sandbox";
/// The original waits so long for a sandbox to be cleaned up after.
const CLEANUP: Duration = Duration::from_secs(5);

impl ShimSandboxer {
    /// A controller without sandboxes; call [`ShimSandboxer::recover`] next. Finds shims, records and events where
    /// `runtime` does.
    pub fn new(runtime: &Runtime) -> Self {
        let mut options = runtime.shared.options.clone();
        options.root = beside(&options.root);
        options.state = beside(&options.state);
        Self { shared: Arc::new(Shared { runtime: runtime.clone(), options, table: Table::default() }) }
    }

    /// How many sandboxes there are.
    pub fn census(&self) -> usize {
        self.shared.table.list(None).len()
    }

    /// The sandbox and its shim, waiting for its recovery if that is under way.
    async fn live(&self, namespace: &Namespace, id: &str) -> Result<(Arc<Entry>, Arc<Shim>)> {
        let entry = self.shared.table.get(namespace, id).ok_or_else(|| absent(id))?;
        self.shared.runtime.recovered(&entry, self.shared.options.timeouts.load).await;
        match (entry.phase(), entry.shim()) {
            (Phase::Live, Some(shim)) => Ok((entry, shim)),
            (Phase::Aside(reason), _) => {
                Err(base::Error::unavailable(format!("sandbox {id:?}: shim does not answer: {reason}")))
            }
            (Phase::Recovering, _) => {
                Err(base::Error::unavailable(format!("sandbox {id:?} is still being recovered")))
            }
            _ => Err(absent(id)),
        }
    }

    /// Runs `work` to its end even when the caller goes away.
    async fn tracked<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        match self.shared.runtime.shared.tasks.spawn(work).await {
            Ok(result) => result,
            Err(e) => Err(base::Error::internal(format!("work on a sandbox broke off: {e}"))),
        }
    }
}

/// Where sandboxes are, from where tasks are.
pub(crate) fn beside(dir: &Path) -> PathBuf {
    dir.with_file_name("io.containerd.sandbox.controller.v1.shim")
}

/// One call of the sandbox service.
async fn call<Q: Message, A: Message>(
    shim: &Shim,
    method: &'static str,
    request: &Q,
    limit: Duration,
) -> std::result::Result<A, CallError> {
    shim.client.conn().call(SERVICE, method, request, limit).await
}

fn absent(id: &str) -> base::Error {
    base::Error::not_found(format!("sandbox {id:?}"))
}

/// A failure under what was tried.
fn failed<E: Kinded + Send + Sync + 'static>(what: String) -> impl FnOnce(E) -> base::Error {
    move |e| base::Error::wrap(what, e)
}

#[async_trait]
impl Sandboxer for ShimSandboxer {
    async fn create(&self, namespace: &Namespace, request: CreateSandbox) -> Result<()> {
        self.create_sandbox(namespace, request).await
    }

    async fn start(&self, namespace: &Namespace, id: &str) -> Result<SandboxInstance> {
        self.start_sandbox(namespace, id).await
    }

    async fn platform(&self, namespace: &Namespace, id: &str) -> Result<Platform> {
        self.sandbox_platform(namespace, id).await
    }

    async fn stop(&self, namespace: &Namespace, id: &str, timeout: Option<Duration>) -> Result<()> {
        self.stop_sandbox(namespace, id, timeout).await
    }

    async fn wait(&self, namespace: &Namespace, id: &str) -> Result<SandboxExit> {
        self.wait_sandbox(namespace, id).await
    }

    async fn status(&self, namespace: &Namespace, id: &str, verbose: bool) -> Result<SandboxStatus> {
        self.sandbox_status(namespace, id, verbose).await
    }

    async fn shutdown(&self, namespace: &Namespace, id: &str) -> Result<()> {
        self.shutdown_sandbox(namespace, id).await
    }

    async fn metrics(&self, namespace: &Namespace, id: &str) -> Result<SandboxMetrics> {
        self.sandbox_metrics(namespace, id).await
    }

    async fn update(&self, _: &Namespace, _: &str, _: &store::Sandbox, _: &[String]) -> Result<()> {
        Ok(())
    }
}

/// An exit as clients are told.
fn exit_of(exit: crate::Exit) -> SandboxExit {
    SandboxExit { status: exit.status, exited_at: exit.exited_at.unwrap_or_else(SystemTime::now) }
}
