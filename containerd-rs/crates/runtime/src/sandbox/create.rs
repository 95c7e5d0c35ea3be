//! `create`: a bundle, a shim, and the sandbox made but not started.

use std::path::PathBuf;
use std::sync::Arc;

use base::Namespace;
use protos::shim::sandbox::{CreateSandboxRequest, CreateSandboxResponse};

use super::{CreateSandbox, Result, ShimSandboxer, call, death, failed};
use crate::binary::{self, Start};
use crate::bundle::Bundle;
use crate::entry::{Entry, Phase};
use crate::error::Error;
use crate::runtime::blocking;
use crate::shim::Shim;
use crate::shimlog::ShimLog;
use crate::wire;

/// How long a create waits for the remains of an earlier sandbox of the same id.
const REMAINS: std::time::Duration = std::time::Duration::from_secs(15);

impl ShimSandboxer {
    pub(super) async fn create_sandbox(&self, namespace: &Namespace, request: CreateSandbox) -> Result<()> {
        base::validate_identifier(&request.id).map_err(failed("invalid sandbox id".to_owned()))?;
        let entry = self.reserve(namespace, &request.id).await?;
        let this = self.clone();
        self.tracked(async move {
            let mut reservation = Reservation { sandboxer: this.clone(), entry: Some(entry.clone()) };
            let made = this.make(&entry, request).await;
            if made.is_err() {
                entry.advance(|phase| *phase == Phase::Creating, Phase::Closing);
                this.undo(&entry).await;
            }
            reservation.entry = None;
            made
        })
        .await
    }

    async fn reserve(&self, namespace: &Namespace, id: &str) -> Result<Arc<Entry>> {
        let shared = &self.shared;
        let deadline = tokio::time::Instant::now() + REMAINS;
        loop {
            let bundle = Bundle::locate(&shared.options.root, &shared.options.state, namespace, id);
            let taken = match shared.table.reserve(bundle, Phase::Creating) {
                Ok(entry) => return Ok(entry),
                Err(taken) => taken,
            };
            shared.runtime.recovered(&taken, shared.options.timeouts.load).await;
            match taken.phase() {
                Phase::Dead | Phase::Closing => {
                    let mut phase = taken.watch_phase();
                    let gone = phase.wait_for(|phase| *phase == Phase::Gone);
                    if tokio::time::timeout_at(deadline, gone).await.is_err() {
                        let words = format!("sandbox {id:?} is still being cleaned up after {REMAINS:?}");
                        return Err(base::Error::unavailable(words));
                    }
                }
                Phase::Gone => tokio::task::yield_now().await,
                Phase::Creating | Phase::Recovering | Phase::Live | Phase::Aside(_) => {
                    return Err(base::Error::already_exists(format!("sandbox {id} already running")));
                }
            }
        }
    }

    async fn make(&self, entry: &Arc<Entry>, request: CreateSandbox) -> Result<()> {
        let id = &entry.bundle.id;
        let shim = self
            .start_shim(entry, &request)
            .await
            .map_err(failed(format!("failed to start new shim for sandbox {id}")))?;
        entry.set_shim(Some(shim.clone()));
        let message = CreateSandboxRequest {
            sandbox_id: id.clone(),
            bundle_path: entry.bundle.path.display().to_string(),
            rootfs: request.rootfs.iter().map(wire::mount).collect(),
            options: request.options.as_ref().map(wire::any).into(),
            netns_path: request.netns_path,
            annotations: request.annotations.into_iter().collect(),
            ..CreateSandboxRequest::default()
        };
        let limit = self.shared.options.timeouts.create;
        let _: CreateSandboxResponse = call(&shim, "CreateSandbox", &message, limit)
            .await
            .map_err(failed(format!("failed to create sandbox {id}")))?;
        entry.bundle.clear_intent().map_err(failed(format!("failed to create sandbox {id}")))?;
        entry.advance(|phase| *phase == Phase::Creating, Phase::Live);
        death::watch(self, entry, &shim);
        self.learn_pid(entry, &shim);
        Ok(())
    }

    async fn start_shim(
        &self,
        entry: &Arc<Entry>,
        request: &CreateSandbox,
    ) -> std::result::Result<Arc<Shim>, Error> {
        let (options, common) = (&self.shared.options, &self.shared.runtime.shared);
        let program = common.resolver.resolve(&request.runtime_name).map_err(Error::Resolve)?;
        let (dialect, made) =
            tokio::join!(common.dialects.of(&program), make_bundle(entry, request, program.clone()));
        made?;
        let log = Arc::new(ShimLog::open(&entry.bundle.path, common.log_sink.clone())?);
        let start = Start {
            program: &program,
            bundle: &entry.bundle,
            options,
            dialect,
            runtime_options: request.runtime_options.as_ref(),
        };
        let answer = binary::start(start, &common.dialects).await?;
        entry.bundle.write_answer(&answer)?;
        Shim::connect(&entry.bundle, Some(program), answer, log, options.timeouts.load).await
    }

    /// The shim's own pid, for the day when its connection breaks; nobody waits for it.
    pub(super) fn learn_pid(&self, entry: &Arc<Entry>, shim: &Arc<Shim>) {
        let (this, entry, shim) = (self.clone(), entry.clone(), shim.clone());
        tokio::spawn(async move {
            if let Err(error) = shim.introduce(&entry.bundle.id, &this.shared.options).await {
                tracing::debug!(id = entry.bundle.id, %error, "shim does not tell its pid");
            }
        });
    }
}

async fn make_bundle(
    entry: &Arc<Entry>,
    request: &CreateSandbox,
    program: PathBuf,
) -> std::result::Result<(), Error> {
    let (entry, spec) = (entry.clone(), request.spec.clone());
    blocking("create bundle", move || {
        let bundle = &entry.bundle;
        if bundle.path.exists() {
            // The id is ours and no sandbox has it: what is here, an earlier clean-up could not remove.
            bundle.remove()?;
        }
        // A record's empty message is no spec.
        bundle.create(spec.as_ref().filter(|spec| !spec.value.is_empty()))?;
        bundle.write_intent(&program)
    })
    .await
}

/// Gives the id back even when the work on it breaks off.
struct Reservation {
    sandboxer: ShimSandboxer,
    entry: Option<Arc<Entry>>,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(entry) = self.entry.take() {
            self.sandboxer.shared.table.remove(&entry);
        }
    }
}
