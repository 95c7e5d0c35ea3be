//! Events as JSON: the fields of the messages under their protobuf names, empty ones left out.

use protos::api::events_types as e;
use protos::api::types::Mount;
use protos::api::{Any, images};
use serde_json::{Value, json};

use crate::cmd::flags::rfc3339;

/// An event as JSON. One of a type that is not known is given by its type and size.
pub fn json(any: &Any) -> Value {
    let known = container(any).or_else(|| task(any)).or_else(|| storage(any)).or_else(|| other(any));
    known.map_or_else(|| json!({ "type_url": any.type_url, "bytes": any.value.len() }), without_empty)
}

/// `as_json!(any, Type { a, b })`: the named fields, when the event is of that type.
macro_rules! as_json {
    ($any:expr, $type:ty { $($field:ident),* $(,)? }) => {
        if $any.is::<$type>() {
            let m: $type = $any.unpack().ok()?;
            return Some(json!({ $(stringify!($field): m.$field.shown()),* }));
        }
    };
}

fn container(any: &Any) -> Option<Value> {
    if any.is::<e::ContainerCreate>() {
        let m: e::ContainerCreate = any.unpack().ok()?;
        let runtime = m.runtime.map(|r| json!({ "name": r.name, "options": r.options.map(|o| o.type_url) }));
        return Some(json!({ "id": m.id, "image": m.image, "runtime": runtime }));
    }
    as_json!(any, e::ContainerUpdate { id, image, labels, snapshot_key });
    as_json!(any, e::ContainerDelete { id });
    as_json!(any, images::ImageCreate { name, labels });
    as_json!(any, images::ImageUpdate { name, labels });
    as_json!(any, images::ImageDelete { name });
    as_json!(any, e::NamespaceCreate { name, labels });
    as_json!(any, e::NamespaceUpdate { name, labels });
    as_json!(any, e::NamespaceDelete { name });
    None
}

fn task(any: &Any) -> Option<Value> {
    if any.is::<e::TaskCreate>() {
        let m: e::TaskCreate = any.unpack().ok()?;
        let io = m.io.map(
            |io| json!({ "stdin": io.stdin, "stdout": io.stdout, "stderr": io.stderr, "terminal": io.terminal }),
        );
        let rootfs: Vec<Value> = m.rootfs.iter().map(mount).collect();
        return Some(json!({
            "container_id": m.container_id, "bundle": m.bundle, "rootfs": rootfs, "io": io,
            "checkpoint": m.checkpoint, "pid": m.pid,
        }));
    }
    as_json!(any, e::TaskStart { container_id, pid });
    as_json!(any, e::TaskExit { container_id, id, pid, exit_status, exited_at });
    as_json!(any, e::TaskDelete { container_id, pid, exit_status, exited_at, id });
    as_json!(any, e::TaskOom { container_id });
    as_json!(any, e::TaskExecAdded { container_id, exec_id });
    as_json!(any, e::TaskExecStarted { container_id, exec_id, pid });
    as_json!(any, e::TaskPaused { container_id });
    as_json!(any, e::TaskResumed { container_id });
    as_json!(any, e::TaskCheckpointed { container_id, checkpoint });
    None
}

fn storage(any: &Any) -> Option<Value> {
    as_json!(any, e::SnapshotPrepare { key, parent, snapshotter });
    as_json!(any, e::SnapshotCommit { key, name, snapshotter });
    as_json!(any, e::SnapshotRemove { key, snapshotter });
    as_json!(any, e::ContentCreate { digest, size, media_type });
    as_json!(any, e::ContentDelete { digest });
    None
}

fn other(any: &Any) -> Option<Value> {
    as_json!(any, e::SandboxCreate { sandbox_id });
    as_json!(any, e::SandboxStart { sandbox_id });
    as_json!(any, e::SandboxExit { sandbox_id, exit_status, exited_at });
    None
}

fn mount(m: &Mount) -> Value {
    without_empty(json!({ "type": m.r#type, "source": m.source, "target": m.target, "options": m.options }))
}

/// A field as JSON.
trait Shown {
    fn shown(&self) -> Value;
}

impl Shown for String {
    fn shown(&self) -> Value {
        json!(self)
    }
}

impl Shown for u32 {
    fn shown(&self) -> Value {
        json!(self)
    }
}

impl Shown for i64 {
    fn shown(&self) -> Value {
        json!(self)
    }
}

impl Shown for std::collections::BTreeMap<String, String> {
    fn shown(&self) -> Value {
        json!(self)
    }
}

impl Shown for Option<prost_types::Timestamp> {
    fn shown(&self) -> Value {
        json!(self.as_ref().map(rfc3339))
    }
}

fn without_empty(value: Value) -> Value {
    let is_empty = |v: &Value| match v {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_i64() == Some(0),
        Value::String(s) => s.is_empty(),
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.is_empty(),
    };
    match value {
        Value::Object(fields) => {
            let kept = fields.into_iter().map(|(k, v)| (k, without_empty(v))).filter(|(_, v)| !is_empty(v));
            Value::Object(kept.collect())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn fields_are_named_and_empty_ones_left_out() {
        let exit = e::TaskExit { container_id: "c".into(), id: "c".into(), pid: 7, ..Default::default() };
        assert_eq!(json(&Any::pack(&exit)), json!({ "container_id": "c", "id": "c", "pid": 7 }));
        let create = e::TaskCreate {
            container_id: "c".into(),
            io: Some(e::TaskIo { stdout: "/x".into(), ..Default::default() }),
            ..Default::default()
        };
        assert_eq!(json(&Any::pack(&create)), json!({ "container_id": "c", "io": { "stdout": "/x" } }));
    }

    #[test]
    fn an_unknown_type_is_named() {
        let any = Any { type_url: "x.Y".into(), value: vec![1, 2].into() };
        assert_eq!(json(&any), json!({ "type_url": "x.Y", "bytes": 2 }));
    }
}
