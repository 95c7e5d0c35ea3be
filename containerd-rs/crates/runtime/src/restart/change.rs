//! Carries out what was decided.

use std::time::Duration;

use base::{ErrorKind, Kinded, Namespace, SandboxId};
use rustix::process::Signal;
use serde::Deserialize;
use store::Container;

use super::monitor::Shared;
use super::{COUNT_LABEL, LOG_PATH_LABEL, LOG_URI_LABEL};
use crate::error::Error;
use crate::model::CreateTask;

/// How long a killed task may take to end.
const END: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
struct Spec {
    process: Option<Process>,
}

#[derive(Deserialize)]
struct Process {
    #[serde(default)]
    terminal: bool,
}

impl Shared {
    /// Counts, removes what is left of the old task, makes and starts a new one.
    pub(super) async fn start(
        &self,
        namespace: &Namespace,
        container: Container,
        count: i64,
    ) -> Result<(), base::Error> {
        if container.labels.get(LOG_PATH_LABEL).is_some_and(|path| !path.is_empty()) {
            tracing::warn!(
                "Label {LOG_PATH_LABEL:?} is no longer supported since containerd v2.0. Use {LOG_URI_LABEL:?} instead."
            );
        }
        let mut counted = container.clone();
        counted.labels.insert(COUNT_LABEL.to_owned(), count.to_string());
        let mask = [format!("labels.{COUNT_LABEL}")];
        let updated = self.meta.containers().update(namespace, counted, &mask).await;
        updated.map_err(|e| base::Error::wrap("count the restart", e))?;
        if let Err(error) = self.stop(namespace, &container.id).await {
            tracing::warn!(id = container.id, error = base::chain(&error), "old task stays");
        }
        let rootfs = self.rootfs.mounts(namespace, &container).await?;
        let id = container.id.clone();
        let task = new_task(container, rootfs)?;
        let wrap = |what: &'static str| move |e: Error| base::Error::wrap(what, e);
        self.runtime.create(namespace, task).await.map_err(wrap("create task"))?;
        self.runtime.start(namespace, &id, "").await.map_err(wrap("start task"))?;
        Ok(())
    }

    /// Kills the task, if there is one, and deletes it.
    pub(super) async fn stop(&self, namespace: &Namespace, id: &str) -> Result<(), base::Error> {
        let wrap = |what: &'static str| move |e: Error| base::Error::wrap(what, e);
        let signal = u32::try_from(Signal::KILL.as_raw()).unwrap_or(9);
        match self.runtime.kill(namespace, id, "", signal, true).await {
            Ok(()) => {
                let waited = tokio::time::timeout(END, self.runtime.wait(namespace, id, "")).await;
                waited
                    .map_err(|_| {
                        base::Error::deadline_exceeded(format!("task {id} did not end within {END:?}"))
                    })?
                    .map_err(wrap("wait for task"))?;
            }
            // Ended, never started, or not there: the delete says which.
            Err(error) => tracing::debug!(id, error = base::chain(&error), "kill"),
        }
        match self.runtime.delete(namespace, id).await {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(wrap("delete task")(error)),
            _ => Ok(()),
        }
    }
}

fn new_task(container: Container, rootfs: Vec<base::Mount>) -> Result<CreateTask, base::Error> {
    let spec = container.spec.as_ref().map(|spec| serde_json::from_slice::<Spec>(&spec.value)).transpose();
    let spec = spec.map_err(|e| base::Error::unknown("unmarshal spec").with_source(e))?;
    let terminal = spec.and_then(|spec| spec.process).is_some_and(|process| process.terminal);
    let output = container.labels.get(LOG_URI_LABEL).cloned().unwrap_or_default();
    let sandbox_id = match container.sandbox_id.as_str() {
        "" => None,
        id => Some(SandboxId::new(id).map_err(|e| base::Error::wrap("sandbox of container", e))?),
    };
    Ok(CreateTask {
        container_id: container.id,
        runtime_name: container.runtime.name,
        spec: container.spec,
        rootfs,
        stderr: if terminal { String::new() } else { output.clone() },
        stdout: output,
        terminal,
        options: container.runtime.options,
        sandbox_id,
        ..CreateTask::default()
    })
}
