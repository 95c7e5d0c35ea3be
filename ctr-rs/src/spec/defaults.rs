//! containerd's default spec for Linux containers.

use std::path::Path;

use super::model::{
    Capabilities, DeviceRule, Linux, Mount, Namespace, Process, Resources, Rlimit, Root, Spec, VERSION,
};

const CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

const NAMESPACES: [&str; 5] = ["pid", "ipc", "uts", "mount", "network"];

const MASKED: [&str; 11] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
    "/proc/scsi",
];

const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Destination, type, source, options.
const MOUNTS: [(&str, &str, &str, &[&str]); 7] = [
    ("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
    ("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
    (
        "/dev/pts",
        "devpts",
        "devpts",
        &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    ),
    ("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
    ("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
    ("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
    ("/run", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
];

/// Character devices that a container may use: major and minor, `None` for all.
const DEVICES: [(i64, Option<i64>); 9] = [
    (1, Some(3)),
    (1, Some(8)),
    (1, Some(7)),
    (5, Some(0)),
    (1, Some(5)),
    (1, Some(9)),
    (5, Some(1)),
    (136, None),
    (5, Some(2)),
];

/// Most open files of a container's processes.
const OPEN_FILES: u64 = 1024;

fn owned(list: &[&str]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

/// The default spec of container `id` in `namespace`. With cgroup v2 the container gets a cgroup namespace.
pub fn spec(namespace: &str, id: &str, cgroup2: bool) -> Spec {
    let capabilities = owned(&CAPABILITIES);
    let mut namespaces: Vec<Namespace> =
        NAMESPACES.iter().map(|kind| Namespace { kind: (*kind).into(), path: String::new() }).collect();
    if cgroup2 {
        namespaces.push(Namespace { kind: "cgroup".into(), path: String::new() });
    }
    Spec {
        oci_version: VERSION.into(),
        root: Some(Root { path: "rootfs".into(), readonly: false }),
        process: Some(Process {
            cwd: "/".into(),
            no_new_privileges: true,
            capabilities: Some(Capabilities {
                bounding: capabilities.clone(),
                permitted: capabilities.clone(),
                effective: capabilities,
                ..Capabilities::default()
            }),
            rlimits: vec![Rlimit { kind: "RLIMIT_NOFILE".into(), hard: OPEN_FILES, soft: OPEN_FILES }],
            ..Process::default()
        }),
        mounts: MOUNTS
            .iter()
            .map(|(destination, kind, source, options)| Mount {
                destination: (*destination).into(),
                kind: (*kind).into(),
                source: (*source).into(),
                options: owned(options),
                ..Mount::default()
            })
            .collect(),
        linux: Some(Linux {
            masked_paths: owned(&MASKED),
            readonly_paths: owned(&READ_ONLY),
            cgroups_path: format!("/{namespace}/{id}"),
            resources: Some(Resources {
                devices: vec![DeviceRule { access: "rwm".into(), ..DeviceRule::default() }],
                ..Resources::default()
            }),
            namespaces,
            ..Linux::default()
        }),
        ..Spec::default()
    }
}

/// Lets the container use null, zero, random, terminals and the like.
pub fn allow_default_devices(spec: &mut Spec) {
    spec.resources().devices.extend(DEVICES.map(|(major, minor)| DeviceRule {
        allow: true,
        kind: "c".into(),
        major: Some(major),
        minor,
        access: "rwm".into(),
    }));
}

/// Whether this machine uses cgroup v2 alone.
pub fn has_cgroup2() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn the_default_is_containerds() {
        let mut spec = spec("default", "c1", true);
        allow_default_devices(&mut spec);
        let json = serde_json::to_value(&spec).unwrap();
        assert_eq!(json["ociVersion"], "1.3.0");
        assert_eq!(json["root"], json!({"path": "rootfs"}));
        assert_eq!(
            json["process"]["rlimits"],
            json!([{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}])
        );
        assert_eq!(json["process"]["noNewPrivileges"], true);
        assert_eq!(json["process"]["user"], json!({"uid": 0, "gid": 0}));
        assert_eq!(json["process"]["capabilities"]["bounding"].as_array().unwrap().len(), 14);
        assert!(json["process"]["capabilities"].get("inheritable").is_none());
        assert!(json["process"].get("oomScoreAdj").is_none());
        assert_eq!(json["linux"]["cgroupsPath"], "/default/c1");
        assert_eq!(json["linux"]["resources"]["devices"][0], json!({"allow": false, "access": "rwm"}));
        assert_eq!(
            json["linux"]["resources"]["devices"][8],
            json!({"allow": true, "type": "c", "major": 136, "access": "rwm"})
        );
        assert_eq!(json["linux"]["namespaces"][5], json!({"type": "cgroup"}));
        assert_eq!(json["mounts"].as_array().unwrap().len(), 7);
        assert_eq!(json["mounts"][0]["destination"], "/proc");
    }

    #[test]
    fn no_cgroup_namespace_without_cgroup2() {
        let kinds: Vec<String> =
            spec("n", "c", false).linux.unwrap().namespaces.into_iter().map(|n| n.kind).collect();
        assert_eq!(kinds, NAMESPACES);
    }
}
