//! Wait: until a process ended, for as many as ask.

use base::Error;

use crate::reaper::Exit;
use crate::task::Tasks;

impl Tasks {
    /// How a process ended, once it did. Cancel-safe.
    ///
    /// # Errors
    /// `NotFound`, also when the process is deleted without ever having run.
    pub(crate) async fn wait(&self, id: &str, exec_id: &str) -> Result<Exit, Error> {
        let mut waiter = {
            let container = self.get(id)?;
            container.state().proc(exec_id)?.waiter()
        };
        let gone = || Error::not_found(format!("process {id} {exec_id} was deleted before it ran"));
        let exit = *waiter.wait_for(Option::is_some).await.map_err(|_| gone())?;
        exit.ok_or_else(gone)
    }
}
