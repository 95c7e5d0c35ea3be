//! Calls about one process: a task, or an exec in it.

use std::time::Duration;

use protos::api::Any;
use protos::api::tasks::{
    CloseIoRequest, DeleteProcessRequest, DeleteTaskRequest, GetRequest, KillRequest, ResizePtyRequest,
    ResumeTaskRequest, StartRequest, WaitRequest,
};
use protos::api::types_task::{Process, Status};

use crate::client::Client;
use crate::client::retry::{CLEANUP_PATIENCE, PATIENCE, until_answered};
use crate::error::{Answered, Error, Result};
use crate::io::fifo::Streams;

/// SIGKILL.
pub const SIGKILL: u32 = 9;
/// How long a process may take to end after SIGKILL.
const KILL_LIMIT: Duration = Duration::from_secs(30);

/// A process by its ids.
#[derive(Clone, Debug)]
pub struct ProcessRef {
    client: Client,
    /// The container.
    pub container: String,
    /// The exec; empty for the task itself.
    pub exec: String,
}

impl ProcessRef {
    /// A container's task.
    pub fn task(client: &Client, container: &str) -> Self {
        ProcessRef { client: client.clone(), container: container.into(), exec: String::new() }
    }

    /// An exec in a task.
    pub fn exec(client: &Client, container: &str, exec: &str) -> Self {
        ProcessRef { exec: exec.into(), ..ProcessRef::task(client, container) }
    }

    fn name(&self) -> String {
        match self.exec.as_str() {
            "" => format!("task {}", self.container),
            exec => format!("exec {exec} of task {}", self.container),
        }
    }

    /// Its state as the daemon sees it.
    pub async fn get(&self) -> Result<Process> {
        let request = GetRequest { container_id: self.container.clone(), exec_id: self.exec.clone() };
        let answer = self.client.tasks().get(request).await.or_say(format!("cannot get {}", self.name()))?;
        answer.process.ok_or_else(|| Error::invalid(format!("the daemon gave no state of {}", self.name())))
    }

    /// Starts it; gives its pid.
    pub async fn start(&self) -> Result<u32> {
        let request = StartRequest { container_id: self.container.clone(), exec_id: self.exec.clone() };
        let answer = self.client.tasks().start(request).await;
        Ok(answer.or_say(format!("cannot start {}", self.name()))?.pid)
    }

    /// Waits for its end; gives its exit status. A daemon that goes away meanwhile is asked again when it is back.
    pub async fn wait(&self) -> Result<u32> {
        until_answered(PATIENCE, || async {
            let request = WaitRequest { container_id: self.container.clone(), exec_id: self.exec.clone() };
            let answer = self.client.tasks().wait(request).await;
            Ok(answer.or_say(format!("cannot wait for {}", self.name()))?.exit_status)
        })
        .await
    }

    /// Sends a signal, to all of the container's processes when `all`.
    pub async fn kill(&self, signal: u32, all: bool) -> Result<()> {
        let request =
            KillRequest { container_id: self.container.clone(), exec_id: self.exec.clone(), signal, all };
        let what = format!("cannot send signal {signal} to {}", self.name());
        self.client.tasks().kill(request).await.or_say(what)?;
        Ok(())
    }

    /// Sets the size of its terminal.
    pub async fn resize(&self, (width, height): (u32, u32)) -> Result<()> {
        let request = ResizePtyRequest {
            container_id: self.container.clone(),
            exec_id: self.exec.clone(),
            width,
            height,
        };
        let what = format!("cannot resize the terminal of {}", self.name());
        self.client.tasks().resize_pty(request).await.or_say(what)?;
        Ok(())
    }

    /// Tells the shim that no more input comes.
    pub async fn close_stdin(&self) -> Result<()> {
        let request =
            CloseIoRequest { container_id: self.container.clone(), exec_id: self.exec.clone(), stdin: true };
        let what = format!("cannot close the input of {}", self.name());
        self.client.tasks().close_io(request).await.or_say(what)?;
        Ok(())
    }

    /// Forgets a process that has ended; gives its exit status.
    pub async fn delete(&self) -> Result<u32> {
        let what = || format!("cannot delete {}", self.name());
        let container_id = self.container.clone();
        if self.exec.is_empty() {
            let answer = self.client.tasks().delete(DeleteTaskRequest { container_id }).await;
            return Ok(answer.or_say(what())?.exit_status);
        }
        let request = DeleteProcessRequest { container_id, exec_id: self.exec.clone() };
        Ok(self.client.tasks().delete_process(request).await.or_say(what())?.exit_status)
    }

    /// Deletes it as often as the daemon goes away meanwhile. One that is gone is fine.
    pub async fn delete_surely(&self) -> Result<()> {
        match until_answered(CLEANUP_PATIENCE, || self.delete()).await {
            Err(e) if !e.is_not_found() => Err(e),
            _ => Ok(()),
        }
    }

    /// Kills it, waits for its end (not for ever) and deletes it; gives the exit status. For a process in any state.
    pub async fn kill_and_delete(&self) -> Result<u32> {
        match self.kill(SIGKILL, self.exec.is_empty()).await {
            Err(e) if e.is_connection() => return Err(e),
            // when it has ended, or was never started, that is what the state says
            _ => {}
        }
        match self.get().await?.status() {
            Status::Created => {}
            status => {
                if matches!(status, Status::Paused | Status::Pausing) {
                    // the kill may have thawed it already; whether it ends is seen below
                    let _thawed = self.thaw().await;
                }
                let limit = KILL_LIMIT;
                let what =
                    || Error::Timeout { what: format!("the end of {} after SIGKILL", self.name()), limit };
                tokio::time::timeout(limit, self.wait()).await.unwrap_or_else(|_| Err(what()))?;
            }
        }
        self.delete().await
    }

    /// A frozen process takes no signal before it goes on.
    async fn thaw(&self) -> Result<()> {
        let request = ResumeTaskRequest { container_id: self.container.clone() };
        self.client.tasks().resume(request).await.or_say(format!("cannot resume task {}", self.container))
    }
}

/// The standard streams that a process was made with.
pub fn streams(process: &Process) -> Streams {
    Streams {
        stdin: process.stdin.clone(),
        stdout: process.stdout.clone(),
        stderr: process.stderr.clone(),
        terminal: process.terminal,
    }
}

/// A JSON document of the runtime-spec under its type URL.
pub fn spec_any(url: &str, document: &impl serde::Serialize) -> Result<Any> {
    let value = serde_json::to_vec(document)
        .map_err(|source| Error::Json { what: "the spec cannot be written".into(), source })?;
    Ok(Any { type_url: url.into(), value: value.into() })
}
