//! Takes over the sandboxes of an earlier daemon, each on its own, as tasks are (`crate::recover`).

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use base::{ErrorKind, Kinded};
use futures_util::stream::{self, StreamExt};
use protos::shim::sandbox::{SandboxStatusRequest, SandboxStatusResponse};
use tokio::task::JoinHandle;

use super::{CLEANUP, Result, ShimSandboxer, call, death, failed, shutdown};
use crate::bundle::{Bundle, remove_aside};
use crate::entry::{Entry, Phase};
use crate::error::Error;
use crate::recover::scan::{children, rebooted};
use crate::rpc::CallError;
use crate::runtime::blocking;
use crate::shim::Shim;
use crate::shimlog::ShimLog;

/// Bundles looked at at the same time.
const AT_ONCE: usize = 64;
/// The first pause before a silent shim is asked again; doubled up to the second.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// What talking to a shim gave.
enum Met {
    Ours(Arc<Shim>, SandboxStatusResponse),
    Nobodys(Arc<Shim>),
    Dead,
    Silent(String),
}

impl ShimSandboxer {
    /// Finds every sandbox, then takes over in the background. When this returns, each one that may exist is known; the
    /// handle ends, with how many were taken over, when every bundle had its turn.
    ///
    /// # Errors
    /// The state or the root directory cannot be made or read.
    pub async fn recover(&self) -> Result<JoinHandle<usize>> {
        let this = self.clone();
        let scanned = blocking("scan sandboxes", move || this.scan()).await;
        let (entries, rebooted) = scanned.map_err(failed("recover sandboxes".to_owned()))?;
        let this = self.clone();
        Ok(tokio::spawn(async move {
            let each = stream::iter(entries).map(|entry| {
                let this = this.clone();
                async move { this.recover_one(entry, rebooted).await }
            });
            each.buffer_unordered(AT_ONCE).filter(|live| std::future::ready(*live)).count().await
        }))
    }

    fn scan(&self) -> std::result::Result<(Vec<Arc<Entry>>, bool), Error> {
        let options = &self.shared.options;
        for dir in [&options.root, &options.state] {
            sys::fs::ensure_dir(dir, 0o700).map_err(Error::sys("make directory", dir))?;
        }
        let mut hidden = Vec::new();
        let mut entries = Vec::new();
        let rebooted = rebooted(&options.state);
        for (namespace, id) in children(&options.state, &mut hidden)? {
            let bundle = Bundle::locate(&options.root, &options.state, &namespace, &id);
            if let Ok(entry) = self.shared.table.reserve(bundle, Phase::Recovering) {
                if let Some(exit) = entry.bundle.told() {
                    entry.admit_exit(exit);
                }
                entries.push(entry);
            }
        }
        for (namespace, id) in children(&options.root, &mut hidden)? {
            if self.shared.table.get(&namespace, &id).is_none() {
                let orphan = Bundle::locate(&options.root, &options.state, &namespace, &id);
                remove_aside(&orphan.work)?;
            }
        }
        for path in hidden {
            if let Err(error) = fs::remove_dir_all(&path) {
                tracing::warn!(path = %path.display(), %error, "cleanup of half-removed directory");
            }
        }
        Ok((entries, rebooted))
    }

    /// Whether the sandbox lives.
    async fn recover_one(&self, entry: Arc<Entry>, rebooted: bool) -> bool {
        let (this, mine) = (self.clone(), entry.clone());
        let turn =
            self.shared.runtime.shared.tasks.spawn(async move { this.take_over(&mine, rebooted).await });
        turn.await.unwrap_or_else(|e| {
            tracing::error!(id = entry.bundle.id, error = %e, "recovery of a sandbox broke off");
            entry.advance(|_| true, Phase::Aside(Arc::from("its recovery broke off")));
            false
        })
    }

    async fn take_over(&self, entry: &Arc<Entry>, rebooted: bool) -> bool {
        let bundle = &entry.bundle;
        if bundle.has_intent() || matches!(bundle.answer(), Ok(None)) {
            tracing::info!(id = bundle.id, namespace = %bundle.namespace, "undoing a sandbox that was not finished");
            if let Ok(shim) = self.connect(entry, Duration::from_secs(1)).await {
                let _ = shutdown::ask(entry, &shim, CLEANUP).await;
            }
            entry.advance(|_| true, Phase::Closing);
            self.take_away(entry, false).await;
            return false;
        }
        let met = if rebooted { Met::Dead } else { self.meet(entry).await };
        if let Met::Silent(reason) = met {
            self.set_aside(entry, reason);
            return false;
        }
        self.settle(entry, met).await
    }

    async fn connect(&self, entry: &Entry, limit: Duration) -> std::result::Result<Arc<Shim>, Error> {
        let bundle = &entry.bundle;
        let answer = bundle.answer()?.ok_or(Error::Answer(crate::AnswerError::Empty))?;
        let log = Arc::new(ShimLog::open(&bundle.path, self.shared.runtime.shared.log_sink.clone())?);
        Shim::connect(bundle, bundle.shim_path(), answer, log, limit).await
    }

    /// Connects and asks; bounded as a whole.
    async fn meet(&self, entry: &Arc<Entry>) -> Met {
        let limit = self.shared.options.timeouts.load;
        let shim = match self.connect(entry, limit).await {
            Ok(shim) => shim,
            Err(Error::Dial(e)) if e.is_dead() => return Met::Dead,
            Err(e @ Error::Dial(_)) => return Met::Silent(base::chain(&e)),
            Err(e) => {
                tracing::error!(
                    id = entry.bundle.id,
                    error = base::chain(&e),
                    "sandbox cannot be taken over"
                );
                return Met::Dead;
            }
        };
        if let Err(CallError::Closed) = shim.introduce(&entry.bundle.id, &self.shared.options).await {
            return Met::Dead;
        }
        let (namespace, id) = (&entry.bundle.namespace, &entry.bundle.id);
        // Records that cannot be read condemn no one.
        if matches!(self.shared.runtime.shared.records.has_sandbox(namespace, id), Ok(false)) {
            return Met::Nobodys(shim);
        }
        let request = SandboxStatusRequest { sandbox_id: id.clone(), ..SandboxStatusRequest::default() };
        match call(&shim, "SandboxStatus", &request, limit).await {
            Ok(status) => Met::Ours(shim, status),
            Err(CallError::Closed) => Met::Dead,
            Err(e) if e.kind() == ErrorKind::NotFound => Met::Nobodys(shim),
            Err(e) => Met::Silent(e.to_string()),
        }
    }

    async fn settle(&self, entry: &Arc<Entry>, met: Met) -> bool {
        match met {
            Met::Ours(shim, status) => {
                entry.set_pid(status.pid);
                entry.set_shim(Some(shim.clone()));
                entry.advance(|_| true, Phase::Live);
                death::watch(self, entry, &shim);
                self.follow(entry, &shim);
                true
            }
            Met::Nobodys(shim) => {
                tracing::info!(id = entry.bundle.id, "cleaning leaked sandbox");
                entry.advance(|_| true, Phase::Closing);
                let asked = shutdown::ask(entry, &shim, CLEANUP).await;
                let down = self.hang_up(&shim).await && asked.is_ok();
                drop(shim);
                self.take_away(entry, down).await;
                false
            }
            Met::Dead | Met::Silent(_) => {
                tracing::info!(id = entry.bundle.id, namespace = %entry.bundle.namespace, "shim of a sandbox is dead");
                entry.advance(|_| true, Phase::Dead);
                death::bury(self, entry).await;
                false
            }
        }
    }

    /// Lists the sandbox as not answering, and asks again in the background until it answers or is dead.
    fn set_aside(&self, entry: &Arc<Entry>, reason: String) {
        tracing::warn!(id = entry.bundle.id, reason, "shim of a sandbox does not answer, set aside");
        entry.advance(|_| true, Phase::Aside(Arc::from(reason)));
        let (this, entry) = (self.clone(), entry.clone());
        tokio::spawn(async move {
            let mut pause = PAUSE.0;
            loop {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE.1);
                match this.meet(&entry).await {
                    Met::Silent(reason) => {
                        entry.advance(|p| matches!(p, Phase::Aside(_)), Phase::Aside(Arc::from(reason)));
                    }
                    met => {
                        this.settle(&entry, met).await;
                        return;
                    }
                }
            }
        });
    }
}
