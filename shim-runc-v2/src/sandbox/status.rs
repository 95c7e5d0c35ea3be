//! SandboxStatus: from memory.

use std::collections::BTreeMap;
use std::time::SystemTime;

use base::Error;
use serde_json::json;

use crate::reaper::Exit;
use crate::sandbox::Sandbox;
use crate::sandbox::decide::{Ask, Phase};

/// As CRI writes it.
const READY: &str = "SANDBOX_READY";
/// Likewise.
const NOT_READY: &str = "SANDBOX_NOTREADY";

/// How a sandbox is.
pub(crate) struct Status {
    pub(crate) pid: u32,
    pub(crate) state: &'static str,
    pub(crate) created_at: Option<SystemTime>,
    pub(crate) exit: Option<Exit>,
    /// More, for people.
    pub(crate) info: BTreeMap<String, String>,
}

impl Sandbox {
    /// Tells how the sandbox is; with `verbose` also what it is made of.
    ///
    /// # Errors
    /// `NotFound`.
    pub(crate) fn status(&self, id: &str, verbose: bool) -> Result<Status, Error> {
        let containers = if verbose { self.0.tasks.ids() } else { Vec::new() };
        self.look(id, Ask::Status, |state| {
            let pod = state.pod.as_ref();
            let mut info = BTreeMap::new();
            if let Some(pod) = pod.filter(|_| verbose) {
                let text = json!({
                    "pid": state.pid,
                    "processStatus": if state.phase == Phase::Ready { "running" } else { "stopped" },
                    "startedAt": state.started_at.map(base::timestamp::to_rfc3339_nano),
                    "bundle": pod.bundle,
                    "shimPid": std::process::id(),
                    "namespaces": &pod.plan,
                    "containers": containers,
                });
                info.insert("info".to_owned(), text.to_string());
            }
            Status {
                pid: if state.exit.is_some() { 0 } else { state.pid },
                state: if state.phase == Phase::Ready { READY } else { NOT_READY },
                created_at: pod.map(|pod| pod.created_at),
                exit: state.exit,
                info,
            }
        })
    }
}
