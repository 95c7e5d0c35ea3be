use base::Namespace;
use protos::shim::task_v3::{WaitRequest, WaitResponse};

use crate::entry::{Entry, Phase};
use crate::error::Error;
use crate::model::Exit;
use crate::rpc::{CallError, FOR_EVER};
use crate::runtime::Runtime;
use crate::wire;

impl Runtime {
    /// Waits for the end of the first process, or of an exec. Outlives the shim's connection: a shim that was only
    /// cut off is asked again, a dead one gives the exit that everyone is told. Cancel-safe.
    ///
    /// # Errors
    /// `NotFound` when there is no such task or exec now.
    pub async fn wait(&self, namespace: &Namespace, id: &str, exec_id: &str) -> Result<Exit, Error> {
        let first = exec_id.is_empty();
        let told = |entry: &Entry, exit| if first { exit } else { entry.exec_ended(exec_id, exit) };
        let dying = self.shared.table.get(namespace, id).filter(|entry| entry.phase() == Phase::Dead);
        if let Some(entry) = dying {
            let exit = entry.ended().await;
            return Ok(told(&entry, exit));
        }
        let (entry, mut shim) = self.live(namespace, id).await?;
        let request =
            WaitRequest { id: id.to_owned(), exec_id: exec_id.to_owned(), ..WaitRequest::default() };
        loop {
            let asked = tokio::select! {
                biased;
                asked = shim.client.call::<_, WaitResponse>("Wait", &request, FOR_EVER) => asked,
                // The end of the container is not that of an exec: its shim tells, or hangs up.
                exit = entry.ended(), if first => return Ok(exit),
            };
            match asked {
                Ok(response) => {
                    let exit = Exit {
                        pid: if first { entry.pid() } else { 0 },
                        status: response.exit_status,
                        exited_at: wire::time(response.exited_at.as_ref()),
                    };
                    if first {
                        entry.note_answer(exit);
                    }
                    return Ok(exit);
                }
                Err(CallError::Closed) => {}
                Err(e) => return Err(e.into()),
            }
            tokio::select! {
                exit = entry.ended() => return Ok(told(&entry, exit)),
                () = entry.shim_changed(&shim) => {}
            }
            shim = match entry.shim() {
                Some(next) => next,
                None => {
                    let exit = entry.ended().await;
                    return Ok(told(&entry, exit));
                }
            };
        }
    }
}
