//! `kill`: a signal through the shim, and SIGKILL without it when it does not answer.

use std::sync::Arc;

use base::Namespace;
use protobuf::well_known_types::empty::Empty;
use protos::shim::task_v3::KillRequest;
use rustix::process::Signal;

use crate::entry::{Entry, Phase};
use crate::error::Error;
use crate::rpc::CallError;
use crate::runtime::{Runtime, blocking};
use crate::shim::{Leftovers, Shim};

/// How much longer than for SIGKILL a shim may take for a signal that nobody else can send in its place.
const OTHER_SIGNALS: u32 = 3;

/// What is to be signalled, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wanted {
    signal: u32,
    all: bool,
    /// An exec, not the first process.
    exec: bool,
}

impl Wanted {
    /// Whether the daemon can do it by itself: nobody can catch SIGKILL, and who gets it is known without the shim.
    fn needs_no_shim(self) -> bool {
        !self.exec && i64::from(self.signal) == i64::from(Signal::KILL.as_raw())
    }
}

impl Runtime {
    /// Sends a signal to the first process or to an exec; `all` means every process of the container. Runs on when the
    /// future is dropped.
    ///
    /// A shim that does not answer within the kill bound, or was set aside, is done without for SIGKILL to the first
    /// process: the daemon kills it, and for `all` its control group, by itself. The exit is told when the shim thaws.
    ///
    /// # Errors
    /// `NotFound`, the shim's refusal; `DeadlineExceeded` or `Unavailable` when the shim does not answer and the signal
    /// is one that only it can send.
    pub async fn kill(
        &self,
        namespace: &Namespace,
        id: &str,
        exec_id: &str,
        signal: u32,
        all: bool,
    ) -> Result<(), Error> {
        let wanted = Wanted { signal, all, exec: !exec_id.is_empty() };
        let (entry, shim) = match self.live(namespace, id).await {
            Ok(live) => live,
            Err(silent @ Error::Aside { .. }) => {
                let aside = self.shared.table.get(namespace, id);
                return match aside.filter(|entry| matches!(entry.phase(), Phase::Aside(_))) {
                    Some(entry) if wanted.needs_no_shim() => self.kill_alone(entry, None, all, silent).await,
                    _ => Err(silent),
                };
            }
            Err(e) => return Err(e),
        };
        let request = KillRequest {
            id: id.to_owned(),
            exec_id: exec_id.to_owned(),
            signal,
            all,
            ..KillRequest::default()
        };
        let limit = self.shared.options.timeouts.kill;
        let limit = if wanted.needs_no_shim() { limit } else { limit * OTHER_SIGNALS };
        let runtime = self.clone();
        self.tracked("kill", async move {
            let killed: Result<Empty, CallError> = shim.client.call("Kill", &request, limit).await;
            match killed {
                Ok(_) => Ok(()),
                Err(silent @ CallError::Timeout { .. }) if wanted.needs_no_shim() => {
                    runtime.kill_alone(entry, Some(shim), all, silent.into()).await
                }
                Err(e) => Err(e.into()),
            }
        })
        .await
    }

    /// Kills without the shim. Fails with `silent`, why the shim could not be asked, when the process cannot be told
    /// from a stranger's.
    async fn kill_alone(
        &self,
        entry: Arc<Entry>,
        shim: Option<Arc<Shim>>,
        all: bool,
        silent: Error,
    ) -> Result<(), Error> {
        let (id, namespace) = (entry.bundle.id.clone(), entry.bundle.namespace.clone());
        let killed = blocking("kill container", move || {
            let parent = shim.as_ref().and_then(|shim| shim.process.get()).map(|process| process.pid);
            Leftovers::of_running(&entry.bundle, entry.pid(), parent).kill(all)
        });
        let reason = base::chain(&silent);
        match killed.await? {
            true => tracing::warn!(id, %namespace, reason, "killed without the shim"),
            false => return Err(Error::Unkilled { id, source: Box::new(silent) }),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sigkill_to_the_first_process_needs_no_shim() {
        for (signal, exec, alone) in
            [(9, false, true), (9, true, false), (15, false, false), (0, false, false)]
        {
            for all in [false, true] {
                assert_eq!(Wanted { signal, all, exec }.needs_no_shim(), alone, "{signal} {exec}");
            }
        }
    }
}
