//! Every plugin of this daemon. Types and ids are containerd's.

use crate::config::{Config, schema};
use crate::plugins::{Loaded, Registration};

use super::{Context, base_parts, images, mounting, proxy, runtimes, snapshotters, storage};

pub(super) const CONTENT: &str = "io.containerd.content.v1";
pub(super) const DIFFER: &str = "io.containerd.differ.v1";
pub(super) const EVENT: &str = "io.containerd.event.v1";
pub(super) const GC: &str = "io.containerd.gc.v1";
pub(super) const GRPC: &str = "io.containerd.grpc.v1";
pub(super) const LEASE: &str = "io.containerd.lease.v1";
pub(super) const METADATA: &str = "io.containerd.metadata.v1";
pub(super) const METRICS: &str = "io.containerd.metrics.v1";
pub(super) const CONTAINER_MONITOR: &str = "io.containerd.monitor.container.v1";
pub(super) const MOUNT_HANDLER: &str = "io.containerd.mount-handler.v1";
pub(super) const MOUNT_MANAGER: &str = "io.containerd.mount-manager.v1";
pub(super) const RUNTIME: &str = "io.containerd.runtime.v2";
pub(super) const SANDBOX_CONTROLLER: &str = "io.containerd.sandbox.controller.v1";
pub(super) const SANDBOX_STORE: &str = "io.containerd.sandbox.store.v1";
pub(super) const SERVER: &str = "io.containerd.server.v1";
pub(super) const SERVICE: &str = "io.containerd.service.v1";
pub(super) const SHIM: &str = "io.containerd.shim.v1";
pub(super) const SNAPSHOTTER: &str = "io.containerd.snapshotter.v1";
pub(super) const STREAMING: &str = "io.containerd.streaming.v1";
pub(super) const TRANSFER: &str = "io.containerd.transfer.v1";
pub(super) const VERIFIER: &str = "io.containerd.image-verifier.v1";

type Plugin = Registration<Context>;

/// All registrations, proxy plugins of the configuration included.
pub(super) fn all(config: &Config) -> Vec<Plugin> {
    let mut all = vec![
        Plugin::new(EVENT, "exchange", &[], base_parts::exchange),
        Plugin::new(CONTENT, "content", &[], storage::content_dir),
        Plugin::new(MOUNT_HANDLER, "erofs", &[], mounting::erofs_handler),
        Plugin::new(SNAPSHOTTER, "blockfile", &[], snapshotters::blockfile),
        Plugin::new(SNAPSHOTTER, "btrfs", &[], snapshotters::btrfs),
        Plugin::new(SNAPSHOTTER, "devmapper", &[], snapshotters::devmapper),
        Plugin::new(SNAPSHOTTER, "erofs", &[], snapshotters::erofs),
        Plugin::new(SNAPSHOTTER, "native", &[], snapshotters::native),
        Plugin::new(SNAPSHOTTER, "overlayfs", &[], snapshotters::overlayfs),
        Plugin::new(SNAPSHOTTER, "zfs", &[], snapshotters::zfs),
    ];
    // What the operator configures by the name of a built-in stands in its place.
    let proxies = proxy::registrations(config);
    all.retain(|built_in| !proxies.iter().any(|p| p.kind == built_in.kind && p.id == built_in.id));
    all.extend(proxies);
    all.extend([
        Plugin::new(METADATA, "bolt", &[CONTENT, EVENT, SNAPSHOTTER], storage::metadata),
        // Its handlers are loaded by now, or disabled.
        Plugin::new(MOUNT_MANAGER, "bolt", &[METADATA], mounting::manager),
        Plugin::new(GC, "scheduler", &[METADATA], storage::gc),
        Plugin::new(LEASE, "manager", &[METADATA, GC], nothing),
        Plugin::new(DIFFER, "erofs", &[METADATA], snapshotters::erofs_differ),
        Plugin::new(DIFFER, "walking", &[METADATA], storage::walking),
        Plugin::new(SHIM, "manager", &[EVENT, METADATA], runtimes::shim_manager),
        Plugin::new(RUNTIME, "task", &[SHIM], runtimes::tasks),
        Plugin::new(SANDBOX_STORE, "local", &[METADATA], nothing),
        Plugin::new(SANDBOX_CONTROLLER, "shim", &[SHIM, EVENT, RUNTIME], runtimes::shim_sandboxer),
        Plugin::new(STREAMING, "manager", &[METADATA], base_parts::streaming),
        Plugin::new(VERIFIER, "bindir", &[], images::bindir),
        Plugin::new(TRANSFER, "local", &[LEASE, METADATA, DIFFER, VERIFIER, SNAPSHOTTER], images::transfer),
        Plugin::new(SERVICE, "containers-service", &[EVENT, METADATA], nothing),
        Plugin::new(SERVICE, "content-service", &[METADATA], nothing),
        Plugin::new(SERVICE, "diff-service", &[DIFFER], storage::diff_order),
        Plugin::new(SERVICE, "images-service", &[METADATA, GC], nothing),
        Plugin::new(SERVICE, "introspection-service", &[], base_parts::introspection),
        Plugin::new(SERVICE, "namespaces-service", &[EVENT, METADATA], nothing),
        Plugin::new(SERVICE, "snapshots-service", &[METADATA], nothing),
        Plugin::new(SERVICE, "tasks-service", &[EVENT, RUNTIME, METADATA], nothing),
        Plugin::new(CONTAINER_MONITOR, "restart", &[EVENT, SERVICE], runtimes::restart),
        Plugin::new(METRICS, "grpc-prometheus", &[], nothing),
    ]);
    all.push(Plugin::new(GRPC, "sandbox-controllers", &[SANDBOX_CONTROLLER, EVENT], nothing));
    for id in [
        "containers",
        "content",
        "diff",
        "events",
        "healthcheck",
        "images",
        "introspection",
        "leases",
        "mounts",
        "namespaces",
        "sandboxes",
        "snapshots",
        "streaming",
        "tasks",
        "transfer",
        "version",
    ] {
        all.push(Plugin::new(GRPC, id, &[SERVICE], nothing));
    }
    all.push(Plugin::new(SERVER, "grpc", &[GRPC, METRICS], nothing));
    for (id, schema) in [("ttrpc", schema::TTRPC), ("metrics", schema::METRICS), ("debug", schema::DEBUG)] {
        all.push(Plugin::new(SERVER, id, &[], move |context| listener(context, schema)));
    }
    all
}

/// A plugin whose work is done by the part that it needs: it is there when that part is.
fn nothing(_: &mut Context) -> Result<Loaded, crate::plugins::NotLoaded> {
    Ok(Loaded::default())
}

/// A listener without an address is not wanted.
fn listener(context: &mut Context, plugin: &str) -> Result<Loaded, crate::plugins::NotLoaded> {
    let table = context.config.plugins.get(plugin);
    match table.and_then(|t| t.get("address")).and_then(toml::Value::as_str) {
        None | Some("") => Err(crate::plugins::NotLoaded::Skip("no address is configured".to_owned())),
        Some(_) => Ok(Loaded::default()),
    }
}
