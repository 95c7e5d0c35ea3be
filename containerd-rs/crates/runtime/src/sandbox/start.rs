//! `start`, and from then on a waiter for the end.

use std::sync::Arc;
use std::time::Duration;

use base::{ErrorKind, Kinded, Namespace};
use protos::shim::sandbox::{
    StartSandboxRequest, StartSandboxResponse, WaitSandboxRequest, WaitSandboxResponse,
};

use super::{Result, SandboxInstance, ShimSandboxer, call, death, failed};
use crate::entry::{Entry, Phase};
use crate::model::Exit;
use crate::rpc::{CallError, FOR_EVER};
use crate::shim::Shim;
use crate::wire;

/// Pauses before a shim that refuses to be waited on is asked again.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

impl ShimSandboxer {
    pub(super) async fn start_sandbox(&self, namespace: &Namespace, id: &str) -> Result<SandboxInstance> {
        let (entry, shim) = self.live(namespace, id).await?;
        let this = self.clone();
        self.tracked(async move {
            let id = entry.bundle.id.clone();
            let request = StartSandboxRequest { sandbox_id: id.clone(), ..StartSandboxRequest::default() };
            let limit = this.shared.options.timeouts.create;
            let started: std::result::Result<StartSandboxResponse, CallError> =
                call(&shim, "StartSandbox", &request, limit).await;
            let response = match started {
                Ok(response) => response,
                Err(error) => {
                    // A second start is no reason to take the first one's sandbox away.
                    let kept =
                        matches!(error.kind(), ErrorKind::FailedPrecondition | ErrorKind::AlreadyExists);
                    if !kept && entry.advance(|phase| *phase == Phase::Live, Phase::Closing) {
                        this.undo(&entry).await;
                    }
                    return Err(failed(format!("failed to start sandbox {id}"))(error));
                }
            };
            entry.set_pid(response.pid);
            this.follow(&entry, &shim);
            Ok(SandboxInstance {
                pid: response.pid,
                created_at: wire::time(response.created_at.as_ref()),
                address: address(&shim),
                version: version(&shim),
                labels: Default::default(),
                spec: response.spec.into_option().map(wire::from_any),
            })
        })
        .await
    }

    /// Waits for the sandbox's end in a task of its own, and tells everyone, once.
    pub(super) fn follow(&self, entry: &Arc<Entry>, shim: &Arc<Shim>) {
        let (this, entry) = (self.clone(), entry.clone());
        let conn = shim.client.conn().clone();
        tokio::spawn(async move {
            let mut pause = PAUSE.0;
            loop {
                let request = WaitSandboxRequest {
                    sandbox_id: entry.bundle.id.clone(),
                    ..WaitSandboxRequest::default()
                };
                let ended: std::result::Result<WaitSandboxResponse, CallError> =
                    conn.call(super::SERVICE, "WaitSandbox", &request, FOR_EVER).await;
                match ended {
                    Ok(response) => return death::told(&this, &entry, exit(&entry, &response)),
                    // Whoever sees to the dead shim knows the exit.
                    Err(CallError::Closed) => return,
                    Err(error) => {
                        tracing::warn!(id = entry.bundle.id, %error, "sandbox cannot be waited for");
                        tokio::time::sleep(pause).await;
                        pause = (pause * 2).min(PAUSE.1);
                    }
                }
                if entry.phase() == Phase::Gone {
                    return;
                }
            }
        });
    }
}

/// What a shim answers to a wait.
pub(super) fn exit(entry: &Entry, response: &WaitSandboxResponse) -> Exit {
    Exit {
        pid: entry.pid(),
        status: response.exit_status,
        exited_at: wire::time(response.exited_at.as_ref()),
    }
}

/// Where the sandbox's tasks are served.
pub(super) fn address(shim: &Shim) -> String {
    format!("{}+{}", shim.answer.protocol, shim.answer.address)
}

pub(super) fn version(shim: &Shim) -> u32 {
    u32::try_from(shim.client.version()).unwrap_or_default()
}
