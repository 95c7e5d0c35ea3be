//! The mounts of a task's root file system that the shim cannot make: activated before there is a shim, as the container's id.

use base::{ErrorKind, Kinded, Scope};
use mounts::ActivateOptions;

use super::launch::Prepared;
use crate::binary;
use crate::entry::Entry;
use crate::error::Error;
use crate::model::CreateTask;
use crate::runtime::Runtime;

/// Types of mounts that a shim takes as they are, comma-separated, in what it says about itself.
const ALLOWED: &str = "containerd.io/runtime-allow-mounts";
/// Keeps the activation for as long as the container is recorded.
const HELD_BY: &str = "containerd.io/gc.bref.container";

/// What the shim says. One that cannot be asked gets everything made for it.
async fn allowed(request: &CreateTask, prepared: &Prepared) -> Vec<String> {
    match binary::info(&prepared.program, request.options.as_ref()).await {
        Ok(info) => {
            let list = info.annotations.get(ALLOWED).map_or("", String::as_str);
            list.split(',').filter(|t| !t.is_empty()).map(str::to_owned).collect()
        }
        Err(e) => {
            let runtime = prepared.program.display();
            tracing::error!(%runtime, error = base::chain(&e), "failed to load runtime info");
            Vec::new()
        }
    }
}

impl Runtime {
    /// Puts the mounts that are left to the shim into `request`. What was activated goes with the bundle.
    pub(super) async fn activate_rootfs(
        &self,
        entry: &Entry,
        request: &mut CreateTask,
        prepared: &Prepared,
    ) -> Result<(), Error> {
        let Some(manager) = &self.shared.options.mounts else { return Ok(()) };
        if !manager.is_needed(&request.rootfs, &[]) {
            return Ok(());
        }
        let bundle = &entry.bundle;
        let allow = allowed(request, prepared).await;
        if !manager.is_needed(&request.rootfs, &allow) {
            return Ok(());
        }
        let labels = [(HELD_BY.to_owned(), bundle.id.clone())].into();
        let options = ActivateOptions { labels, allow, ..ActivateOptions::default() };
        let scope = Scope::new(bundle.namespace.clone());
        let activated = match manager.activate(&scope, &bundle.id, &request.rootfs, options).await {
            // An earlier task of this container left it, or its client made it.
            Err(e) if e.kind() == ErrorKind::AlreadyExists => manager.info(&scope.namespace, &bundle.id),
            other => other,
        };
        request.rootfs = activated.map_err(|source| Error::Rootfs { source: Box::new(source) })?.system;
        Ok(())
    }

    /// Takes back what was activated for a task, if anything was. A failure is logged: garbage collection tries again.
    pub(super) async fn deactivate_rootfs(&self, entry: &Entry) {
        let Some(manager) = &self.shared.options.mounts else { return };
        let bundle = &entry.bundle;
        match manager.deactivate(&bundle.namespace, &bundle.id).await {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                tracing::error!(id = bundle.id, error = base::chain(&e), "failed to deactivate mounts");
            }
            _ => {}
        }
    }
}
