//! Stats: what a container uses, as its cgroups count it.

use base::Error;
use sys::cgroup::Stats;

use crate::task::Tasks;

impl Tasks {
    /// The statistics of a container's cgroup, of version 1 or 2.
    ///
    /// # Errors
    /// `NotFound`, also when the container has no cgroup.
    pub(crate) fn stats(&self, id: &str) -> Result<Stats, Error> {
        let container = self.get(id)?;
        let cgroup = container.state().cgroup.clone();
        cgroup.ok_or_else(|| Error::not_found("cgroup does not exist"))?.stats()
    }
}
