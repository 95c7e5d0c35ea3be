//! Every key that is understood, with its default, in the order in which it is printed.

use toml::{Table, Value};

pub(crate) const CRI: &str = "io.containerd.grpc.v1.cri";
pub(crate) const CRI_IMAGES: &str = "io.containerd.cri.v1.images";
pub(crate) const CRI_RUNTIME: &str = "io.containerd.cri.v1.runtime";
pub(crate) const DEBUG: &str = "io.containerd.server.v1.debug";
pub(crate) const GRPC: &str = "io.containerd.server.v1.grpc";
pub(crate) const GRPC_TCP: &str = "io.containerd.server.v1.grpc-tcp";
pub(crate) const GRPC_PROMETHEUS: &str = "io.containerd.metrics.v1.grpc-prometheus";
pub(crate) const METRICS: &str = "io.containerd.server.v1.metrics";
pub(crate) const RESTART: &str = "io.containerd.monitor.container.v1.restart";
pub(crate) const SHIM_MANAGER: &str = "io.containerd.shim.v1.manager";
pub(crate) const TTRPC: &str = "io.containerd.server.v1.ttrpc";

/// The defaults of the top level and of every plugin that this daemon has, in TOML.
const DEFAULTS: &str = include_str!("defaults.toml");

/// Plugin tables of containerd that are read without a warning although their plugin is not part of this build: a
/// configuration that was written for containerd starts here unchanged, and the plugin list shows what is missing.
const FOREIGN: &[&str] = &[
    CRI,
    CRI_IMAGES,
    CRI_RUNTIME,
    GRPC_TCP,
    "io.containerd.internal.v1.opt",
    "io.containerd.internal.v1.tracing",
    "io.containerd.monitor.task.v1.cgroups",
    "io.containerd.nri.v1.nri",
    "io.containerd.runtime.v1.linux",
    "io.containerd.service.v1.tasks-service",
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.tracing.processor.v1.otlp",
];

/// Tables whose entries are the operator's own names.
const OPEN: &[&[&str]] = &[&["timeouts"], &["stream_processors"], &["proxy_plugins"]];

/// Keys of version 3 and older, beside those that version 4 still has.
const OLDER: &[(&str, &[&str])] = &[
    (
        "grpc",
        &[
            "address",
            "tcp_address",
            "tcp_tls_ca",
            "tcp_tls_cert",
            "tcp_tls_key",
            "tcp_tls_common_name",
            "uid",
            "gid",
            "max_recv_message_size",
            "max_send_message_size",
        ],
    ),
    ("ttrpc", &["address", "uid", "gid"]),
    ("metrics", &["address", "grpc_histogram"]),
    ("debug", &["address", "uid", "gid"]),
];

/// Keys that are read so that files of containerd work, and that change nothing here yet.
const INERT: &[&[&str]] = &[
    &["debug", "log_trace_id"],
    &["grpc", "tcp_address"],
    &["metrics", "grpc_histogram"],
    &["plugins", GRPC_TCP],
    &["plugins", GRPC_PROMETHEUS, "grpc_histogram"],
];

/// Does the key at `path` change nothing in this build?
pub(crate) fn is_inert(path: &[String]) -> bool {
    INERT.iter().any(|inert| inert.len() == path.len() && inert.iter().zip(path).all(|(a, b)| a == b))
}

/// What the schema says of a key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Known {
    Yes,
    /// Known, and nothing below it is checked here.
    Anything,
    No {
        nearest: Option<String>,
    },
}

/// The defaults as one table of version 4.
pub(crate) fn defaults() -> Table {
    // The text is part of the program and parsed in a test: an error here cannot happen in a build that passed it.
    toml::from_str(DEFAULTS).unwrap_or_default()
}

/// Is the key at `path`, in a file of `version`, one that means something?
pub(crate) fn lookup(path: &[String], version: i64) -> Known {
    let parts: Vec<&str> = path.iter().map(String::as_str).collect();
    if OPEN.iter().any(|o| parts.len() > o.len() && parts.starts_with(o)) {
        return Known::Anything;
    }
    if parts.first() == Some(&"plugins") && parts.len() > 1 {
        let id = parts[1];
        // Older files name plugins in older ways; what is behind those names is checked by the plugin itself.
        let known = defaults().get("plugins").is_some_and(|p| p.get(id).is_some());
        if FOREIGN.contains(&id) || version < 3 && !known {
            return Known::Anything;
        }
    }
    if version < VERSION_WITH_SERVER_PLUGINS
        && let Some((_, keys)) = OLDER.iter().find(|(section, _)| parts.first() == Some(section))
        && (parts.len() == 1 || parts.len() == 2 && keys.contains(&parts[1]))
    {
        return Known::Yes;
    }
    let mut table = &Value::Table(defaults());
    for part in &parts {
        let Some(next) = table.get(part) else {
            let siblings = table.as_table().map(|t| t.keys().cloned().collect()).unwrap_or_default();
            return Known::No { nearest: nearest(part, siblings) };
        };
        table = next;
    }
    Known::Yes
}

const VERSION_WITH_SERVER_PLUGINS: i64 = 4;

fn nearest(key: &str, candidates: Vec<String>) -> Option<String> {
    let limit = (key.len() / 3).max(2);
    let scored = candidates.into_iter().map(|c| (distance(key, &c), c));
    scored.filter(|(d, _)| *d <= limit).min().map(|(_, c)| c)
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let cost = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
