//! StopSandbox: its process ends, and with it the namespaces that nobody else is in.

use std::time::{Duration, SystemTime};

use base::Error;

use crate::reaper::Exit;
use crate::sandbox::Sandbox;
use crate::sandbox::decide::{Ask, Phase};
use crate::task::kill::signal;

/// Time to end by itself when the caller names none.
const GRACE: Duration = Duration::from_secs(2);
/// Time to die of a kill.
const DEATH: Duration = Duration::from_secs(10);

impl Sandbox {
    /// Stops the sandbox; one that has ended, or was never started, is stopped already. Not cancel-safe.
    ///
    /// # Errors
    /// `NotFound`; a process that does not die.
    pub(crate) async fn stop(&self, id: &str, timeout_secs: u32) -> Result<(), Error> {
        let _claim = self.claim(id, Ask::Stop).await?;
        let grace = if timeout_secs == 0 { GRACE } else { Duration::from_secs(timeout_secs.into()) };
        self.end(grace).await
    }

    /// Ends the process, asking it first if there is time for that. The caller has the turn.
    pub(super) async fn end(&self, grace: Duration) -> Result<(), Error> {
        let (phase, pid) = {
            let mut state = self.state();
            if state.phase == Phase::Created {
                // It never ran: there is nothing that could have failed.
                state.phase = Phase::Ended;
                state.exit = Some(Exit { pid: 0, code: 0, signal: None, at: SystemTime::now() });
            }
            (state.phase, state.pid)
        };
        if phase != Phase::Ready {
            return Ok(());
        }
        for (number, limit) in [(15, grace), (9, DEATH)] {
            if limit.is_zero() {
                continue;
            }
            // Not found: dead, and about to be collected.
            let _ = signal(pid, number);
            if tokio::time::timeout(limit, self.until(|state| state.exit)).await.is_ok() {
                return Ok(());
            }
        }
        Err(Error::unknown(format!("process {pid} of the sandbox did not die within {} s", DEATH.as_secs())))
    }
}
