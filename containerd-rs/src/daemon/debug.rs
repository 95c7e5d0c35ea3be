//! The debug endpoint: variables of the process, and what it is doing, over HTTP.

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use serde_json::json;

/// `/debug/vars` and the parts of `/debug/pprof/` that a Rust process can answer.
pub(super) fn router() -> Router {
    Router::new()
        .route("/debug/vars", get(vars))
        .route("/debug/pprof/", get(index))
        .route("/debug/pprof/cmdline", get(cmdline))
        .route("/debug/pprof/threadcreate", get(threads))
        .route("/debug/pprof/{profile}", get(unsupported))
}

async fn vars() -> impl IntoResponse {
    let tokio = tokio::runtime::Handle::current().metrics();
    let vars = json!({
        "cmdline": std::env::args().collect::<Vec<_>>(),
        "memstats": memory(),
        "runtime": { "workers": tokio.num_workers(), "alive_tasks": tokio.num_alive_tasks() },
        "pid": std::process::id(),
        "version": crate::version::VERSION,
    });
    ([(CONTENT_TYPE, "application/json")], vars.to_string())
}

/// Bytes, from `/proc/self/status`.
fn memory() -> serde_json::Value {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = |key: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(key));
        line.and_then(|l| l.trim_matches([':', ' ', '\t']).split(' ').next()?.parse::<u64>().ok())
            .map(|k| k * 1024)
    };
    json!({ "rss": kib("VmRSS"), "peak_rss": kib("VmHWM"), "virtual": kib("VmSize"), "threads": kib("Threads").map(|t| t / 1024) })
}

async fn index() -> &'static str {
    "profiles: cmdline, threadcreate\nprofiles of Go's runtime (heap, goroutine, profile, trace) do not exist in this process: use perf\n"
}

async fn cmdline() -> String {
    std::env::args().collect::<Vec<_>>().join("\0")
}

async fn threads() -> String {
    state()
}

async fn unsupported() -> impl IntoResponse {
    (StatusCode::NOT_IMPLEMENTED, "this profile does not exist in a Rust process: see /debug/pprof/\n")
}

/// The threads with the kernel function each waits in, and the number of live tasks: what SIGUSR1 writes down.
pub(super) fn state() -> String {
    let metrics = tokio::runtime::Handle::try_current().map(|h| h.metrics());
    let mut out = format!("pid {}\n", std::process::id());
    if let Ok(metrics) = metrics {
        out.push_str(&format!("workers {} tasks {}\n", metrics.num_workers(), metrics.num_alive_tasks()));
    }
    for entry in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let read = |name: &str| {
            std::fs::read_to_string(entry.path().join(name)).unwrap_or_default().trim().to_owned()
        };
        let state =
            read("status").lines().find_map(|l| l.strip_prefix("State:").map(|s| s.trim().to_owned()));
        out.push_str(&format!(
            "thread {} {} state {} wchan {}\n",
            entry.file_name().to_string_lossy(),
            read("comm"),
            state.unwrap_or_default(),
            read("wchan")
        ));
    }
    out
}

#[cfg(test)]
mod tests {
    #[tokio::test]
    async fn the_state_names_this_process_and_its_threads() {
        let text = super::state();
        assert!(text.starts_with(&format!("pid {}\n", std::process::id())));
        assert!(text.contains("\nthread "));
    }
}
