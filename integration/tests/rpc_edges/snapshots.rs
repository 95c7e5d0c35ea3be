//! The snapshots service.

use integration::rpc::{Rpc, case, contract};
use protos::api::snapshots::*;
use tonic::{Code, Status};

use crate::making::{all, labels, long_label, mask, rooted, strings};

const NAME: &str = "overlayfs";

fn prepare(snapshotter: &str, key: &str, parent: &str) -> PrepareSnapshotRequest {
    let labels = rooted();
    PrepareSnapshotRequest { snapshotter: snapshotter.into(), key: key.into(), parent: parent.into(), labels }
}

fn commit(name: &str, key: &str, parent: &str) -> CommitSnapshotRequest {
    let labels = rooted();
    CommitSnapshotRequest {
        snapshotter: NAME.into(),
        name: name.into(),
        key: key.into(),
        parent: parent.into(),
        labels,
    }
}

async fn names(rpc: Rpc, snapshotter: &str, filters: Vec<String>) -> Result<Vec<String>, Status> {
    let request = ListSnapshotsRequest { snapshotter: snapshotter.into(), filters };
    let batches = all(rpc.snapshots().list(request).await).await?;
    Ok(batches.into_iter().flat_map(|b| b.info).map(|i| i.name).collect())
}

async fn set_up(rpc: &Rpc) -> anyhow::Result<()> {
    let mut s = rpc.snapshots();
    s.prepare(prepare(NAME, "base-key", "")).await?;
    s.commit(commit("base", "base-key", "")).await?;
    s.prepare(prepare(NAME, "child-key", "base")).await?;
    s.commit(commit("child", "child-key", "")).await?;
    s.prepare(PrepareSnapshotRequest {
        labels: labels(&[("app", "x"), ("containerd.io/gc.root", "x")]),
        ..prepare(NAME, "active", "child")
    })
    .await?;
    s.view(ViewSnapshotRequest {
        snapshotter: NAME.into(),
        key: "view".into(),
        parent: "base".into(),
        labels: labels(&[("containerd.io/gc.root", "x")]),
    })
    .await?;
    Ok(())
}

#[test]
fn snapshots() {
    contract("snaps", async |rpc| {
        set_up(&rpc.within("edges")).await?;
        let make = |request: PrepareSnapshotRequest| {
            let mut r = request;
            r.snapshotter = if r.snapshotter.is_empty() { NAME.into() } else { r.snapshotter };
            move |rpc: Rpc| async move { rpc.within("edges").snapshots().prepare(r).await }
        };
        let view = |key: &'static str, parent: &'static str| {
            let r = ViewSnapshotRequest {
                snapshotter: NAME.into(),
                key: key.into(),
                parent: parent.into(),
                ..Default::default()
            };
            move |rpc: Rpc| async move { rpc.within("edges").snapshots().view(r).await }
        };
        let seal = |request: CommitSnapshotRequest| {
            move |rpc: Rpc| async move { rpc.within("edges").snapshots().commit(request).await }
        };
        let mounts = |key: &'static str| {
            let r = MountsRequest { snapshotter: NAME.into(), key: key.into() };
            move |rpc: Rpc| async move { rpc.within("edges").snapshots().mounts(r).await }
        };
        let remove = |key: &'static str| {
            let r = RemoveSnapshotRequest { snapshotter: NAME.into(), key: key.into() };
            move |rpc: Rpc| async move { rpc.within("edges").snapshots().remove(r).await }
        };
        let stat = |key: &'static str| {
            let r = StatSnapshotRequest { snapshotter: NAME.into(), key: key.into() };
            move |rpc: Rpc| async move { rpc.within("edges").snapshots().stat(r).await }
        };
        let usage = |key: &'static str| {
            let r = UsageRequest { snapshotter: NAME.into(), key: key.into() };
            move |rpc: Rpc| async move { rpc.within("edges").snapshots().usage(r).await }
        };
        let change = |name: &'static str, paths: &'static [&'static str], change: fn(&mut Info)| {
            let mut info = Info {
                name: name.into(),
                labels: labels(&[("k", "v"), ("containerd.io/gc.root", "x")]),
                ..Default::default()
            };
            change(&mut info);
            let r = UpdateSnapshotRequest {
                snapshotter: NAME.into(),
                info: Some(info),
                update_mask: mask(paths),
            };
            move |rpc: Rpc| async move { rpc.within("edges").snapshots().update(r).await }
        };
        let list = |filters: &'static [&'static str]| {
            move |rpc: Rpc| async move { names(rpc.within("edges"), NAME, strings(filters)).await }
        };
        let mut cases = Vec::new();
        for (what, name) in [
            ("an empty snapshotter", ""),
            ("a snapshotter that nobody knows", "nonsense"),
            ("a snapshotter with a path in it", "../overlayfs"),
        ] {
            cases.extend([
                case(format!("prepare in {what}"), Code::InvalidArgument, "", move |rpc: Rpc| async move {
                    rpc.within("edges").snapshots().prepare(prepare(name, "k", "")).await
                })
                .older(),
                case(format!("view in {what}"), Code::InvalidArgument, "", move |rpc: Rpc| async move {
                    rpc.within("edges")
                        .snapshots()
                        .view(ViewSnapshotRequest {
                            snapshotter: name.into(),
                            key: "k".into(),
                            ..Default::default()
                        })
                        .await
                })
                .older(),
                case(format!("mounts in {what}"), Code::InvalidArgument, "", move |rpc: Rpc| async move {
                    rpc.within("edges")
                        .snapshots()
                        .mounts(MountsRequest { snapshotter: name.into(), key: "k".into() })
                        .await
                })
                .older(),
                case(format!("commit in {what}"), Code::InvalidArgument, "", move |rpc: Rpc| async move {
                    rpc.within("edges")
                        .snapshots()
                        .commit(CommitSnapshotRequest { snapshotter: name.into(), ..commit("n", "k", "") })
                        .await
                })
                .older(),
                case(format!("remove in {what}"), Code::InvalidArgument, "", move |rpc: Rpc| async move {
                    rpc.within("edges")
                        .snapshots()
                        .remove(RemoveSnapshotRequest { snapshotter: name.into(), key: "k".into() })
                        .await
                })
                .older(),
                case(format!("stat in {what}"), Code::InvalidArgument, "", move |rpc: Rpc| async move {
                    rpc.within("edges")
                        .snapshots()
                        .stat(StatSnapshotRequest { snapshotter: name.into(), key: "k".into() })
                        .await
                })
                .older(),
                case(format!("update in {what}"), Code::InvalidArgument, "", move |rpc: Rpc| async move {
                    let r = UpdateSnapshotRequest {
                        snapshotter: name.into(),
                        info: Some(Info::default()),
                        update_mask: None,
                    };
                    rpc.within("edges").snapshots().update(r).await
                })
                .older(),
                case(format!("list in {what}"), Code::InvalidArgument, "", move |rpc: Rpc| {
                    names(rpc.within("edges"), name, vec![])
                })
                .older(),
                case(format!("usage in {what}"), Code::InvalidArgument, "", move |rpc: Rpc| async move {
                    rpc.within("edges")
                        .snapshots()
                        .usage(UsageRequest { snapshotter: name.into(), key: "k".into() })
                        .await
                })
                .older(),
                case(format!("cleanup in {what}"), Code::InvalidArgument, "", move |rpc: Rpc| async move {
                    rpc.within("edges").snapshots().cleanup(CleanupRequest { snapshotter: name.into() }).await
                })
                .older(),
            ]);
        }
        cases.extend([
            case("prepare with an empty key", Code::Unknown, "bucket name required", make(prepare("", "", ""))).ours(Code::InvalidArgument, "must not be empty", "the original loses the kind of its own error"),
            case("prepare of a key that is there", Code::AlreadyExists, "snapshot \"active\": already exists", make(prepare("", "active", ""))).older(),
            case("prepare of a committed name", Code::AlreadyExists, "snapshot \"base\": already exists", make(prepare("", "base", ""))).older(),
            case("prepare on a parent that is not there", Code::NotFound, "parent snapshot nope does not exist: not found", make(prepare("", "k1", "nope"))).older(),
            case("prepare on an active parent", Code::InvalidArgument, "parent \"edges/*/active\" is not committed snapshot: invalid argument", make(prepare("", "k1", "active"))),
            case("prepare on a view", Code::InvalidArgument, "parent \"edges/*/view\" is not committed snapshot: invalid argument", make(prepare("", "k1", "view"))),
            case("prepare on itself", Code::NotFound, "parent snapshot k1 does not exist: not found", make(prepare("", "k1", "k1"))),
            case("prepare with a label that is too long", Code::InvalidArgument, "info.Labels: label key and value*greater than maximum size (4096 bytes), key: key: invalid argument", make(PrepareSnapshotRequest { labels: long_label(), ..prepare("", "k1", "") })).older(),
            case("prepare with a key of 30000 bytes", Code::Ok, "", make(prepare("", &"k".repeat(30000), ""))),
            case("prepare with a key with a path in it", Code::Ok, "", make(prepare("", "../../x", ""))),
            case("prepare of a target that is there", Code::AlreadyExists, "target snapshot \"child\": already exists", make(PrepareSnapshotRequest {
                labels: labels(&[("containerd.io/snapshot.ref", "child")]), ..prepare("", "k2", "base")
            })),
            case("prepare of a target that is not there", Code::Ok, "", make(PrepareSnapshotRequest {
                labels: labels(&[("containerd.io/snapshot.ref", "missing")]), ..prepare("", "k3", "base")
            })),
            case("prepare in a namespace that does not have the parent", Code::NotFound, "parent snapshot base does not exist: not found", |rpc| async move {
                rpc.within("other").snapshots().prepare(prepare(NAME, "k", "base")).await
            }).older(),
            case("view of a key that is there", Code::AlreadyExists, "snapshot \"view\": already exists", view("view", "")).older(),
            case("view with an empty key", Code::Unknown, "bucket name required", view("", "base")).ours(Code::InvalidArgument, "must not be empty", "the original loses the kind of its own error"),
            case("view of a parent that is not there", Code::NotFound, "parent snapshot nope does not exist: not found", view("v1", "nope")).older(),
            case("view of an active parent", Code::InvalidArgument, "parent \"edges/*/active\" is not committed snapshot: invalid argument", view("v1", "active")),
            case("view of nothing", Code::Ok, "bind", view("v2", "")).older(),
            case("mounts of a key that is not there", Code::NotFound, "snapshot nope does not exist: not found", mounts("nope")).older(),
            case("mounts of an empty key", Code::NotFound, "snapshot  does not exist: not found", mounts("")),
            case("mounts of a committed snapshot", Code::FailedPrecondition, "failed to get active mount: requested snapshot edges/*/base not active or view: failed precondition", mounts("base")),
            case("mounts of another namespace's", Code::NotFound, "snapshot active does not exist: not found", |rpc| async move {
                rpc.within("other").snapshots().mounts(MountsRequest { snapshotter: NAME.into(), key: "active".into() }).await
            }).older(),
            case("mounts", Code::Ok, "overlay", mounts("active")).older(),
            case("commit of a key that is not there", Code::NotFound, "snapshot nope does not exist: not found", seal(commit("n1", "nope", ""))).older(),
            case("commit of an empty key", Code::NotFound, "snapshot  does not exist: not found", seal(commit("n1", "", ""))),
            case("commit without a name", Code::Unknown, "bucket name required", seal(commit("", "active", ""))).ours(Code::InvalidArgument, "must not be empty", "the original loses the kind of its own error"),
            case("commit to a name that is there", Code::AlreadyExists, "snapshot \"child\": already exists", seal(commit("child", "active", ""))).older(),
            case("commit to its own key", Code::AlreadyExists, "snapshot \"../../x\": already exists", seal(commit("../../x", "../../x", ""))),
            case("commit of a committed snapshot", Code::FailedPrecondition, "snapshot \"edges/*/base\" is not active: failed precondition", seal(commit("n1", "base", ""))),
            case("commit of a view", Code::FailedPrecondition, "snapshot \"edges/*/view\" is not active: failed precondition", seal(commit("n1", "view", ""))),
            case("commit with a label that is too long", Code::InvalidArgument, "info.Labels: label key and value*greater than maximum size (4096 bytes), key: key: invalid argument", seal(CommitSnapshotRequest { labels: long_label(), ..commit("n1", "active", "") })).older(),
            case("commit onto the parent it has", Code::Ok, "", |rpc| async move {
                let rpc = rpc.within("edges");
                rpc.snapshots().prepare(prepare(NAME, "same", "base")).await?;
                rpc.snapshots().commit(commit("same-done", "same", "base")).await
            }),
            case("commit onto another parent", Code::Ok, "parent: \"child\"", |rpc| async move {
                let rpc = rpc.within("edges");
                rpc.snapshots().prepare(prepare(NAME, "moved", "child")).await?;
                let committed = rpc.snapshots().commit(commit("moved-done", "moved", "base")).await;
                let key = if committed.is_ok() { "moved-done" } else { "moved" };
                let stat = rpc.snapshots().stat(StatSnapshotRequest { snapshotter: NAME.into(), key: key.into() }).await;
                rpc.snapshots().remove(RemoveSnapshotRequest { snapshotter: NAME.into(), key: key.into() }).await?;
                committed.and(stat)
            }).ours(Code::InvalidArgument, "cannot change parent of active snapshot", "what was asked for is not done, so it is refused; the original keeps the parent and says nothing"),
            case("commit onto a parent that is not there", Code::NotFound, "", |rpc| async move {
                let rpc = rpc.within("edges");
                rpc.snapshots().prepare(prepare(NAME, "lone", "")).await?;
                rpc.snapshots().commit(commit("n1", "lone", "nope")).await
            }),
            case("commit onto an active parent", Code::FailedPrecondition, "", seal(commit("n1", "lone", "active"))),
            case("commit onto a first parent", Code::Ok, "", seal(commit("n2", "lone", "base"))),
            case("remove of one that is not there", Code::NotFound, "snapshot nope does not exist: not found", remove("nope")).older(),
            case("remove of an empty key", Code::NotFound, "snapshot  does not exist: not found", remove("")),
            case("remove of one with children", Code::FailedPrecondition, "cannot remove snapshot with child: failed precondition", remove("child")).older(),
            case("remove of another namespace's", Code::NotFound, "snapshot active does not exist: not found", |rpc| async move {
                rpc.within("other").snapshots().remove(RemoveSnapshotRequest { snapshotter: NAME.into(), key: "active".into() }).await
            }).older(),
            case("stat of one that is not there", Code::NotFound, "snapshot nope does not exist: not found", stat("nope")).older(),
            case("stat of an empty key", Code::NotFound, "snapshot  does not exist: not found", stat("")),
            case("stat", Code::Ok, "name: \"active\", parent: \"child\", kind: Active*{\"app\": \"x\"", stat("active")).older(),
            case("usage of one that is not there", Code::NotFound, "snapshot nope does not exist: not found", usage("nope")).older(),
            case("usage of an empty key", Code::NotFound, "snapshot  does not exist: not found", usage("")),
            case("usage", Code::Ok, "", usage("active")).older(),
            case("update without info", Code::InvalidArgument, "", |rpc| async move {
                let r = UpdateSnapshotRequest { snapshotter: NAME.into(), info: None, update_mask: None };
                rpc.within("edges").snapshots().update(r).await
            }).only_ours("the original dies of it"),
            case("update of one that is not there", Code::NotFound, "", change("nope", &["labels"], |_| {})).older(),
            case("update without a name", Code::InvalidArgument, "invalid argument", change("", &["labels"], |_| {})),
            case("update of the parent", Code::InvalidArgument, "", change("active", &["parent"], |_| {})).older(),
            case("update of a field that nobody knows", Code::InvalidArgument, "", change("active", &["nonsense"], |_| {})).older(),
            case("update with a label that is too long", Code::InvalidArgument, "", change("active", &["labels"], |i| i.labels = long_label())).older(),
            case("update of one label", Code::Ok, "\"app\": \"x\"*\"k\": \"v\"", change("active", &["labels.k"], |_| {})).older(),
            case("update of everything", Code::Ok, "labels: {\"containerd.io/gc.root\": \"x\", \"k\": \"v\"}", change("active", &[], |_| {})).older(),
            case("update of labels and of the parent", Code::InvalidArgument, "", change("active", &["labels", "parent"], |i| i.labels.clear())),
            case("its labels are as they were", Code::Ok, "labels: {\"containerd.io/gc.root\": \"x\", \"k\": \"v\"}", stat("active")),
            case("list by kind", Code::Ok, "[\"base\", \"child\", \"n2\", \"same-done\"]", list(&["kind==committed"])),
            case("list by kind in capitals", Code::Ok, "[]", list(&["kind==Committed"])),
            case("list by name", Code::Ok, "[\"active\"]", list(&["name==active"])),
            case("list by parent", Code::Ok, "[\"active\"]", list(&["parent==child,kind==active"])),
            case("list by label", Code::Ok, "[\"active\"]", list(&["labels.k==v"])),
            case("list with a bad filter", Code::Unknown, "filters: parse error: [name >|=|< x]: unsupported operator \"=\": invalid argument", list(&["name=x"])).ours(Code::InvalidArgument, "unsupported operator", "the original loses the kind of its own error"),
            case("list in a namespace that is not there", Code::Ok, "[]", |rpc| async move { names(rpc.within("other"), NAME, vec![]).await }).older(),
            case("cleanup", Code::Unimplemented, "snapshotter does not implement Cleanup method: not implemented", |rpc| async move {
                rpc.within("edges").snapshots().cleanup(CleanupRequest { snapshotter: NAME.into() }).await
            }).ours(Code::Ok, "", "the snapshotter can clean up; the original's service does not reach it"),
            case("cleanup of a snapshotter that has none", Code::Unimplemented, "snapshotter does not implement Cleanup method: not implemented", |rpc| async move {
                rpc.within("edges").snapshots().cleanup(CleanupRequest { snapshotter: "native".into() }).await
            }).ours(Code::Ok, "", "every snapshotter can clean up here"),
            case("remove", Code::Ok, "", remove("active")).older(),
            case("remove again", Code::NotFound, "snapshot active does not exist: not found", remove("active")).older(),
        ]);
        Ok(cases)
    });
}
