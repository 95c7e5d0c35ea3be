//! What a pod's namespaces shall be, from what the client gave: the spec in the bundle, CRI's pod configuration, and the
//! path of a network namespace.

use std::collections::BTreeMap;
use std::path::Path;

use base::Error;
use nix::sched::CloneFlags;
use serde::{Deserialize, Serialize};

use crate::sandbox::cri::PodConfig;
use crate::spec;

/// Where one namespace comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Want {
    /// The host's.
    #[default]
    Host,
    /// A new one.
    New,
    /// The one at this path.
    Join(String),
}

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) network: Want,
    pub(crate) ipc: Want,
    pub(crate) uts: Want,
    /// Whether the containers share one; `Host`: each has its own way.
    pub(crate) pid: Want,
    /// Empty: as it is.
    pub(crate) hostname: String,
    /// By name ("net.ipv4.ip_forward").
    pub(crate) sysctls: BTreeMap<String, String>,
    /// The group for the process that holds the namespaces, as the spec names it; empty: the shim's.
    pub(crate) cgroup: String,
    /// The group of the whole pod; empty: there is none but `cgroup`.
    pub(crate) pod_cgroup: String,
}

/// The part of `config.json` that matters here.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PodSpec {
    hostname: Option<String>,
    linux: Option<PodLinux>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PodLinux {
    namespaces: Option<Vec<PodNamespace>>,
    sysctl: Option<BTreeMap<String, String>>,
    #[serde(rename = "cgroupsPath")]
    cgroup: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PodNamespace {
    #[serde(rename = "type")]
    kind: String,
    path: String,
}

impl Plan {
    /// The plan for the pod with this bundle. The network namespace at `netns` comes before all else; CRI's `config`
    /// comes before the bundle's spec; and a pod of which nothing is said has IPC and UTS namespaces of its own.
    ///
    /// # Errors
    /// The spec does not parse, names an unknown namespace, or wants sysctls of namespaces that are not the pod's.
    pub(crate) fn new(bundle: &Path, config: Option<PodConfig>, netns: &str) -> Result<Plan, Error> {
        let spec: PodSpec = spec::read_config(bundle)?.unwrap_or_default();
        let mut plan = Plan { ipc: Want::New, uts: Want::New, ..Plan::default() };
        plan.apply_spec(spec)?;
        if let Some(config) = config {
            plan.apply_config(config)?;
        }
        if !netns.is_empty() {
            plan.network = Want::Join(netns.to_owned());
        }
        plan.check()?;
        Ok(plan)
    }

    fn apply_spec(&mut self, spec: PodSpec) -> Result<(), Error> {
        self.hostname = spec.hostname.unwrap_or_default();
        let Some(linux) = spec.linux else { return Ok(()) };
        self.sysctls = linux.sysctl.unwrap_or_default();
        self.cgroup = linux.cgroup.unwrap_or_default();
        let Some(namespaces) = linux.namespaces else { return Ok(()) };
        (self.ipc, self.uts) = (Want::Host, Want::Host);
        for namespace in namespaces {
            let place = match namespace.kind.as_str() {
                "network" => &mut self.network,
                "ipc" => &mut self.ipc,
                "uts" => &mut self.uts,
                "pid" => &mut self.pid,
                "user" => return Err(no_users()),
                // Each container has its own of these.
                "mount" | "cgroup" | "time" => continue,
                other => return Err(Error::invalid(format!("unknown namespace {other:?} of a sandbox"))),
            };
            *place = if namespace.path.is_empty() { Want::New } else { Want::Join(namespace.path) };
        }
        Ok(())
    }

    fn apply_config(&mut self, config: PodConfig) -> Result<(), Error> {
        if config.own_users {
            return Err(no_users());
        }
        let of = |own: bool| if own { Want::New } else { Want::Host };
        self.ipc = of(!config.host_ipc);
        // As in pods with a pause container: the host's network comes with the host's name.
        self.uts = of(!config.host_network);
        self.pid = of(config.shared_pid);
        if !config.hostname.is_empty() && !config.host_network {
            self.hostname = config.hostname;
        }
        self.sysctls.extend(config.sysctls);
        self.pod_cgroup = config.cgroup_parent;
        Ok(())
    }

    fn check(&self) -> Result<(), Error> {
        for name in self.sysctls.keys() {
            let own = match name.as_str() {
                n if n.starts_with("net.") => self.network != Want::Host,
                n if n.starts_with("fs.mqueue.") => self.ipc != Want::Host,
                n if ["kernel.msg", "kernel.shm"].iter().any(|p| n.starts_with(p)) || n == "kernel.sem" => {
                    self.ipc != Want::Host
                }
                "kernel.domainname" => self.uts != Want::Host,
                _ => false,
            };
            if !own {
                return Err(Error::invalid(format!("sysctl {name:?} is not in a separate kernel namespace")));
            }
        }
        for want in [&self.network, &self.ipc, &self.uts, &self.pid] {
            if let Want::Join(path) = want
                && !path.starts_with('/')
            {
                return Err(Error::invalid(format!("namespace path {path:?} is not absolute")));
            }
        }
        Ok(())
    }

    /// Every namespace with the kernel's word for it.
    pub(crate) fn kinds(&self) -> [(&Want, CloneFlags); 4] {
        [
            (&self.network, CloneFlags::CLONE_NEWNET),
            (&self.ipc, CloneFlags::CLONE_NEWIPC),
            (&self.uts, CloneFlags::CLONE_NEWUTS),
            (&self.pid, CloneFlags::CLONE_NEWPID),
        ]
    }
}

/// The namespaces of such a pod belong to its user namespace, which needs a pause container to be made.
fn no_users() -> Error {
    Error::unimplemented("user namespaces of a sandbox without a pause container")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn plan(spec: Option<&str>, config: Option<PodConfig>, netns: &str) -> Result<Plan, Error> {
        let dir = tempfile::tempdir().unwrap();
        if let Some(spec) = spec {
            std::fs::write(dir.path().join("config.json"), spec).unwrap();
        }
        Plan::new(dir.path(), config, netns)
    }

    #[test]
    fn what_a_pod_gets() {
        let bare = plan(None, None, "").unwrap();
        assert_eq!(
            (bare.ipc, bare.uts, bare.network, bare.pid),
            (Want::New, Want::New, Want::Host, Want::Host)
        );
        let spec = r#"{"hostname":"h","linux":{"cgroupsPath":"/a/b","namespaces":[{"type":"ipc"},{"type":"pid"},{"type":"mount"},
            {"type":"network","path":"/n"}],"sysctl":{"net.ipv4.ip_forward":"1","kernel.shmmax":"5"}}}"#;
        let by_spec = plan(Some(spec), None, "").unwrap();
        assert_eq!((&by_spec.ipc, &by_spec.uts, &by_spec.pid), (&Want::New, &Want::Host, &Want::New));
        assert_eq!((by_spec.network, by_spec.cgroup.as_str()), (Want::Join("/n".into()), "/a/b"));
        assert_eq!(plan(Some(spec), None, "/other").unwrap().network, Want::Join("/other".into()));
        let config =
            PodConfig { shared_pid: true, host_ipc: true, hostname: "pod".into(), ..PodConfig::default() };
        let by_cri = plan(None, Some(config), "/n").unwrap();
        assert_eq!((by_cri.ipc, by_cri.uts, by_cri.pid), (Want::Host, Want::New, Want::New));
        assert_eq!(by_cri.hostname, "pod");
        let config = PodConfig { host_network: true, hostname: "pod".into(), ..PodConfig::default() };
        let hosts = plan(None, Some(config), "").unwrap();
        assert_eq!((hosts.network, hosts.uts, hosts.hostname.as_str()), (Want::Host, Want::Host, ""));
    }

    #[test]
    fn what_is_refused() {
        for (spec, want) in [
            ("{", "parse"),
            (r#"{"linux":{"namespaces":[{"type":"what"}]}}"#, "unknown namespace"),
            (r#"{"linux":{"namespaces":[{"type":"ipc","path":"rel"}]}}"#, "not absolute"),
            (r#"{"linux":{"namespaces":[{"type":"user"}]}}"#, "user namespaces"),
            (r#"{"linux":{"sysctl":{"net.ipv4.ip_forward":"1"}}}"#, "separate kernel namespace"),
            (r#"{"linux":{"sysctl":{"vm.swappiness":"1"}}}"#, "separate kernel namespace"),
            (r#"{"linux":{"namespaces":[],"sysctl":{"kernel.sem":"1"}}}"#, "separate kernel namespace"),
        ] {
            let error = plan(Some(spec), None, "").unwrap_err();
            assert!(base::chain(&error).contains(want), "{spec}: {error}");
        }
        let config = PodConfig { own_users: true, ..PodConfig::default() };
        assert!(plan(None, Some(config), "").is_err());
        let sysctl = r#"{"linux":{"sysctl":{"net.ipv4.ip_forward":"1"}}}"#;
        assert!(plan(Some(sysctl), None, "/n").is_ok());
    }
}
