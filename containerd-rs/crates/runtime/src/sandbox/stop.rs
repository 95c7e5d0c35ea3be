//! `stop` and `wait`.

use std::time::Duration;

use base::{ErrorKind, Kinded, Namespace};
use protos::shim::sandbox::{
    StopSandboxRequest, StopSandboxResponse, WaitSandboxRequest, WaitSandboxResponse,
};

use super::{Result, SandboxExit, ShimSandboxer, call, death, exit_of, failed, start};
use crate::rpc::{CallError, FOR_EVER};

impl ShimSandboxer {
    pub(super) async fn stop_sandbox(
        &self,
        namespace: &Namespace,
        id: &str,
        timeout: Option<Duration>,
    ) -> Result<()> {
        let (_, shim) = match self.live(namespace, id).await {
            Ok(found) => found,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(e),
        };
        let timeout_secs = timeout.map_or(0, |t| u32::try_from(t.as_secs()).unwrap_or(u32::MAX));
        let request =
            StopSandboxRequest { sandbox_id: id.to_owned(), timeout_secs, ..StopSandboxRequest::default() };
        let limit = self.shared.options.timeouts.call + Duration::from_secs(timeout_secs.into());
        // The shim carries it through by itself.
        let stopped: std::result::Result<StopSandboxResponse, CallError> =
            call(&shim, "StopSandbox", &request, limit).await;
        match stopped {
            Ok(_) | Err(CallError::Closed) => Ok(()),
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::Unavailable) => Ok(()),
            Err(e) => Err(failed("failed to stop sandbox".to_owned())(e)),
        }
    }

    pub(super) async fn wait_sandbox(&self, namespace: &Namespace, id: &str) -> Result<SandboxExit> {
        let (entry, shim) = self.live(namespace, id).await?;
        let request = WaitSandboxRequest { sandbox_id: id.to_owned(), ..WaitSandboxRequest::default() };
        let asked = call::<_, WaitSandboxResponse>(&shim, "WaitSandbox", &request, FOR_EVER);
        tokio::select! {
            biased;
            exit = entry.ended() => Ok(exit_of(exit)),
            answer = asked => match answer {
                Ok(response) => {
                    let exit = start::exit(&entry, &response);
                    death::told(self, &entry, exit);
                    Ok(exit_of(exit))
                }
                // The shim died, or a new connection takes this one's place.
                Err(CallError::Closed) => Ok(exit_of(entry.ended().await)),
                Err(e) => Err(failed(format!("failed to wait sandbox {id}"))(e)),
            },
        }
    }
}
