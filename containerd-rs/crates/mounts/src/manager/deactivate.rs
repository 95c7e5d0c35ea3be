//! Deactivation.

use base::{ErrorKind, Namespace};

use super::Manager;
use crate::error::{Error, Result, blocking, carried_through};
use crate::perform::undo;

impl Manager {
    /// Unmounts what was activated as `name`, the last mount first. The name is free even when that fails; what stays mounted then is
    /// tried again by each garbage collection.
    pub async fn deactivate(&self, namespace: &Namespace, name: &str) -> Result<()> {
        let (manager, namespace, name) = (self.clone(), namespace.clone(), name.to_owned());
        carried_through(async move {
            let _turn = manager.shared.turn(&namespace, &name).await?;
            let missing = || Error::refused(ErrorKind::NotFound, format!("missing mount {name:?} bucket"));
            // Most tasks have nothing activated: that must not cost a write.
            if manager.shared.records.get(namespace.as_str(), &name)?.is_none() {
                return Err(missing());
            }
            let removed = manager.shared.records.remove(namespace.as_str(), &name, None).await?;
            let id = removed.ok_or_else(missing)?.id;
            let (handlers, directory) = (manager.shared.handlers, manager.shared.directory(id));
            blocking(move || undo(&directory, handlers)).await
        })
        .await
    }
}
