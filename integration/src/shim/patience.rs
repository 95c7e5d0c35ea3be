//! Waiting with a bound, and looking at processes and refusals.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use ttrpc::context;

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Polls until `probe` gives something, for at most [`PATIENCE`]; then panics with `what`.
pub async fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < until, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A deadline of [`PATIENCE`] for a call.
pub fn forever() -> context::Context {
    context::with_timeout(i64::try_from(PATIENCE.as_nanos()).unwrap_or(i64::MAX))
}

/// Code and message of a refusal. Panics when there was none, or when the connection broke instead.
pub fn refusal<T: std::fmt::Debug>(answer: ttrpc::Result<T>) -> (ttrpc::Code, String) {
    match answer {
        Err(ttrpc::Error::RpcStatus(status)) => (status.code(), status.message),
        other => panic!("no refusal: {other:?}"),
    }
}

/// Reads a fifo to its end in a thread.
pub fn collect(path: &Path) -> std::thread::JoinHandle<Vec<u8>> {
    let path = path.to_owned();
    std::thread::spawn(move || {
        let mut all = Vec::new();
        if let Err(e) = File::open(&path).and_then(|mut file| file.read_to_end(&mut all)) {
            panic!("read {}: {e}", path.display());
        }
        all
    })
}

/// Sends a signal. Panics when the process is gone.
pub fn signal(pid: u32, signal: i32) {
    if let Err(e) = sys::pidfd::Pidfd::open(pid).and_then(|p| p.send_signal(signal)) {
        panic!("signal {signal} to {pid}: {e}");
    }
}

/// Whether a process is there and is no zombie. One whose first thread is dead lives on in the others, and holds its files.
pub fn is_alive(pid: u32) -> bool {
    sys::process::proc_stat(pid).is_ok_and(|s| !s.is_zombie() || s.threads > 1)
}
