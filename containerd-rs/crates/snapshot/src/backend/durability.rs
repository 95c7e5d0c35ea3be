//! What a power cut does to committed snapshots.
//!
//! Waiting at every commit until all files of a layer are on disk would cost more than unpacking it.
//! So a commit only notes, in the write that it makes anyway, that the files may not be on disk, and
//! in which boot. Much later, when the kernel has written nearly all of them by itself, one `syncfs`
//! settles the rest and the notes go. After a boot, a snapshot that still has the note of an earlier
//! one may have empty files: it is dropped, and the next pull unpacks it again. One that others stand
//! on, a container's writable one say, is kept and named in the log.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use store::kv::{Read, Tx};

use super::records::{UNSYNCED, remove_leaf, rows};
use super::{Backend, Shared};
use crate::error::{Error, Result, blocking};
use crate::info::Kind;

/// The kernel writes what is older than 30 s by itself; after that little is left to wait for.
const SETTLE_AFTER: Duration = Duration::from_secs(40);

type Notes = Vec<(Vec<u8>, Vec<u8>)>;

impl Backend {
    /// Removes the records of committed snapshots whose files an earlier boot may not have written.
    pub(super) async fn drop_what_a_crash_may_have_cut(&self) -> Result<()> {
        let boot = self.shared.boot.as_bytes().to_vec();
        if notes(&*self.shared.records.kv.view()?)?.iter().all(|(_, noted)| *noted == boot) {
            return Ok(());
        }
        let root = self.shared.root.clone();
        self.shared
            .records
            .kv
            .write(move |tx: &mut Tx<'_>| {
                let stale: Notes = notes(tx)?.into_iter().filter(|(_, noted)| *noted != boot).collect();
                let mut doubtful: Vec<_> = rows(tx)?
                    .into_iter()
                    .filter(|(_, row)| row.kind == Kind::Committed)
                    .filter(|(_, row)| stale.iter().any(|(id, _)| *id == row.id.to_be_bytes()))
                    .collect();
                // Each round takes the ones on top.
                loop {
                    let before = doubtful.len();
                    let mut kept = Vec::new();
                    for (key, row) in doubtful {
                        if remove_leaf(tx, &key, &row)? {
                            tracing::warn!(root = %root.display(), key, "dropped: not all of it was on disk when the machine stopped");
                        } else {
                            kept.push((key, row));
                        }
                    }
                    doubtful = kept;
                    if doubtful.len() == before {
                        break;
                    }
                }
                for (key, _) in &doubtful {
                    tracing::error!(root = %root.display(), key, "kept, as others stand on it, but files in it may be cut");
                }
                for (id, _) in &stale {
                    tx.delete(UNSYNCED, id)?;
                }
                Ok::<_, Error>(())
            })
            .await
    }

    /// Brings committed snapshots to disk some time later. One such task runs at most; it ends with
    /// the backend.
    pub(super) fn settle_later(&self) {
        if !self.shared.takes_settling() {
            return;
        }
        let weak = Arc::downgrade(&self.shared);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(SETTLE_AFTER).await;
                let Some(shared) = weak.upgrade() else { return };
                match settle(&shared).await {
                    Ok(()) => {
                        shared.settling.store(false, Ordering::Release);
                        // A commit may have come just before, and have left it to us.
                        if !shared.takes_settling() {
                            return;
                        }
                    }
                    Err(e) => {
                        let error = base::chain(&e);
                        tracing::warn!(root = %shared.root.display(), error, "snapshots are not settled on disk yet");
                    }
                }
            }
        });
    }
}

impl Shared {
    /// Whether there is something to settle and nobody else does it.
    fn takes_settling(&self) -> bool {
        let unsettled = self.records.kv.view().and_then(|view| view.any(UNSYNCED, b""));
        unsettled.unwrap_or(true) && !self.settling.swap(true, Ordering::AcqRel)
    }
}

/// Settles what is there now.
async fn settle(shared: &Arc<Shared>) -> Result<()> {
    let settled = notes(&*shared.records.kv.view()?)?;
    let root = shared.root.clone();
    blocking(move || Ok(sys::fs::syncfs(&root)?)).await?;
    shared
        .records
        .kv
        .write_relaxed(move |tx: &mut Tx<'_>| {
            for (id, _) in &settled {
                tx.delete(UNSYNCED, id)?;
            }
            Ok::<_, Error>(())
        })
        .await
}

fn notes(read: &dyn Read) -> Result<Notes> {
    let mut out = Vec::new();
    read.scan(UNSYNCED, b"", &mut |id, boot| {
        out.push((id.to_vec(), boot.to_vec()));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use std::path::Path;

    use base::Labels;
    use base::filter::FilterSet;

    use super::*;
    use crate::backend::{Chain, Fill, make_dir};
    use crate::info::CommitOptions;

    struct Empty;
    impl Fill for Empty {
        fn fill(&self, directory: &Path, _: &Chain, _: &Labels) -> Result<()> {
            make_dir(directory, 0o700)
        }
    }

    async fn commit(backend: &Backend, name: &str, parent: &str) {
        backend.create(Kind::Active, "active", parent, Labels::new(), Empty).await.unwrap();
        backend.commit(name, "active", CommitOptions::default(), "").await.unwrap();
    }

    fn names(backend: &Backend) -> Vec<String> {
        backend.walk(&FilterSet::all()).unwrap().into_iter().map(|(info, _)| info.name).collect()
    }

    #[tokio::test]
    async fn what_was_not_settled_is_dropped_by_the_next_boot_only() {
        let root = tempfile::tempdir().unwrap();
        let open = |boot: &str| Backend::open_in_boot(root.path(), boot.to_owned());
        {
            let backend = open("one").await.unwrap();
            commit(&backend, "settled", "").await;
            settle(&backend.shared).await.unwrap();
            commit(&backend, "a", "settled").await;
            commit(&backend, "b", "a").await;
            commit(&backend, "used", "settled").await;
            backend.create(Kind::Active, "container", "used", Labels::new(), Empty).await.unwrap();
        }
        // The daemon alone was restarted.
        assert_eq!(names(&open("one").await.unwrap()), ["a", "b", "container", "settled", "used"]);
        {
            let backend = open("two").await.unwrap();
            assert_eq!(names(&backend), ["container", "settled", "used"]);
            backend.cleanup().await.unwrap();
            assert_eq!(std::fs::read_dir(root.path().join("snapshots")).unwrap().count(), 3);
            commit(&backend, "a", "settled").await;
        }
        assert_eq!(names(&open("two").await.unwrap()), ["a", "container", "settled", "used"]);
    }
}
