//! Commit, and the finishing of commits that a crash interrupted.

use base::{ErrorKind, Kinded, Scope};
use store::PendingCommit;

use super::{Snapshots, named, passed_down};
use crate::error::{Error, Result, carried_through};
use crate::info::CommitOptions;

impl Snapshots {
    /// Makes the active snapshot `key` the committed snapshot `name`.
    pub async fn commit(&self, scope: &Scope, name: &str, key: &str, options: CommitOptions) -> Result<()> {
        named(name)?;
        let (this, scope) = (self.clone(), scope.clone());
        let (name, key) = (name.to_owned(), key.to_owned());
        carried_through(async move {
            let CommitOptions { labels, parent } = options;
            this.check_parent(&scope, &key, &parent)?;
            let pending = this.records.begin_commit(&scope, &name, &key, &parent, labels).await?;
            let below = CommitOptions {
                labels: passed_down(&pending.labels),
                parent: if pending.rebase { pending.backend_parent.clone() } else { String::new() },
            };
            match this.backend.commit(&pending.backend_name, &pending.backend_key, below).await {
                Ok(()) => {
                    this.records.finish_commit(&pending).await?;
                    Ok(())
                }
                Err(e) => {
                    // A backend may fail after the fact: it has the last word.
                    if let Err(e) = this.settle(&pending).await {
                        tracing::error!(snapshotter = %this.name, key, error = %base::chain(&e), "commit stays undecided until the next start");
                    }
                    Err(e)
                }
            }
        })
        .await
    }

    /// A snapshot that has a parent keeps it.
    fn check_parent(&self, scope: &Scope, key: &str, onto: &str) -> Result<()> {
        if onto.is_empty() {
            return Ok(());
        }
        let has = self.records.get(&scope.namespace, key)?.parent;
        if has.is_empty() || has == onto {
            return Ok(());
        }
        Err(Error::invalid(format!("cannot change parent of active snapshot {key:?} on commit")))
    }

    /// Finishes or cancels the commits that a crash interrupted. Call it before the first request.
    pub async fn recover(&self) -> Result<()> {
        for pending in self.records.pending_commits()? {
            tracing::info!(snapshotter = %self.name, name = pending.name, "settling an interrupted commit");
            self.settle(&pending).await?;
        }
        Ok(())
    }

    async fn settle(&self, pending: &PendingCommit) -> Result<()> {
        match self.backend.stat(&pending.backend_name).await {
            Ok(_) => {
                self.records.finish_commit(pending).await?;
            }
            Err(e) if e.kind() == ErrorKind::NotFound => self.records.cancel_commit(pending).await?,
            Err(e) => return Err(e),
        }
        Ok(())
    }
}
