//! Older shapes of `config.toml` into version 4. Each step takes a table of version N to N + 1.

use toml::{Table, Value};

use super::schema;

/// Bring `table`, which declares `version`, to the current version.
pub(crate) fn to_current(table: &mut Table, version: i64) {
    if version < 2 {
        long_names(table);
    }
    if version < 3 {
        split_cri(table);
        moved_plugins(table);
    }
    if version < 4 {
        servers_to_plugins(table);
    }
    table.remove("version");
}

/// Set `value` at `path`, making tables on the way.
pub(crate) fn put(table: &mut Table, path: &[&str], value: Value) {
    match path {
        [] => {}
        [key] => {
            table.insert((*key).to_owned(), value);
        }
        [key, rest @ ..] => {
            let next = table.entry((*key).to_owned()).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(next) = next {
                put(next, rest, value);
            }
        }
    }
}

fn section<'t>(table: &'t mut Table, key: &str) -> Option<&'t mut Table> {
    table.get_mut(key).and_then(Value::as_table_mut)
}

/// Versions 0 and 1 name plugins by a short id.
fn long_names(table: &mut Table) {
    if let Some(plugins) = section(table, "plugins") {
        let old = std::mem::take(plugins);
        plugins.extend(old.into_iter().map(|(k, v)| (long_name(&k), v)));
    }
    for list in ["disabled_plugins", "required_plugins"] {
        for item in table.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            if let Value::String(name) = item {
                *name = long_name(name);
            }
        }
    }
}

fn long_name(short: &str) -> String {
    if short.contains('.') {
        return short.to_owned();
    }
    match short {
        "cri" => "io.containerd.grpc.v1.cri",
        "cgroups" => "io.containerd.monitor.v1.cgroups",
        "linux" => "io.containerd.runtime.v1.linux",
        "scheduler" => "io.containerd.gc.v1.scheduler",
        "bolt" => "io.containerd.metadata.v1.bolt",
        "task" => "io.containerd.runtime.v2.task",
        "opt" => "io.containerd.internal.v1.opt",
        "restart" => "io.containerd.internal.v1.restart",
        "tracing" => "io.containerd.internal.v1.tracing",
        "otlp" => "io.containerd.tracing.processor.v1.otlp",
        "aufs" | "btrfs" | "devmapper" | "native" | "overlayfs" | "zfs" => {
            return format!("io.containerd.snapshotter.v1.{short}");
        }
        other if other.ends_with("-service") => return format!("io.containerd.service.v1.{other}"),
        other => return format!("io.containerd.grpc.v1.{other}"),
    }
    .to_owned()
}

/// Version 2 holds all of CRI in one table; version 3 splits it into images and runtime.
fn split_cri(table: &mut Table) {
    let Some(plugins) = section(table, "plugins") else { return };
    let Some(Value::Table(mut cri)) = plugins.remove("io.containerd.grpc.v1.cri") else { return };
    let mut images = Table::new();
    for key in [
        "max_concurrent_downloads",
        "image_pull_progress_timeout",
        "image_pull_with_sync_fs",
        "stats_collect_period",
        "registry",
        "image_decryption",
    ] {
        if let Some(value) = cri.remove(key) {
            images.insert(key.into(), value);
        }
    }
    if let Some(sandbox) = cri.remove("sandbox_image") {
        put(&mut images, &["pinned_images", "sandbox"], sandbox);
    }
    let mut streaming = Table::new();
    for key in [
        "disable_tcp_service",
        "stream_server_address",
        "stream_server_port",
        "stream_idle_timeout",
        "enable_tls_streaming",
        "x509_key_pair_streaming",
    ] {
        if let Some(value) = cri.remove(key) {
            streaming.insert(key.into(), value);
        }
    }
    if let Some(containerd) = section(&mut cri, "containerd") {
        for key in ["snapshotter", "disable_snapshot_annotations", "discard_unpacked_layers"] {
            if let Some(value) = containerd.remove(key) {
                images.insert(key.into(), value);
            }
        }
        let runtimes = containerd.get_mut("runtimes").and_then(Value::as_table_mut);
        for runtime in runtimes.into_iter().flat_map(|t| t.iter_mut()).filter_map(|(_, v)| v.as_table_mut()) {
            if let Some(mode) = runtime.remove("sandbox_mode") {
                runtime.insert("sandboxer".into(), mode);
            }
        }
    }
    if let Some(cni) = section(&mut cri, "cni")
        && let Some(dir) = cni.remove("bin_dir")
    {
        cni.insert("bin_dirs".into(), Value::Array(vec![dir]));
    }
    for (id, part) in [(schema::CRI_IMAGES, images), (schema::CRI_RUNTIME, cri), (schema::CRI, streaming)] {
        if !part.is_empty() {
            plugins.insert(id.into(), Value::Table(part));
        }
    }
}

/// Plugins whose id changed between version 2 and 3.
fn moved_plugins(table: &mut Table) {
    let Some(plugins) = section(table, "plugins") else { return };
    for (old, new) in [
        ("io.containerd.internal.v1.restart", schema::RESTART),
        ("io.containerd.monitor.v1.cgroups", "io.containerd.monitor.task.v1.cgroups"),
    ] {
        if let Some(value) = plugins.remove(old) {
            plugins.entry(new.to_owned()).or_insert(value);
        }
    }
    if let Some(task) = section(plugins, "io.containerd.runtime.v2.task")
        && task.remove("sched_core").and_then(|v| v.as_bool()) == Some(true)
    {
        let env = Value::Array(vec![Value::String("SCHED_CORE=1".into())]);
        put(plugins, &[schema::SHIM_MANAGER, "env"], env);
    }
}

/// Up to version 3 the listeners are top-level tables; version 4 has a plugin for each.
fn servers_to_plugins(table: &mut Table) {
    let grpc = take_table(table, "grpc");
    let ttrpc = take_table(table, "ttrpc");
    let metrics = take_table(table, "metrics");
    let mut debug = Table::new();
    if let Some(section) = section(table, "debug") {
        for key in ["address", "uid", "gid"] {
            if let Some(value) = section.remove(key) {
                debug.insert(key.into(), value);
            }
        }
    }
    let plugins = table.entry("plugins").or_insert_with(|| Value::Table(Table::new()));
    let Value::Table(plugins) = plugins else { return };
    let pick = |from: &Table, keys: &[(&str, &str)]| -> Table {
        keys.iter().filter_map(|(old, new)| Some(((*new).to_owned(), from.get(*old)?.clone()))).collect()
    };
    let sizes = [
        ("max_recv_message_size", "max_recv_message_size"),
        ("max_send_message_size", "max_send_message_size"),
    ];
    let unix = [("address", "address"), ("uid", "uid"), ("gid", "gid")];
    let tcp = [
        ("tcp_address", "address"),
        ("tcp_tls_ca", "tls_ca"),
        ("tcp_tls_cert", "tls_cert"),
        ("tcp_tls_key", "tls_key"),
        ("tcp_tls_common_name", "tls_common_name"),
    ];
    let mut ttrpc_plugin = pick(&ttrpc, &unix);
    if let Some(Value::String(address)) = grpc.get("address").filter(|a| a.as_str() != Some(""))
        && ttrpc_plugin.get("address").and_then(Value::as_str).unwrap_or_default().is_empty()
    {
        ttrpc_plugin.insert("address".into(), Value::String(format!("{address}.ttrpc")));
        for key in ["uid", "gid"] {
            if let Some(value) = grpc.get(key) {
                ttrpc_plugin.entry(key).or_insert(value.clone());
            }
        }
    }
    let tcp_plugin = match grpc.get("tcp_address").and_then(Value::as_str) {
        Some(address) if !address.is_empty() => pick(&grpc, &[&tcp[..], &sizes[..]].concat()),
        _ => Table::new(),
    };
    for (id, part) in [
        (schema::GRPC, pick(&grpc, &[&unix[..], &sizes[..]].concat())),
        (schema::GRPC_TCP, tcp_plugin),
        (schema::TTRPC, ttrpc_plugin),
        (schema::DEBUG, debug),
        (schema::METRICS, pick(&metrics, &[("address", "address")])),
        (schema::GRPC_PROMETHEUS, pick(&metrics, &[("grpc_histogram", "grpc_histogram")])),
    ] {
        if !part.is_empty() {
            plugins.entry(id.to_owned()).or_insert(Value::Table(part));
        }
    }
}

fn take_table(table: &mut Table, key: &str) -> Table {
    match table.remove(key) {
        Some(Value::Table(inner)) => inner,
        _ => Table::new(),
    }
}
