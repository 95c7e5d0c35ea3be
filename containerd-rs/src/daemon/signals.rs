//! Signals: caught from the first moment, so that a stop asked for during start-up is obeyed at its end.

use std::path::PathBuf;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that the daemon acts on.
pub(super) struct Signals {
    term: Signal,
    int: Signal,
    usr1: Signal,
    pipe: Signal,
}

impl Signals {
    /// Take them over. Call before anything that can take long.
    pub(super) fn install() -> std::io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            usr1: signal(SignalKind::user_defined1())?,
            pipe: signal(SignalKind::pipe())?,
        })
    }

    /// Wait for the first request to stop; state dumps are written meanwhile. Cancel-safe.
    pub(super) async fn stop_requested(&mut self, dump_dir: &std::path::Path) -> &'static str {
        loop {
            tokio::select! {
                _ = self.term.recv() => return "SIGTERM",
                _ = self.int.recv() => return "SIGINT",
                _ = self.usr1.recv() => dump(dump_dir),
                _ = self.pipe.recv() => {}
            }
        }
    }
}

/// Write the state to the log and to `<dir>/containerd.<pid>.stacks.log`.
fn dump(dir: &std::path::Path) {
    let state = super::debug::state();
    for line in state.lines() {
        tracing::info!("state: {line}");
    }
    let path: PathBuf = dir.join(format!("containerd.{}.stacks.log", std::process::id()));
    match sys::fs::write_atomic(&path, state.as_bytes(), 0o600) {
        Ok(()) => tracing::info!(path = %path.display(), "state written"),
        Err(error) => {
            tracing::error!(path = %path.display(), error = base::chain(&error), "cannot write the state")
        }
    }
}
