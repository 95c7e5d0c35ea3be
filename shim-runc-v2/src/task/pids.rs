//! Pids: the processes of a container, and which of them are execs.

use std::collections::HashMap;

use base::Error;

use crate::task::Tasks;

/// A process, and the exec it is, if it is one.
pub(crate) type Member = (u32, Option<String>);

impl Tasks {
    /// Every process of a container, as the runtime lists them.
    ///
    /// # Errors
    /// `NotFound`, the runtime's own words.
    pub(crate) async fn pids(&self, id: &str) -> Result<Vec<Member>, Error> {
        let container = self.get(id)?;
        let pids = container.runc.ps(self.reaper(), &container.id).await?;
        let mut execs: HashMap<u32, String> = {
            let state = container.state();
            state.execs.iter().filter(|(_, p)| p.alive).map(|(id, p)| (p.pid, id.clone())).collect()
        };
        Ok(pids.into_iter().map(|pid| (pid, execs.remove(&pid))).collect())
    }
}
