//! Between wire messages and the daemon's own types. Nothing is decided here; what does not fit is an invalid argument.

use std::time::SystemTime;

use base::{Any, Descriptor, Digest, Mount};
use prost_types::Timestamp;
use protos::api;
use tonic::Status;

use crate::status::{invalid, status};

pub(crate) fn timestamp(time: SystemTime) -> Timestamp {
    let (seconds, nanos) = base::timestamp::to_parts(time);
    Timestamp { seconds, nanos }
}

pub(crate) fn time(stamp: &Timestamp) -> Result<SystemTime, Status> {
    base::timestamp::from_parts(stamp.seconds, stamp.nanos).map_err(|e| invalid(base::chain(&e)))
}

pub(crate) fn any_in(any: api::Any) -> Any {
    Any { type_url: any.type_url, value: any.value }
}

pub(crate) fn any_out(any: Any) -> api::Any {
    api::Any { type_url: any.type_url, value: any.value }
}

pub(crate) fn digest(text: &str) -> Result<Digest, Status> {
    Digest::parse(text).map_err(|e| invalid(base::chain(&e)))
}

pub(crate) fn mask(mask: Option<prost_types::FieldMask>) -> Vec<String> {
    mask.map(|m| m.paths).unwrap_or_default()
}

pub(crate) fn filters(filters: &[String]) -> Result<base::filter::FilterSet, Status> {
    base::filter::FilterSet::parse(filters).map_err(|e| invalid(base::chain(&e)))
}

pub(crate) fn descriptor_in(d: api::types::Descriptor) -> Result<Descriptor, Status> {
    let mut out = Descriptor::new(d.media_type, digest(&d.digest)?, d.size);
    out.annotations = d.annotations;
    Ok(out)
}

pub(crate) fn descriptor_out(d: &Descriptor) -> api::types::Descriptor {
    api::types::Descriptor {
        media_type: d.media_type.clone(),
        digest: d.digest.to_string(),
        size: d.size,
        annotations: d.annotations.clone(),
    }
}

pub(crate) fn mount_in(m: api::types::Mount) -> Mount {
    Mount { fstype: m.r#type, source: m.source, target: m.target, options: m.options }
}

pub(crate) fn mount_out(m: Mount) -> api::types::Mount {
    api::types::Mount { r#type: m.fstype, source: m.source, target: m.target, options: m.options }
}

pub(crate) fn mounts_in(mounts: Vec<api::types::Mount>) -> Vec<Mount> {
    mounts.into_iter().map(mount_in).collect()
}

pub(crate) fn mounts_out(mounts: Vec<Mount>) -> Vec<api::types::Mount> {
    mounts.into_iter().map(mount_out).collect()
}

pub(crate) fn platform_out(p: &base::Platform) -> api::types::Platform {
    api::types::Platform {
        os: p.os.clone(),
        architecture: p.architecture.clone(),
        variant: p.variant.clone(),
        os_version: p.os_version.clone(),
        os_features: p.os_features.clone(),
    }
}

pub(crate) fn platform_in(p: api::types::Platform) -> base::Platform {
    base::Platform {
        os: p.os,
        architecture: p.architecture,
        variant: p.variant,
        os_version: p.os_version,
        os_features: p.os_features,
    }
}

pub(crate) fn runtime_in(r: api::containers::container::Runtime) -> store::RuntimeInfo {
    store::RuntimeInfo { name: r.name, options: r.options.map(any_in) }
}

pub(crate) fn container_in(c: api::containers::Container) -> store::Container {
    let now = SystemTime::UNIX_EPOCH;
    store::Container {
        id: c.id,
        labels: c.labels,
        image: c.image,
        runtime: c.runtime.map(runtime_in).unwrap_or_default(),
        spec: c.spec.map(any_in),
        snapshotter: c.snapshotter,
        snapshot_key: c.snapshot_key,
        created_at: now,
        updated_at: now,
        extensions: c.extensions.into_iter().map(|(k, v)| (k, any_in(v))).collect(),
        sandbox_id: c.sandbox,
    }
}

pub(crate) fn container_out(c: store::Container) -> api::containers::Container {
    api::containers::Container {
        id: c.id,
        labels: c.labels,
        image: c.image,
        runtime: Some(api::containers::container::Runtime {
            name: c.runtime.name,
            options: c.runtime.options.map(any_out),
        }),
        spec: c.spec.map(any_out),
        snapshotter: c.snapshotter,
        snapshot_key: c.snapshot_key,
        created_at: Some(timestamp(c.created_at)),
        updated_at: Some(timestamp(c.updated_at)),
        extensions: c.extensions.into_iter().map(|(k, v)| (k, any_out(v))).collect(),
        sandbox: c.sandbox_id,
    }
}

pub(crate) fn image_in(i: api::images::Image) -> Result<store::Image, Status> {
    let target = i.target.ok_or_else(|| invalid("image target must be set"))?;
    Digest::parse(&target.digest)
        .map_err(|e| invalid(format!("target.Digest {:?} invalid: {}", target.digest, base::chain(&e))))?;
    let now = SystemTime::UNIX_EPOCH;
    Ok(store::Image {
        name: i.name,
        labels: i.labels,
        target: descriptor_in(target)?,
        created_at: now,
        updated_at: now,
    })
}

pub(crate) fn image_out(i: store::Image) -> api::images::Image {
    api::images::Image {
        name: i.name,
        labels: i.labels,
        target: Some(descriptor_out(&i.target)),
        created_at: Some(timestamp(i.created_at)),
        updated_at: Some(timestamp(i.updated_at)),
    }
}

pub(crate) fn envelope_out(e: &events::Envelope) -> api::types::Envelope {
    api::types::Envelope {
        timestamp: Some(timestamp(e.timestamp)),
        namespace: e.namespace.clone(),
        topic: e.topic.clone(),
        event: Some(any_out(e.event.clone())),
    }
}

pub(crate) fn envelope_in(e: api::types::Envelope) -> Result<events::Envelope, Status> {
    let stamp = e.timestamp.ok_or_else(|| invalid("timestamp must be set on forwarded event"))?;
    Ok(events::Envelope {
        timestamp: time(&stamp)?,
        namespace: e.namespace,
        topic: e.topic,
        event: e.event.map(any_in).unwrap_or_default(),
    })
}

pub(crate) fn lease_out(l: store::Lease) -> api::leases::Lease {
    api::leases::Lease { id: l.id, created_at: Some(timestamp(l.created_at)), labels: l.labels }
}

pub(crate) fn resource_out(r: store::Resource) -> api::leases::Resource {
    api::leases::Resource { id: r.id, r#type: r.kind }
}

pub(crate) fn resource_in(r: Option<api::leases::Resource>) -> Result<store::Resource, Status> {
    let r = r.ok_or_else(|| invalid("resource must be set"))?;
    Ok(store::Resource { id: r.id, kind: r.r#type })
}

/// A namespace that came in a message rather than in metadata.
pub(crate) fn namespace(name: &str) -> Result<base::Namespace, Status> {
    base::Namespace::new(name)
        .map_err(|e| status(base::Error::invalid(format!("namespace: {}", base::chain(&e)))))
}

pub(crate) fn runtime_info_out(info: runtime::RuntimeInfo) -> api::Any {
    let message = api::types::RuntimeInfo {
        name: info.name,
        version: Some(api::types::RuntimeVersion { version: info.version, revision: info.revision }),
        options: info.options.map(any_out),
        features: info.features.map(any_out),
        annotations: info.annotations,
    };
    api::Any::pack(&message)
}

pub(crate) fn process_out(p: runtime::ProcessState) -> api::types_task::Process {
    use api::types_task::Status as Wire;
    let status = match p.status {
        runtime::Status::Unknown => Wire::Unknown,
        runtime::Status::Created => Wire::Created,
        runtime::Status::Running => Wire::Running,
        runtime::Status::Stopped => Wire::Stopped,
        runtime::Status::Paused => Wire::Paused,
        runtime::Status::Pausing => Wire::Pausing,
    };
    api::types_task::Process {
        // containerd repeats the container's id here for the first process.
        id: if p.exec_id.is_empty() { p.container_id.clone() } else { p.exec_id },
        container_id: p.container_id,
        pid: p.pid,
        status: status.into(),
        stdin: p.stdin,
        stdout: p.stdout,
        stderr: p.stderr,
        terminal: p.terminal,
        exit_status: p.exit_status,
        // Go's zero time stands for "not yet": clients expect the field to be there.
        exited_at: Some(timestamp(p.exited_at.unwrap_or_else(base::timestamp::zero))),
    }
}
