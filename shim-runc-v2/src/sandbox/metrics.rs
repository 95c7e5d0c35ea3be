//! SandboxMetrics: what the pod uses, as its cgroup counts it.

use base::Error;
use sys::cgroup::Stats;

use crate::cgroup::{self, Cgroup};
use crate::sandbox::Sandbox;
use crate::sandbox::decide::{Ask, absent};

impl Sandbox {
    /// The statistics of the pod's cgroup where CRI named it (its containers' groups are in there); else of the
    /// sandbox's own process.
    ///
    /// # Errors
    /// `NotFound`, `FailedPrecondition` when it does not run.
    pub(crate) fn metrics(&self, id: &str) -> Result<Stats, Error> {
        let (pod, pid) = self.look(id, Ask::Metrics, |state| (state.pod.clone(), state.pid))?;
        let pod = pod.ok_or_else(|| absent(id))?;
        let named = cgroup::existing(&pod.plan.pod_cgroup).or_else(|| cgroup::existing(&pod.plan.cgroup));
        match named {
            Some(group) => group.stats().map_err(|e| Error::unknown("read cgroup statistics").with_source(e)),
            None => Cgroup::of(pid).ok_or_else(|| Error::not_found("cgroup does not exist"))?.stats(),
        }
    }
}
