//! From the flags (and the image's config) to a runtime spec. Pure, but for what flags name: files, devices, the container's users.

use base::oci::ImageConfig;

use super::flags::{ContainerFlags, LimitFlags, SecurityFlags};
use crate::cmd::flags::{annotations, labels};
use crate::error::{Error, Result};
use crate::spec::model::{Capabilities, IdMapping, Mount, Namespace, Rlimit, Root, Spec};
use crate::spec::rootfs::Rootfs;
use crate::spec::{defaults, devices, env, mount_flag, seccomp, user};

const NAMESPACES: [&str; 7] = ["pid", "network", "uts", "mount", "user", "ipc", "cgroup"];
const CPU_PERIOD: u64 = 100_000;

/// What the container is made from.
#[derive(Debug)]
pub struct Source<'a> {
    /// The image's config; `None` with `--rootfs`.
    pub image: Option<&'a ImageConfig>,
    /// Its root file system, to look users up in.
    pub rootfs: Rootfs<'a>,
    /// The directory of `--rootfs`.
    pub directory: Option<&'a str>,
}

/// The spec of container `id` in `namespace` that runs `args` (or what the image says).
pub fn build(
    flags: &ContainerFlags,
    namespace: &str,
    id: &str,
    args: &[String],
    source: &Source<'_>,
) -> Result<Spec> {
    let mut spec = defaults::spec(namespace, id, defaults::has_cgroup2());
    defaults::allow_default_devices(&mut spec);
    process(&mut spec, flags, args, source)?;
    let mounts: Vec<Mount> = flags.mount.iter().map(|m| mount_flag::parse(m)).collect::<Result<_>>()?;
    mount_flag::add(&mut spec, mounts);
    if let Some(directory) = source.directory {
        spec.root = Some(Root { path: directory.into(), readonly: false });
    }
    if flags.read_only {
        spec.root.get_or_insert_default().readonly = true;
    }
    if flags.security.privileged {
        privileged(&mut spec, &flags.security)?;
    }
    if flags.net_host {
        host_network(&mut spec);
    }
    spec.annotations.extend(annotations(&flags.annotation)?);
    capabilities(&mut spec, &flags.security)?;
    confine(&mut spec, &flags.security)?;
    limit(&mut spec, &flags.limits)?;
    for join in &flags.with_ns {
        join_namespace(&mut spec, join)?;
    }
    map_ids(&mut spec, flags)?;
    for device in &flags.device {
        devices::add(&mut spec, device)?;
    }
    if let Some(mode) = &flags.rootfs_propagation {
        spec.linux().rootfs_propagation.clone_from(mode);
    }
    if let Some(name) = &flags.hostname {
        spec.hostname.clone_from(name);
    }
    spec.annotations.extend(labels(&flags.label));
    Ok(spec)
}

/// A spec from a file, with the labels as annotations.
pub fn from_file(flags: &ContainerFlags, path: &str) -> Result<Spec> {
    let bytes = std::fs::read(path).map_err(Error::io(format!("cannot read spec {path}")))?;
    let mut spec: Spec = serde_json::from_slice(&bytes)
        .map_err(|source| Error::Json { what: format!("spec {path} cannot be read"), source })?;
    spec.annotations.extend(labels(&flags.label));
    Ok(spec)
}

fn process(spec: &mut Spec, flags: &ContainerFlags, args: &[String], source: &Source<'_>) -> Result<()> {
    let own = &flags.process;
    let mut variables = match &own.env_file {
        Some(path) => env::read_file(path)?,
        None => Vec::new(),
    };
    variables = env::merge(&variables, &own.env);
    let process = spec.process();
    if let Some(image) = source.image {
        let config = &image.config;
        let path = [env::DEFAULT_PATH.to_owned()];
        let base = if config.env.is_empty() { &path[..] } else { &config.env };
        variables = env::merge(base, &changes(&variables, &own.env));
        process.args = [config.entrypoint.as_slice(), config.cmd.as_slice()].concat();
        process.cwd = if config.working_dir.is_empty() { "/".into() } else { config.working_dir.clone() };
        let wanted = own.user.as_deref().or(Some(config.user.as_str()).filter(|u| !u.is_empty()));
        process.user = match wanted {
            Some(text) => user::resolve(text, source.rootfs)?,
            // an image that names nobody can be of a kind that we cannot look into
            None => user::root(source.rootfs)?,
        };
    } else if let Some(text) = &own.user {
        process.user = user::resolve(text, source.rootfs)?;
    }
    process.env = variables;
    if !args.is_empty() {
        process.args = args.to_vec();
    }
    if process.args.is_empty() {
        return Err(Error::invalid(
            "there is nothing to run: the image names no command, so give one after the id",
        ));
    }
    if let Some(cwd) = &own.cwd {
        process.cwd.clone_from(cwd);
    }
    if own.tty {
        process.terminal = true;
        process.env.push("TERM=xterm".into());
    }
    if let Some(limits) = &own.rlimit_nofile {
        let limit = rlimit(limits)?;
        process.rlimits.retain(|have| have.kind != limit.kind);
        process.rlimits.push(limit);
    }
    Ok(())
}

/// Variables to set, and bare names to remove.
fn changes(set: &[String], flags: &[String]) -> Vec<String> {
    let removed = flags.iter().filter(|f| !f.contains('='));
    set.iter().chain(removed).cloned().collect()
}

fn rlimit(text: &str) -> Result<Rlimit> {
    let (soft, hard) = text.split_once(':').unwrap_or((text, text));
    let number = |n: &str| {
        n.parse().map_err(|_| Error::invalid(format!("--rlimit-nofile {text:?} is not SOFT or SOFT:HARD")))
    };
    Ok(Rlimit { kind: "RLIMIT_NOFILE".into(), soft: number(soft)?, hard: number(hard)? })
}

fn privileged(spec: &mut Spec, flags: &SecurityFlags) -> Result<()> {
    let all = own_capabilities()?;
    let process = spec.process();
    process.capabilities = Some(Capabilities {
        bounding: all.clone(),
        effective: all.clone(),
        permitted: all,
        ..Capabilities::default()
    });
    process.selinux_label.clear();
    process.apparmor_profile.clear();
    for mount in spec.mounts.iter_mut().filter(|m| m.kind == "sysfs" || m.kind == "cgroup") {
        for option in mount.options.iter_mut().filter(|o| *o == "ro") {
            *option = "rw".into();
        }
    }
    let linux = spec.linux();
    linux.masked_paths.clear();
    linux.readonly_paths.clear();
    linux.seccomp = None;
    if !flags.privileged_without_host_devices {
        devices::allow_all(spec);
        devices::add_host(spec)?;
    }
    Ok(())
}

/// The capabilities that we have ourselves: nobody can give more away.
fn own_capabilities() -> Result<Vec<String>> {
    let sets = rustix::thread::capabilities(None).map_err(Error::io("cannot read our capabilities"))?;
    Ok(crate::spec::capability::names(sets.effective.bits()))
}

fn host_network(spec: &mut Spec) {
    spec.linux().namespaces.retain(|n| n.kind != "network");
    for file in ["/etc/hosts", "/etc/resolv.conf"] {
        spec.mounts.push(Mount {
            destination: file.into(),
            kind: "bind".into(),
            source: file.into(),
            options: vec!["rbind".into(), "ro".into()],
            ..Mount::default()
        });
    }
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let process = spec.process();
    process.env = env::merge(&process.env, &[format!("HOSTNAME={name}")]);
}

fn capabilities(spec: &mut Spec, flags: &SecurityFlags) -> Result<()> {
    if let Some(bad) = flags.cap_add.iter().chain(&flags.cap_drop).find(|c| !c.starts_with("CAP_")) {
        return Err(Error::invalid(format!("capability {bad:?} must begin with CAP_")));
    }
    let sets = spec.process().capabilities.get_or_insert_default();
    for set in [&mut sets.bounding, &mut sets.effective, &mut sets.permitted] {
        for cap in &flags.cap_add {
            if !set.contains(cap) {
                set.push(cap.clone());
            }
        }
    }
    for set in [&mut sets.bounding, &mut sets.effective, &mut sets.permitted, &mut sets.inheritable] {
        set.retain(|cap| !flags.cap_drop.contains(cap));
    }
    Ok(())
}

fn confine(spec: &mut Spec, flags: &SecurityFlags) -> Result<()> {
    match (flags.seccomp, &flags.seccomp_profile) {
        (false, Some(_)) => return Err(Error::invalid("--seccomp-profile needs --seccomp")),
        (true, Some(path)) => spec.linux().seccomp = Some(seccomp::from_file(path)?),
        (true, None) => {
            let bounding = spec.process().capabilities.get_or_insert_default().bounding.clone();
            let machine = base::Platform::host().architecture;
            let profile = seccomp::default_profile(&bounding, &machine, seccomp::kernel())?;
            spec.linux().seccomp = Some(profile);
        }
        (false, None) => {}
    }
    if let Some(name) = &flags.apparmor_profile {
        spec.process().apparmor_profile.clone_from(name);
    }
    if flags.allow_new_privs {
        spec.process().no_new_privileges = false;
    }
    if flags.privileged_without_host_devices && !flags.privileged {
        return Err(Error::invalid("--privileged-without-host-devices needs --privileged"));
    }
    Ok(())
}

fn limit(spec: &mut Spec, flags: &LimitFlags) -> Result<()> {
    let cpu = spec.resources().cpu.get_or_insert_default();
    if flags.cpu_shares > 0 {
        cpu.shares = Some(flags.cpu_shares);
    }
    let by_period = flags.cpu_quota != -1 || flags.cpu_period != 0;
    if flags.cpus > 0.0 {
        if by_period {
            return Err(Error::invalid("--cpus and --cpu-quota or --cpu-period cannot be used together"));
        }
        let quota = flags.cpus * CPU_PERIOD as f64;
        (cpu.quota, cpu.period) = (Some(quota as i64), Some(CPU_PERIOD));
    } else if by_period {
        (cpu.quota, cpu.period) = (Some(flags.cpu_quota), Some(flags.cpu_period));
    }
    if flags.cpu_burst != 0 {
        cpu.burst = Some(flags.cpu_burst);
    }
    cpu.cpus = flags.cpuset_cpus.clone().unwrap_or_default();
    cpu.mems = flags.cpuset_mems.clone().unwrap_or_default();
    if flags.memory_limit != 0 {
        let limit = i64::try_from(flags.memory_limit)
            .map_err(|_| Error::invalid(format!("--memory-limit {} is too large", flags.memory_limit)))?;
        spec.resources().memory.get_or_insert_default().limit = Some(limit);
    }
    if let Some(class) = &flags.rdt_class {
        spec.linux().other.insert("intelRdt".into(), serde_json::json!({ "closID": class }));
    }
    if let Some(path) = &flags.cgroup {
        spec.linux().cgroups_path.clone_from(path);
    }
    Ok(())
}

fn join_namespace(spec: &mut Spec, text: &str) -> Result<()> {
    let bad = || {
        Error::invalid(format!(
            "--with-ns {text:?} is not TYPE:PATH with TYPE one of {}",
            NAMESPACES.join(", ")
        ))
    };
    let (kind, path) = text.split_once(':').ok_or_else(bad)?;
    if !NAMESPACES.contains(&kind) {
        return Err(bad());
    }
    set_namespace(spec, kind, path);
    Ok(())
}

fn set_namespace(spec: &mut Spec, kind: &str, path: &str) {
    let namespaces = &mut spec.linux().namespaces;
    let new = Namespace { kind: kind.into(), path: path.into() };
    match namespaces.iter_mut().find(|n| n.kind == kind) {
        Some(have) => *have = new,
        None => namespaces.push(new),
    }
}

fn map_ids(spec: &mut Spec, flags: &ContainerFlags) -> Result<()> {
    if flags.uidmap.is_empty() {
        return Ok(());
    }
    set_namespace(spec, "user", "");
    spec.linux().uid_mappings = id_mappings(&flags.uidmap)?;
    spec.linux().gid_mappings = id_mappings(&flags.gidmap)?;
    Ok(())
}

/// Reads `CONTAINER:HOST:LENGTH` ranges.
pub fn id_mappings(flags: &[String]) -> Result<Vec<IdMapping>> {
    flags
        .iter()
        .map(|text| {
            let parts: Vec<u32> = text.split(':').map_while(|n| n.parse().ok()).collect();
            match (parts.as_slice(), text.matches(':').count()) {
                ([container_id, host_id, size], 2) => {
                    Ok(IdMapping { container_id: *container_id, host_id: *host_id, size: *size })
                }
                _ => Err(Error::invalid(format!("id mapping {text:?} is not CONTAINER-ID:HOST-ID:LENGTH"))),
            }
        })
        .collect()
}

#[cfg(test)]
#[path = "spec_tests.rs"]
mod tests;
