//! What no record names, and records of what is no more.

use std::collections::HashSet;
use std::path::Path;

use super::{Manager, log_undone};
use crate::error::{Error, Result, blocking, carried_through};
use crate::perform::undo;

impl Manager {
    /// Undoes every directory that no record names and no call is about.
    pub(crate) async fn clean(&self) -> Result<()> {
        let manager = self.clone();
        carried_through(async move { blocking(move || manager.clean_now()).await }).await
    }

    /// The order matters: what is there, then what is under way, then what is recorded.
    fn clean_now(&self) -> Result<()> {
        let shared = &self.shared;
        let there = numbers(&shared.targets)?;
        let under_way = shared.under_way();
        let recorded: HashSet<u64> = shared.records.list("")?.into_iter().map(|r| r.row.id).collect();
        for id in there.into_iter().filter(|id| !under_way.contains(id) && !recorded.contains(id)) {
            let directory = shared.directory(id);
            // One that is busy must not keep the others.
            if let Err(e) = undo(&directory, shared.handlers) {
                log_undone(&directory, &e);
            }
        }
        Ok(())
    }

    /// Removes the records of activations that are not mounted any more, as after a reboot.
    pub(super) async fn forget_unmounted(&self) -> Result<()> {
        let manager = self.clone();
        let gone = blocking(move || {
            let records = manager.shared.records.list("")?;
            let handlers = manager.shared.handlers;
            let is_whole = |r: &crate::records::Record| {
                r.row
                    .active
                    .iter()
                    .all(|a| handlers.of(&a.mount.fstype).is_mounted(Path::new(&a.mount_point)))
            };
            Ok(records.into_iter().filter(|r| !is_whole(r)).collect::<Vec<_>>())
        })
        .await?;
        for record in gone {
            tracing::info!(namespace = record.namespace, name = record.name, "mount is no more");
            self.shared.records.remove(&record.namespace, &record.name, Some(record.row.id)).await?;
        }
        Ok(())
    }
}

/// The numbers of the directories in `targets`.
pub(super) fn numbers(targets: &Path) -> Result<Vec<u64>> {
    let failed = |e| Error::io("list", targets, e);
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(targets).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        numbers.extend(name.to_str().and_then(|n| n.parse::<u64>().ok()));
    }
    Ok(numbers)
}
