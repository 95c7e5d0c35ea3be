//! Which service is held against bytes from a Go peer by which recording.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod recorded;

use std::collections::{BTreeMap, BTreeSet};

/// How many of its methods each service has recorded, out of how many, and in which file.
const TABLE: &[(&str, &str, usize, usize)] = &[
    ("containerd.runtime.sandbox.v1.Sandbox", "shim", 7, 9),
    ("containerd.services.containers.v1.Containers", "grpc", 6, 6),
    ("containerd.services.content.v1.Content", "grpc", 9, 9),
    ("containerd.services.diff.v1.Diff", "grpc", 2, 2),
    ("containerd.services.events.ttrpc.v1.Events", "shim", 1, 1),
    ("containerd.services.events.v1.Events", "grpc", 3, 3),
    ("containerd.services.images.v1.Images", "grpc", 5, 5),
    ("containerd.services.introspection.v1.Introspection", "grpc", 3, 3),
    ("containerd.services.leases.v1.Leases", "grpc", 6, 6),
    ("containerd.services.mounts.v1.Mounts", "grpc", 5, 5),
    ("containerd.services.namespaces.v1.Namespaces", "grpc", 5, 5),
    ("containerd.services.sandbox.v1.Controller", "grpc", 9, 9),
    ("containerd.services.sandbox.v1.Store", "grpc", 5, 5),
    ("containerd.services.snapshots.v1.Snapshots", "grpc", 10, 10),
    ("containerd.services.streaming.v1.Streaming", "grpc, shim", 1, 1),
    ("containerd.services.tasks.v1.Tasks", "grpc", 17, 17),
    ("containerd.services.transfer.v1.Transfer", "grpc", 1, 1),
    ("containerd.services.version.v1.Version", "grpc", 1, 1),
    ("containerd.task.v2.Task", "shim", 13, 17),
    ("containerd.task.v3.Task", "shim", 17, 17),
    ("runtime.v1.ImageService", "cri", 5, 6),
    ("runtime.v1.RuntimeService", "cri", 32, 37),
];

/// What no released Go daemon serves, or what none of its clients calls. Their messages are in `wire.txt` all the same.
const NOT_RECORDED: &[&str] = &[
    "containerd.runtime.sandbox.v1.Sandbox/PingSandbox",
    "containerd.runtime.sandbox.v1.Sandbox/Platform",
    "containerd.task.v2.Task/Checkpoint",
    "containerd.task.v2.Task/CloseIO",
    "containerd.task.v2.Task/ResizePty",
    "containerd.task.v2.Task/Update",
    "runtime.v1.ImageService/StreamImages",
    "runtime.v1.RuntimeService/CheckpointPod",
    "runtime.v1.RuntimeService/RestorePod",
    "runtime.v1.RuntimeService/StreamContainerStats",
    "runtime.v1.RuntimeService/StreamPodSandboxMetrics",
    "runtime.v1.RuntimeService/StreamPodSandboxStats",
];

fn methods() -> BTreeSet<&'static str> {
    include_str!("fixtures/wire.txt")
        .lines()
        .filter_map(|l| l.strip_prefix("rpc ")?.split(' ').next())
        .collect()
}

#[test]
fn each_service_is_recorded() {
    let have: BTreeSet<&str> = recorded::lines().iter().map(|l| l.method).collect();
    let mut count: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for method in methods() {
        let (service, _) = method.split_once('/').unwrap();
        let entry = count.entry(service).or_default();
        entry.0 += usize::from(have.contains(method));
        entry.1 += 1;
    }
    let table: BTreeMap<_, _> = TABLE.iter().map(|(s, _, n, all)| (*s, (*n, *all))).collect();
    assert_eq!(count, table);
    assert!(count.values().all(|(n, _)| *n > 0));
    let missing: Vec<&str> = methods().difference(&have).copied().collect();
    assert_eq!(missing, NOT_RECORDED);
}

#[test]
fn the_recordings_are_where_the_table_says() {
    for (service, files, _, _) in TABLE {
        for file in files.split(", ") {
            let text = match file {
                "grpc" => include_str!("fixtures/grpc.txt"),
                "cri" => include_str!("fixtures/cri.txt"),
                _ => include_str!("fixtures/shim.txt"),
            };
            assert!(text.contains(&format!(" {service}/")), "{service} is not in {file}.txt");
        }
    }
}
