//! `runtime.v1` as a Go client and a Go daemon 2.3.4 spoke it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod recorded;

use protos::cri::*;
use recorded::{prost, req, resp};

const IMAGE: &str = "sha256:8815f31ef83c934213e0ced927881b1c8d6ebce22a0d75aa5e857ecb6644248";

#[test]
fn version_status_and_config() {
    let version: VersionResponse = resp("RuntimeService/Version");
    assert_eq!(
        [version.version, version.runtime_name, version.runtime_version, version.runtime_api_version],
        ["0.1.0", "containerd", "v2.3.4", "v1"]
    );
    let status: StatusResponse = resp("RuntimeService/Status");
    let conditions = status.status.unwrap().conditions;
    assert_eq!((conditions[0].r#type.as_str(), conditions[0].status), ("RuntimeReady", true));
    assert_eq!(
        (conditions[1].r#type.as_str(), conditions[1].reason.as_str()),
        ("NetworkReady", "NetworkPluginNotReady")
    );
    let handlers: Vec<_> = status.runtime_handlers.iter().map(|h| h.name.as_str()).collect();
    assert_eq!(handlers, ["", "runc"]);
    assert!(status.runtime_handlers[1].features.unwrap().recursive_read_only_mounts);
    assert!(status.features.unwrap().supplemental_groups_policy);
    let config = resp::<RuntimeConfigResponse>("RuntimeService/RuntimeConfig").linux.unwrap();
    assert_eq!(config.cgroup_driver(), CgroupDriver::Cgroupfs);
    let update: UpdateRuntimeConfigRequest = req("RuntimeService/UpdateRuntimeConfig");
    assert_eq!(update.runtime_config.unwrap().network_config.unwrap().pod_cidr, "10.1.0.0/16");
}

#[test]
fn images() {
    let all = resp::<ListImagesResponse>("ImageService/ListImages").images;
    assert!(all[0].id.starts_with(IMAGE));
    assert_eq!(
        (all[0].repo_tags[0].as_str(), all[0].size, all[0].pinned),
        ("lab.local/box:1", 1_988_184, true)
    );
    assert_eq!(resp::<ImageStatusResponse>("ImageService/ImageStatus").image, Some(all[0].clone()));
    let pull: PullImageRequest = req("ImageService/PullImage");
    assert_eq!(pull.image.as_ref().unwrap().annotations["a"], "b");
    let auth = pull.auth.as_ref().unwrap();
    assert_eq!([&auth.username, &auth.password, &auth.identity_token], ["u", "p", "t"]);
    let fs = resp::<ImageFsInfoResponse>("ImageService/ImageFsInfo").image_filesystems.remove(0);
    assert!(fs.fs_id.unwrap().mountpoint.ends_with("snapshotter.v1.overlayfs"));
    assert_eq!(fs.timestamp, 1_795_295_532_067_781_202);
    assert_eq!(
        req::<RemoveImageRequest>("ImageService/RemoveImage").image.unwrap().image,
        "lab.local/nothing:1"
    );
}

#[test]
fn secrets_are_not_printed() {
    let pull: PullImageRequest = req("ImageService/PullImage");
    let text = format!("{:?}", pull.auth.unwrap());
    assert!(
        text.contains("username: \"u\"")
            && text.contains("password: set")
            && text.contains("registry_token: none")
    );
    assert!(!text.contains("\"p\"") && !text.contains("\"t\""), "{text}");
}

#[test]
fn a_pod() {
    let run = req::<RunPodSandboxRequest>("RuntimeService/RunPodSandbox").config.unwrap();
    let meta = run.metadata.clone().unwrap();
    assert_eq!(
        (meta.name.as_str(), meta.uid.as_str(), meta.namespace.as_str(), meta.attempt),
        ("pod", "uid-1", "default", 2)
    );
    assert_eq!(run.dns_config.as_ref().unwrap().options, ["ndots:5"]);
    let linux = run.linux.clone().unwrap();
    let namespaces = linux.security_context.unwrap().namespace_options.unwrap();
    assert_eq!(linux.cgroup_parent, "/rec/pod");
    assert_eq!(
        [namespaces.network(), namespaces.pid(), namespaces.ipc()],
        [NamespaceMode::Node, NamespaceMode::Container, NamespaceMode::Node]
    );
    let id = resp::<RunPodSandboxResponse>("RuntimeService/RunPodSandbox").pod_sandbox_id;
    assert_eq!(id.len(), 64);
    let status = resp::<PodSandboxStatusResponse>("RuntimeService/PodSandboxStatus").status.unwrap();
    assert_eq!(
        (&status.id, status.state(), status.metadata),
        (&id, PodSandboxState::SandboxReady, Some(meta))
    );
    assert_eq!(status.network.unwrap().ip, "");
    let filter = req::<ListPodSandboxRequest>("RuntimeService/ListPodSandbox").filter.unwrap();
    assert_eq!(
        (&filter.id, filter.state.unwrap().state(), filter.label_selector["app"].as_str()),
        (&id, PodSandboxState::SandboxReady, "x")
    );
    assert_eq!(
        resp::<ListPodSandboxResponse>("RuntimeService/ListPodSandbox").items[0].annotations["an"],
        "y"
    );
    let update: UpdatePodSandboxResourcesRequest = req("RuntimeService/UpdatePodSandboxResources");
    assert_eq!(
        (update.overhead.unwrap().cpu_shares, update.resources.unwrap().memory_limit_in_bytes),
        (2, 1 << 28)
    );
    assert_eq!(req::<StopPodSandboxRequest>("RuntimeService/StopPodSandbox").pod_sandbox_id, id);
    assert_eq!(req::<RemovePodSandboxRequest>("RuntimeService/RemovePodSandbox").pod_sandbox_id, id);
}

#[test]
fn a_container() {
    let create = req::<CreateContainerRequest>("RuntimeService/CreateContainer").config.unwrap();
    assert_eq!(
        (create.command[0].as_str(), create.args.as_slice()),
        ("/bin/busybox", &["sleep".to_owned(), "1000".to_owned()][..])
    );
    assert_eq!((create.envs[0].key.as_str(), create.envs[0].value.as_ref()), ("K", b"V".as_ref()));
    assert!(
        create.mounts[0].readonly && create.mounts[0].propagation() == MountPropagation::PropagationPrivate
    );
    let linux = create.linux.unwrap();
    let limits = linux.resources.unwrap();
    assert_eq!(
        (limits.cpu_shares, limits.cpu_quota, limits.memory_limit_in_bytes, limits.oom_score_adj),
        (512, 50_000, 1 << 26, 500)
    );
    let security = linux.security_context.unwrap();
    let capabilities = security.capabilities.unwrap();
    assert_eq!(
        (capabilities.add_capabilities[0].as_str(), capabilities.drop_capabilities[0].as_str()),
        ("NET_ADMIN", "CHOWN")
    );
    assert_eq!(
        (security.run_as_user, security.masked_paths[0].as_str()),
        (Some(Int64Value { value: 0 }), "/proc/kcore")
    );

    let id = resp::<CreateContainerResponse>("RuntimeService/CreateContainer").container_id;
    let listed = resp::<ListContainersResponse>("RuntimeService/ListContainers").containers.remove(0);
    assert_eq!((&listed.id, listed.state()), (&id, ContainerState::ContainerRunning));
    assert!(listed.image_ref.starts_with(IMAGE));
    let all: Vec<ContainerStatusResponse> = prost("RuntimeService/ContainerStatus", "resp");
    let (live, dead) = (all[0].status.as_ref().unwrap(), all[1].status.as_ref().unwrap());
    assert_eq!((live.state(), live.exit_code, live.finished_at), (ContainerState::ContainerRunning, 0, 0));
    assert_eq!(
        (dead.state(), dead.exit_code, dead.reason.as_str()),
        (ContainerState::ContainerExited, 137, "Error")
    );
    assert_eq!((live.stop_signal(), dead.finished_at), (Signal::Sigterm, 1_795_295_533_518_226_794));
    assert_eq!(live.user.as_ref().unwrap().linux.as_ref().unwrap().supplemental_groups, [0]);
    assert_eq!(dead.resources.as_ref().unwrap().linux.as_ref().unwrap().memory_swap_limit_in_bytes, 1 << 27);
    assert!(all[0].info.is_empty() && all[1].info["info"].starts_with("{\"sandboxID\""));
    let update: UpdateContainerResourcesRequest = req("RuntimeService/UpdateContainerResources");
    assert_eq!(
        (update.linux.unwrap().memory_limit_in_bytes, update.annotations["z"].as_str()),
        (1 << 27, "zz")
    );
    let checkpoint: CheckpointContainerRequest = req("RuntimeService/CheckpointContainer");
    assert_eq!((checkpoint.location.as_str(), checkpoint.timeout), ("/tmp/rec/cp.tar", 5));
    assert_eq!(req::<StopContainerRequest>("RuntimeService/StopContainer").timeout, 0);
}

#[test]
fn exec_attach_and_forward() {
    let asked: ExecSyncRequest = req("RuntimeService/ExecSync");
    assert_eq!((asked.cmd[0].as_str(), asked.timeout), ("/bin/sh", 10));
    let done: ExecSyncResponse = resp("RuntimeService/ExecSync");
    assert_eq!(
        (done.stdout.as_ref(), done.stderr.as_ref(), done.exit_code),
        (b"out\n".as_ref(), b"err\n".as_ref(), 3)
    );
    let exec: ExecRequest = req("RuntimeService/Exec");
    assert_eq!([exec.tty, exec.stdin, exec.stdout, exec.stderr], [false, true, true, true]);
    assert!(resp::<ExecResponse>("RuntimeService/Exec").url.contains("/exec/"));
    let attach: AttachRequest = req("RuntimeService/Attach");
    assert_eq!([attach.stdin, attach.tty, attach.stdout, attach.stderr], [false, false, true, true]);
    assert!(resp::<AttachResponse>("RuntimeService/Attach").url.contains("/attach/"));
    assert_eq!(req::<PortForwardRequest>("RuntimeService/PortForward").port, [80, 8080]);
    assert!(resp::<PortForwardResponse>("RuntimeService/PortForward").url.contains("/portforward/"));
}

#[test]
fn stats_and_metrics() {
    let stats = resp::<ContainerStatsResponse>("RuntimeService/ContainerStats").stats.unwrap();
    assert_eq!(stats.cpu.unwrap().usage_core_nano_seconds, Some(UInt64Value { value: 15_300_716 }));
    let memory = stats.memory.unwrap();
    assert_eq!((memory.working_set_bytes.unwrap().value, memory.page_faults.unwrap().value), (507_904, 852));
    assert!(memory.psi.is_none());
    let pod = resp::<PodSandboxStatsResponse>("RuntimeService/PodSandboxStats").stats.unwrap().linux.unwrap();
    assert_eq!((pod.process.unwrap().process_count.unwrap().value, pod.containers.len()), (1, 1));
    let filter = req::<ListContainerStatsRequest>("RuntimeService/ListContainerStats").filter.unwrap();
    assert_eq!(filter.label_selector["c"], "1");
    let metrics =
        resp::<ListPodSandboxMetricsResponse>("RuntimeService/ListPodSandboxMetrics").pod_metrics.remove(0);
    let seen = &metrics.container_metrics[0].metrics[0];
    assert_eq!((seen.name.as_str(), seen.metric_type()), ("container_last_seen", MetricType::Gauge));
    assert_eq!(
        (seen.value, seen.label_values[0].as_str()),
        (Some(UInt64Value { value: 1_795_295_533 }), "pod")
    );
}

#[test]
fn container_events() {
    use ContainerEventType::{
        ContainerCreatedEvent as C, ContainerDeletedEvent as D, ContainerStartedEvent as S,
        ContainerStoppedEvent as X,
    };
    let all: Vec<ContainerEventResponse> = prost("RuntimeService/GetContainerEvents", "resp");
    assert_eq!(all.iter().map(|e| e.container_event_type()).collect::<Vec<_>>(), [C, S, C, S, X, D, X, D]);
    assert!(all.iter().all(|e| e.pod_sandbox_status.is_some() && e.created_at > 1_795_000_000_000_000_000));
    assert_eq!(all[4].containers_statuses[0].exit_code, 137);
}
