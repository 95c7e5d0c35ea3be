//! `delete`: cleans up after a shim that died, and says how its container ended.
//!
//! The daemon waits five seconds for it. Nothing here trusts a pid: after the shim's death others may have it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use base::Error;
use protobuf::Message;
use protos::shim::task_v3::DeleteResponse;

use crate::bundle::{self, Trace};
use crate::cgroup;
use crate::flags::Flags;
use crate::logger::{self, warning};
use crate::reaper::Reaper;
use crate::rpc::convert::timestamp;
use crate::runc::Runc;
use crate::sandbox;
use crate::serve::signals::Signals;
use crate::socket;
use crate::spec::Spec;
use crate::task::{launch, record};

/// Time for the runtime to delete the container.
const RUNTIME: Duration = Duration::from_secs(3);
/// Time for what it left to die.
const LEFTOVERS: Duration = Duration::from_secs(1);

/// Runs the verb and prints a `DeleteResponse`.
///
/// # Errors
/// The bundle cannot be found. What cannot be cleaned is warned about.
pub(crate) fn main(flags: &Flags) -> Result<(), Error> {
    logger::to_stderr(flags.debug);
    base::ContainerId::new(&flags.id).map_err(|e| Error::wrap("id", e))?;
    let bundle = bundle_of(flags)?;
    let trace = bundle::read_trace(&bundle);
    // Before anything is killed: what is recorded is how it ended by itself.
    let recorded = record::read(&bundle, "");
    // The runtime knows nothing of a sandbox: that was this shim's own.
    if !bundle.join(sandbox::FILE).exists() {
        run_delete(flags, &bundle)?;
    }
    kill_leftovers(trace.as_ref(), &bundle, &flags.id);
    let rootfs = bundle.join("rootfs");
    if let Err(e) = sys::mount::unmount_recursive(&rootfs, sys::mount::UnmountFlags::empty()) {
        warning!("failed to cleanup rootfs mount: {}", base::chain(&e));
    }
    remove_dead_socket(flags, &bundle);
    let response = response(&bundle, trace.as_ref(), recorded);
    let bytes = response.write_to_bytes().map_err(|e| Error::internal("encode response").with_source(e))?;
    std::io::stdout().write_all(&bytes).map_err(|e| Error::unknown("print response").with_source(e))
}

/// `-bundle`, or the sibling of the working directory that has the container's name.
fn bundle_of(flags: &Flags) -> Result<PathBuf, Error> {
    if !flags.bundle.is_empty() {
        return Ok(PathBuf::from(&flags.bundle));
    }
    let here = std::env::current_dir().map_err(|e| Error::unknown("find bundle").with_source(e))?;
    Ok(here.parent().unwrap_or(Path::new("/")).join(&flags.id))
}

fn run_delete(flags: &Flags, bundle: &Path) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(|e| Error::internal("build event loop").with_source(e))?;
    runtime.block_on(async {
        let reaper = Reaper::default();
        tokio::spawn(Signals::take()?.run(reaper.clone(), |_| {}));
        let runc = Runc::new(&bundle::read_options(bundle), &flags.namespace, bundle);
        if let Err(failed) = runc.delete(&reaper, &flags.id, true, RUNTIME).await
            && !failed.says_gone()
        {
            warning!("failed to remove runc container: {}", failed.words());
        }
        Ok(())
    })
}

/// Kills the init, if it is still the one that we knew, and whatever is in cgroups that were the container's alone. A shim
/// that died while the runtime was making the container has left no trace of them: then the spec tells their name.
fn kill_leftovers(trace: Option<&Trace>, bundle: &Path, id: &str) {
    let Some(trace) = trace else {
        if let Some(group) = Spec::read(bundle).ok().as_ref().and_then(|spec| spec.own_cgroup(id)) {
            cgroup::kill_and_remove(cgroup::named(group), Instant::now() + LEFTOVERS);
        }
        return;
    };
    if trace.start_time > 0
        && let Ok(init) = sys::pidfd::Pidfd::open_started_at(trace.pid, trace.start_time)
    {
        let _ = init.send_signal(9);
        let _ = init.wait_exited(LEFTOVERS);
    }
    cgroup::kill_and_remove(trace.cgroups.clone(), Instant::now() + LEFTOVERS);
}

/// The socket file of a shim that nobody will start again under that name. One that is alive serves others of the group.
fn remove_dead_socket(flags: &Flags, bundle: &Path) {
    let Ok(spec) = Spec::read(bundle) else { return };
    let dir =
        std::fs::read_link(bundle.join("s")).unwrap_or_else(|_| PathBuf::from(crate::bootstrap::SOCKET_DIR));
    let path = socket::path(&dir.to_string_lossy(), &flags.address, &flags.namespace, spec.group(&flags.id));
    socket::remove_dead(&path);
}

fn response(bundle: &Path, trace: Option<&Trace>, recorded: Option<record::Record>) -> DeleteResponse {
    let mut response = DeleteResponse::new();
    match recorded {
        Some(record) => {
            response.pid = record.pid;
            response.exit_status = record.code;
            response.exited_at = Some(timestamp(record.time())).into();
        }
        None => {
            let pid = trace.map(|t| t.pid).or_else(|| launch::read_pid(&bundle.join("init.pid")).ok());
            response.pid = pid.unwrap_or(0);
            response.exit_status = 128 + 9;
            response.exited_at = Some(timestamp(SystemTime::now())).into();
        }
    }
    response
}
