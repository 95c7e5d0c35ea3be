//! The end of every container, when the pod is shut down over them.

use std::time::Duration;

use base::{Error, ErrorKind, Kinded};

use crate::logger::warning;
use crate::task::decide::Phase;
use crate::task::{Entry, Tasks};

impl Tasks {
    /// Kills and deletes every container, each step for at most `limit`; their ends are recorded and told as always.
    /// What fails is logged. Not cancel-safe.
    pub(crate) async fn end_all(&self, limit: Duration) {
        for entry in self.containers().values() {
            if let Entry::Creating(cancel) = entry {
                cancel.cancel();
            }
        }
        if tokio::time::timeout(limit, self.none_in_the_making()).await.is_err() {
            warning!("the runtime still makes a container");
        }
        let ids = self.ids();
        for id in &ids {
            if let Err(e) = self.kill(id, "", 9, true).await
                && e.kind() != ErrorKind::NotFound
            {
                warning!("kill {id}: {}", base::chain(&e));
            }
        }
        for id in &ids {
            if let Err(e) = self.end_one(id, limit).await
                && e.kind() != ErrorKind::NotFound
            {
                warning!("end {id}: {}", base::chain(&e));
            }
        }
    }

    async fn end_one(&self, id: &str, limit: Duration) -> Result<(), Error> {
        let container = self.get(id)?;
        let stopped = container.until(|s| (s.init.phase == Phase::Stopped || s.deleted).then_some(()));
        // Nobody reads what is left of its output: the client is the one who wants the end.
        let _ = tokio::time::timeout(limit, stopped).await;
        self.delete(id, "").await.map(|_| ())
    }
}
