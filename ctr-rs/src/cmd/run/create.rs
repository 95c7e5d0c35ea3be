//! Making a container: image -> snapshot -> spec -> record, under a lease until the record holds it all.

use std::collections::BTreeMap;
use std::path::Path;

use base::labels::{is_reserved, validate_label};
use protos::api::Any;
use protos::api::containers::container::Runtime;
use protos::api::containers::{Container, CreateContainerRequest, DeleteContainerRequest};
use protos::api::runc_options::Options as RuncOptions;
use protos::api::snapshots::{PrepareSnapshotRequest, RemoveSnapshotRequest};
use protos::api::types::Mount;

use super::flags::{ContainerFlags, RuntimeFlags};
use super::spec::{self, Source};
use crate::client::image::{self, Resolved};
use crate::client::retry::{CLEANUP_PATIENCE, until_answered};
use crate::client::{Client, lease, unpack};
use crate::cmd::flags::{labels, matcher};
use crate::error::{Answered, Error, Result};
use crate::io::output::{warn, warn_error};
use crate::spec::rootfs::Rootfs;
use crate::task::call::spec_any;
use crate::task::signals::Signals;

const STOP_SIGNAL_LABEL: &str = "io.containerd.image.config.stop-signal";
const DEFAULT_STOP_SIGNAL: &str = "SIGTERM";

/// What the words after the flags say.
#[derive(Debug)]
pub struct Words<'a> {
    /// Image, or directory with `--rootfs`; empty with `--config`.
    pub source: &'a str,
    /// Id of the container.
    pub id: &'a str,
    /// Command, in place of the image's.
    pub args: &'a [String],
}

impl<'a> Words<'a> {
    /// Sorts the words.
    pub fn read(words: &'a [String], flags: &ContainerFlags) -> Result<Self> {
        match (flags.config.is_some(), words) {
            (true, [id]) => Ok(Words { source: "", id, args: &[] }),
            (true, _) => Err(Error::invalid("with --config only the container's id is given")),
            (false, [source, id, args @ ..]) => Ok(Words { source, id, args }),
            (false, [_]) => Err(Error::invalid("a container id must be given after the image")),
            (false, []) => Err(Error::invalid("an image and a container id must be given")),
        }
    }
}

/// A container that was made.
#[derive(Debug)]
pub struct Created {
    /// Its record.
    pub container: Container,
    /// What its task's root file system is mounted from; none with `--rootfs` and `--config`.
    pub rootfs: Vec<Mount>,
    /// Whether its process has a terminal.
    pub terminal: bool,
    /// Owner of the standard streams, in a user namespace.
    pub io_owner: (u32, u32),
    lease: Option<String>,
}

impl Created {
    /// Ends the lease: the container's record holds everything now.
    pub async fn end_lease(&mut self, client: &Client) {
        if let Some(lease) = self.lease.take()
            && let Err(e) = lease::delete(client, &lease).await
        {
            warn_error(&e);
        }
    }
}

/// Makes a container. When it fails or is interrupted, nothing is left of it.
pub async fn create(
    client: &Client,
    flags: &ContainerFlags,
    words: &Words<'_>,
    signals: &Signals,
) -> Result<Created> {
    base::ContainerId::new(words.id).map_err(|e| Error::refused("container id cannot be used", e))?;
    let mut made = Made { client: client.clone(), lease: None, snapshot: None, container: None };
    match steps(&mut made, flags, words, signals).await {
        Ok(created) => Ok(created),
        Err(e) => {
            made.undo().await;
            Err(e)
        }
    }
}

async fn steps(
    made: &mut Made,
    flags: &ContainerFlags,
    words: &Words<'_>,
    signals: &Signals,
) -> Result<Created> {
    let client = made.client.clone();
    let mut record = Container {
        id: words.id.into(),
        runtime: Some(Runtime { name: flags.runtime.runtime.clone(), options: options(flags)? }),
        sandbox: flags.sandbox.clone().unwrap_or_default(),
        labels: labels(&flags.label),
        ..Container::default()
    };
    let mut rootfs = Vec::new();
    let spec = if let Some(path) = &flags.config {
        spec::from_file(flags, path)?
    } else if flags.rootfs {
        let directory = std::path::absolute(words.source)
            .map_err(Error::io(format!("root file system {} cannot be used", words.source)))?;
        let text = directory.to_string_lossy();
        let source =
            Source { image: None, rootfs: Rootfs::Dir(Path::new(&directory)), directory: Some(&text) };
        spec::build(flags, client.namespace().as_str(), words.id, words.args, &source)?
    } else {
        let image = prepare(made, flags, words, signals, &mut record).await?;
        signals.check()?;
        rootfs = image.1;
        let source =
            Source { image: Some(&image.0.config), rootfs: Rootfs::Mounts(&rootfs), directory: None };
        spec::build(flags, client.namespace().as_str(), words.id, words.args, &source)?
    };
    record.spec = Some(spec_any(base::any::type_url::SPEC, &spec)?);
    let terminal = spec.process.as_ref().is_some_and(|p| p.terminal);
    let linux = spec.linux.unwrap_or_default();
    let owner = |mappings: &[crate::spec::model::IdMapping]| mappings.first().map_or(0, |m| m.host_id);
    let io_owner = (owner(&linux.uid_mappings), owner(&linux.gid_mappings));

    let client = made.scoped()?;
    let request = CreateContainerRequest { container: Some(record.clone()) };
    let create = async {
        client.containers().create(request).await.or_say(format!("cannot create container {}", words.id))
    };
    signals.guard(create).await?;
    made.container = Some(words.id.into());
    signals.check()?;
    Ok(Created { container: record, rootfs, terminal, io_owner, lease: made.lease.take() })
}

/// Image and snapshot of a container: everything that is not yet there is made.
async fn prepare(
    made: &mut Made,
    flags: &ContainerFlags,
    words: &Words<'_>,
    signals: &Signals,
    record: &mut Container,
) -> Result<(Resolved, Vec<Mount>)> {
    let client = made.client.clone();
    let platform = matcher(flags.platform.as_ref())?;
    let find = async {
        let found = image::get(&client, words.source).await?;
        let resolved = image::resolve(&client, &image::target(&found)?, &platform).await?;
        Ok((found, resolved))
    };
    let all = async { Ok(tokio::join!(find, lease::create(&client), flags.snapshotter.resolve(&client))) };
    let (found, lease, snapshotter) = signals.guard(all).await?;
    made.lease = lease.as_ref().ok().cloned();
    let ((found, resolved), snapshotter) = (found?, snapshotter?);
    lease?;
    signals.check()?;

    let client = made.scoped()?;
    let request = PrepareSnapshotRequest {
        snapshotter: snapshotter.clone(),
        key: words.id.into(),
        parent: resolved.chain_id(),
        labels: snapshot_labels(flags)?,
    };
    let prepare = signals.guard(prepare_snapshot(&client, request, &resolved, flags.sync_fs));
    let mounts = prepare.await?;
    made.snapshot = Some((snapshotter.clone(), words.id.into()));

    record.image.clone_from(&found.name);
    record.snapshotter = snapshotter;
    record.snapshot_key = words.id.into();
    record.labels = container_labels(&found.labels, &resolved, &flags.label);
    Ok((resolved, mounts))
}

/// Prepares the snapshot; an image that is here but not unpacked is unpacked first.
async fn prepare_snapshot(
    client: &Client,
    request: PrepareSnapshotRequest,
    image: &Resolved,
    sync_fs: bool,
) -> Result<Vec<Mount>> {
    let what = || format!("cannot prepare snapshot {}", request.key);
    match client.snapshots().prepare(request.clone()).await.or_say(what()) {
        Err(e) if e.is_not_found() => {
            unpack::unpack(client, image, &request.snapshotter, sync_fs).await?;
            Ok(client.snapshots().prepare(request.clone()).await.or_say(what())?.mounts)
        }
        answer => Ok(answer?.mounts),
    }
}

fn snapshot_labels(flags: &ContainerFlags) -> Result<BTreeMap<String, String>> {
    let mut all = labels(&flags.snapshotter_label);
    if !flags.uidmap.is_empty() {
        if !flags.remap_labels {
            return Err(Error::invalid(
                "--uidmap and --gidmap need --remap-labels: the snapshotter maps the ids",
            ));
        }
        all.insert(base::labels::snapshot::UID_MAPPING.into(), flags.uidmap.join(","));
        all.insert(base::labels::snapshot::GID_MAPPING.into(), flags.gidmap.join(","));
    }
    Ok(all)
}

/// Labels of the image's config and record, then our own. What containerd gives a meaning to is never taken from a config.
fn container_labels(
    record: &BTreeMap<String, String>,
    image: &Resolved,
    flags: &[String],
) -> BTreeMap<String, String> {
    let config = &image.config.config;
    let mut all = BTreeMap::new();
    for (key, value) in config.labels.iter().filter(|(key, _)| !is_reserved(key)).chain(record) {
        match validate_label(key, value) {
            Ok(()) => {
                all.insert(key.clone(), value.clone());
            }
            Err(e) => warn(format!("a label of the image is left out: {e}")),
        }
    }
    let stop = if config.stop_signal.is_empty() { DEFAULT_STOP_SIGNAL } else { &config.stop_signal };
    all.insert(STOP_SIGNAL_LABEL.into(), stop.into());
    all.extend(labels(flags));
    all
}

/// What the runtime is told.
fn options(flags: &ContainerFlags) -> Result<Option<Any>> {
    let RuntimeFlags { runtime, runtime_config_path, runc_binary, runc_root, runc_systemd_cgroup } =
        &flags.runtime;
    if runtime != base::defaults::RUNTIME {
        if runc_binary.is_some() || *runc_systemd_cgroup {
            let ours = base::defaults::RUNTIME;
            return Err(Error::invalid(format!(
                "--runc-binary and --runc-systemd-cgroup are for runtime {ours}"
            )));
        }
        return Ok(runtime_config_path.as_ref().map(|path| {
            Any::pack(&protos::api::runtimeoptions::Options {
                config_path: path.clone(),
                ..Default::default()
            })
        }));
    }
    if *runc_systemd_cgroup && flags.limits.cgroup.as_deref().unwrap_or_default().is_empty() {
        return Err(Error::invalid(
            "--runc-systemd-cgroup needs --cgroup, such as machine.slice:prefix:name",
        ));
    }
    Ok(Some(Any::pack(&RuncOptions {
        binary_name: runc_binary.clone().unwrap_or_default(),
        root: runc_root.clone().unwrap_or_default(),
        systemd_cgroup: *runc_systemd_cgroup,
        ..RuncOptions::default()
    })))
}

/// What has been made so far, to be undone when a later step fails.
struct Made {
    client: Client,
    lease: Option<String>,
    snapshot: Option<(String, String)>,
    container: Option<String>,
}

impl Made {
    fn scoped(&self) -> Result<Client> {
        match &self.lease {
            Some(lease) => self.client.under_lease(lease),
            None => Ok(self.client.clone()),
        }
    }

    async fn undo(self) {
        let Made { client, lease, snapshot, container } = self;
        let snapshot = snapshot.as_ref().map(|(snapshotter, key)| (snapshotter.as_str(), key.as_str()));
        if let Err(e) = remove(&client, container.as_deref(), snapshot).await {
            warn_error(&e);
        }
        if let Some(lease) = lease
            && let Err(e) = lease::delete(&client, &lease).await
        {
            warn_error(&e);
        }
    }
}

/// Removes a container's record and its snapshot; what is gone is fine.
pub async fn remove(client: &Client, container: Option<&str>, snapshot: Option<(&str, &str)>) -> Result<()> {
    let fine = |result: Result<()>| match result {
        Err(e) if e.is_not_found() => Ok(()),
        result => result,
    };
    let record = async {
        let Some(id) = container else { return Ok(()) };
        fine(
            until_answered(CLEANUP_PATIENCE, || async {
                let request = DeleteContainerRequest { id: id.to_owned() };
                client.containers().delete(request).await.or_say(format!("cannot remove container {id}"))
            })
            .await,
        )
    };
    let files = async {
        let Some((snapshotter, key)) = snapshot else { return Ok(()) };
        fine(
            until_answered(CLEANUP_PATIENCE, || async {
                let request = RemoveSnapshotRequest { snapshotter: snapshotter.into(), key: key.into() };
                client.snapshots().remove(request).await.or_say(format!("cannot remove snapshot {key}"))
            })
            .await,
        )
    };
    let (record, files) = tokio::join!(record, files);
    record.and(files)
}
