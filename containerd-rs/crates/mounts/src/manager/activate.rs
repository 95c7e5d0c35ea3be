//! Activation.

use base::{ErrorKind, Mount, Scope};

use super::{Manager, Number, log_undone};
use crate::activation::{ActivateOptions, Activation, Time};
use crate::error::{Error, Result, blocking, carried_through};
use crate::perform::{Performed, perform, undo};
use crate::plan::{Plan, plan};
use crate::records::Row;

impl Manager {
    /// Activates `mounts` as `name`, under the lease of `scope` if it has one.
    ///
    /// # Errors
    /// Unimplemented when nothing in the mounts needs the manager: the caller mounts them as they are. Already exists when the name
    /// is active.
    pub async fn activate(
        &self,
        scope: &Scope,
        name: &str,
        mounts: &[Mount],
        options: ActivateOptions,
    ) -> Result<Activation> {
        if name.is_empty() {
            return Err(Error::invalid("mount name must not be empty"));
        }
        base::labels::validate_labels(&options.labels).map_err(|e| Error::invalid(e.to_string()))?;
        let Some(plan) = self.plan(mounts, options.temporary, &options.allow) else {
            return Err(Error::unimplemented("no mount needs to be activated"));
        };
        let (manager, scope) = (self.clone(), scope.clone());
        let (name, mounts) = (name.to_owned(), mounts.to_vec());
        carried_through(async move { manager.activate_planned(&scope, &name, mounts, options, plan).await })
            .await
    }

    /// Whether an activation of these mounts would have anything to do for a caller who takes the types in `allow` as they are.
    pub fn is_needed(&self, mounts: &[Mount], allow: &[String]) -> bool {
        self.plan(mounts, false, allow).is_some()
    }

    pub(super) fn plan(&self, mounts: &[Mount], temporary: bool, allow: &[String]) -> Option<Plan> {
        plan(mounts, temporary, allow, |fstype| self.shared.handlers.has(fstype))
    }

    async fn activate_planned(
        &self,
        scope: &Scope,
        name: &str,
        mounts: Vec<Mount>,
        options: ActivateOptions,
        plan: Plan,
    ) -> Result<Activation> {
        let shared = &self.shared;
        let namespace = scope.namespace.as_str();
        let _turn = shared.turn(&scope.namespace, name).await?;
        if shared.records.get(namespace, name)?.is_some() {
            return Err(Error::refused(ErrorKind::AlreadyExists, format!("mount {name:?}")));
        }
        // The directory is the intent: whatever is in it when no record names it is undone.
        let number = shared.number();
        let Performed { active, system } = self.perform(&number, plan, mounts, options.temporary).await?;
        let row = Row {
            id: number.id,
            created: Time::now(),
            lease: scope.lease.as_ref().map(|l| l.as_str().to_owned()),
            labels: options.labels,
            active,
            system,
        };
        if let Err(e) = shared.records.put(namespace, name, row.clone()).await {
            self.undo(&number).await;
            return Err(e);
        }
        drop(number);
        Ok(row.activation(name))
    }

    /// Carries out a plan in the directory of `number`; nothing of it stays after a failure.
    pub(super) async fn perform(
        &self,
        number: &Number,
        plan: Plan,
        mounts: Vec<Mount>,
        temporary: bool,
    ) -> Result<Performed> {
        let (shared, directory) = (self.shared.clone(), number.directory());
        let performed =
            blocking(move || perform(&plan, &mounts, temporary, &directory, &shared.roots, shared.handlers))
                .await;
        if performed.is_err() {
            self.undo(number).await;
        }
        performed
    }

    async fn undo(&self, number: &Number) {
        let (handlers, directory) = (self.shared.handlers, number.directory());
        let shown = directory.clone();
        if let Err(e) = blocking(move || undo(&directory, handlers)).await {
            log_undone(&shown, &e);
        }
    }
}
