//! `oci spec`.

use crate::cli::Global;
use crate::error::Result;
use crate::io::output;
use crate::spec::defaults;

/// Prints the spec that containers begin with. No container has an id yet, so the cgroup path is the namespace's.
pub fn run(global: &Global) -> Result<()> {
    let mut spec = defaults::spec(&global.namespace, "", defaults::has_cgroup2());
    spec.linux().cgroups_path = format!("/{}", global.namespace);
    output::json(&spec)
}
