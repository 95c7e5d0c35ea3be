//! `start`: finds or starts the shim for a container, and prints where it listens.
//!
//! No event loop, no thread, and nothing printed but the address: the daemon reads standard output and
//! error as one.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use base::Error;

use crate::bootstrap::{self, Dialect, MAX_STDIN, Params};
use crate::cgroup;
use crate::flags::Flags;
use crate::socket::{self, Bound};
use crate::spec::{self, Spec};

/// Runs the verb in the bundle, which is the working directory.
///
/// # Errors
/// What keeps a shim from being started; the caller prints it.
pub(crate) fn main(flags: &Flags) -> Result<(), Error> {
    base::Namespace::new(&flags.namespace).map_err(|e| Error::wrap("namespace", e))?;
    base::ContainerId::new(&flags.id).map_err(|e| Error::wrap("id", e))?;
    let mut stdin = Vec::new();
    std::io::stdin()
        .take(MAX_STDIN)
        .read_to_end(&mut stdin)
        .map_err(|e| Error::unknown("failed to read stdin").with_source(e))?;
    let params = bootstrap::read(&stdin, flags, std::env::var("MAX_SHIM_VERSION").ok().as_deref())?;
    // Of a sandbox nothing need be specified.
    let spec: Spec = spec::read_config(Path::new("."))?.unwrap_or_default();
    let path =
        socket::path(&params.socket_dir, &params.grpc_address, &flags.namespace, spec.group(&flags.id));
    let address = format!("unix://{}", path.display());
    if params.socket_dir_given {
        note_socket_dir(&params.socket_dir)?;
    }
    if let Bound::New(listener) = socket::bind(&path)?
        && let Err(e) = spawn(flags, &params, listener)
    {
        let _ = std::fs::remove_file(&path);
        return Err(e);
    }
    if params.dialect != Dialect::Protobuf {
        // These daemons find a shim again through this file.
        note_address(&address).map_err(|e| Error::unknown("write address").with_source(e))?;
    }
    std::io::stdout()
        .write_all(&bootstrap::answer(params.dialect, &address)?)
        .map_err(|e| Error::unknown("print address").with_source(e))
}

/// Whole or not at all for who reads it; not durable, for a shim does not survive what would need that.
fn note_address(address: &str) -> std::io::Result<()> {
    std::fs::write(".address", address)?;
    std::fs::rename(".address", "address")
}

/// The link `s` in the bundle tells whoever cleans up where the socket is.
fn note_socket_dir(dir: &str) -> Result<(), Error> {
    let _ = std::fs::remove_file("s");
    std::os::unix::fs::symlink(dir, "s")
        .map_err(|e| Error::unknown("failed to write socket-dir").with_source(e))
}

fn spawn(flags: &Flags, params: &Params, listener: UnixListener) -> Result<(), Error> {
    let failed = |what: &'static str| move |e: sys::Error| Error::unknown(what).with_source(e);
    // What the daemon left open is none of the shim's business.
    sys::process::set_close_on_exec_above(3).map_err(failed("close inherited descriptors"))?;
    // The kernel should take a container's shim before the daemon. Set here, it is inherited.
    let parent = std::os::unix::process::parent_id();
    let score = sys::process::oom_score_adj(Some(parent))
        .or_else(|_| sys::process::oom_score_adj(None))
        .map_err(failed("get parent OOM score"))?;
    sys::process::set_oom_score_adj(None, score.saturating_add(1).min(1000))
        .map_err(failed("failed to adjust OOM score for shim"))?;
    if std::env::var_os("SCHED_CORE").is_some_and(|v| !v.is_empty()) {
        sys::process::core_sched_create().map_err(failed("enable sched core support"))?;
    }
    // By its own name, so that process lists show it; by the link when the file was replaced meanwhile.
    let exe = std::env::current_exe().ok().filter(|p| p.exists()).unwrap_or_else(|| "/proc/self/exe".into());
    let mut command = Command::new(exe);
    command
        .arg0(std::env::args_os().next().unwrap_or_else(|| "containerd-shim-runc-v2".into()))
        .args(["-namespace", &flags.namespace, "-id", &flags.id, "-address", &params.grpc_address])
        .args(params.debug.then_some("-debug"))
        .env("GOMAXPROCS", "4") // for the runtime, which inherits it
        .stdin(Stdio::from(OwnedFd::from(listener)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0);
    if !params.ttrpc_address.is_empty() {
        command.env("TTRPC_ADDRESS", &params.ttrpc_address);
    }
    let mut child = command.spawn().map_err(|e| Error::unknown("start shim").with_source(e))?;
    let group = params.options.as_ref().map_or("", |o| o.shim_cgroup.as_str());
    if !group.is_empty()
        && let Err(e) = cgroup::join(group, child.id())
    {
        let _ = child.kill();
        return Err(e);
    }
    Ok(())
}
