//! The sandbox store.

use integration::rpc::{Rpc, case, newer_contract};
use protos::api::sandbox::*;
use protos::api::types::Sandbox;
use protos::api::types::sandbox::Runtime;
use tonic::{Code, Status};

use crate::making::{any, labels, long_label, strings};

fn sandbox(id: &str) -> Sandbox {
    Sandbox {
        sandbox_id: id.to_owned(),
        runtime: Some(Runtime { name: "io.containerd.runc.v2".into(), options: None }),
        spec: any("spec", b"{}"),
        labels: labels(&[("app", "x")]),
        sandboxer: "podsandbox".into(),
        ..Default::default()
    }
}

async fn ids(rpc: Rpc, filters: Vec<String>) -> Result<Vec<String>, Status> {
    let found = rpc.sandboxes().list(StoreListRequest { filters }).await?.into_inner().list;
    Ok(found.into_iter().map(|s| s.sandbox_id).collect())
}

#[test]
fn sandboxes() {
    newer_contract("sboxes", async |rpc| {
        let home = rpc.within("edges");
        home.sandboxes().create(StoreCreateRequest { sandbox: Some(sandbox("one")) }).await?;
        home.sandboxes()
            .create(StoreCreateRequest {
                sandbox: Some(Sandbox { labels: labels(&[("app", "y")]), ..sandbox("two") }),
            })
            .await?;
        let make = |change: fn(&mut Sandbox)| {
            let mut s = sandbox("fresh");
            change(&mut s);
            move |rpc: Rpc| async move {
                rpc.within("edges").sandboxes().create(StoreCreateRequest { sandbox: Some(s) }).await
            }
        };
        let change = |fields: &'static [&'static str], change: fn(&mut Sandbox)| {
            let mut s = sandbox("one");
            change(&mut s);
            let r = StoreUpdateRequest { sandbox: Some(s), fields: strings(fields) };
            move |rpc: Rpc| async move { rpc.within("edges").sandboxes().update(r).await }
        };
        let get = |id: &'static str| {
            move |rpc: Rpc| async move {
                rpc.within("edges").sandboxes().get(StoreGetRequest { sandbox_id: id.into() }).await
            }
        };
        let delete = |id: &'static str| {
            move |rpc: Rpc| async move {
                rpc.within("edges").sandboxes().delete(StoreDeleteRequest { sandbox_id: id.into() }).await
            }
        };
        let list =
            |filters: &'static [&'static str]| move |rpc: Rpc| ids(rpc.within("edges"), strings(filters));
        Ok(vec![
            case(
                "get one that is not there",
                Code::NotFound,
                "bucket \"nope\" not found: not found",
                get("nope"),
            ),
            case("get with an empty id", Code::NotFound, "bucket \"\" not found: not found", get("")),
            case("get in a namespace that is not there", Code::NotFound, "not found", |rpc| async move {
                rpc.within("other").sandboxes().get(StoreGetRequest { sandbox_id: "one".into() }).await
            }),
            case("create without a sandbox", Code::InvalidArgument, "", |rpc| async move {
                rpc.within("edges").sandboxes().create(StoreCreateRequest::default()).await
            })
            .only_ours("the original dies of it"),
            case(
                "create without an id",
                Code::InvalidArgument,
                "failed to validate sandbox: invalid sandbox ID: identifier must not be empty: invalid argument",
                make(|s| s.sandbox_id.clear()),
            ),
            case(
                "create with a malformed id",
                Code::InvalidArgument,
                "failed to validate sandbox: invalid sandbox ID: identifier \"a/b\" must match ^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$: invalid argument",
                make(|s| s.sandbox_id = "a/b".into()),
            ),
            case(
                "create with an id of 77 bytes",
                Code::InvalidArgument,
                "failed to validate sandbox: invalid sandbox ID: identifier \"*\" greater than maximum length (76 characters): invalid argument",
                make(|s| s.sandbox_id = "x".repeat(77)),
            ),
            case(
                "create without a runtime",
                Code::Ok,
                "",
                make(|s| {
                    s.sandbox_id = "nameless".into();
                    s.runtime = None;
                }),
            )
            .only_ours("the original dies of it"),
            case(
                "create without a runtime name",
                Code::Ok,
                "",
                make(|s| {
                    s.sandbox_id = "unnamed".into();
                    s.runtime = Some(Runtime::default());
                }),
            ),
            case(
                "create without a sandboxer",
                Code::Ok,
                "",
                make(|s| {
                    s.sandbox_id = "none".into();
                    s.sandboxer.clear();
                }),
            ),
            case(
                "create without a spec",
                Code::Ok,
                "",
                make(|s| {
                    s.sandbox_id = "bare".into();
                    s.spec = None;
                }),
            ),
            case(
                "create with a label that is too long",
                Code::Ok,
                "",
                make(|s| {
                    s.sandbox_id = "long".into();
                    s.labels = long_label();
                }),
            ),
            case(
                "create with an empty extension key",
                Code::Unknown,
                "key required",
                make(|s| {
                    s.sandbox_id = "keyless".into();
                    s.extensions.insert(String::new(), any("t", b"x").unwrap());
                }),
            )
            .ours(
                Code::InvalidArgument,
                "sandbox.Extension keys must not be zero-length",
                "the original loses the kind of its own error",
            ),
            case(
                "create what is there already",
                Code::AlreadyExists,
                "write error: sandbox bucket \"one\" already exists: already exists",
                make(|s| s.sandbox_id = "one".into()),
            ),
            case("update without a sandbox", Code::InvalidArgument, "", |rpc| async move {
                rpc.within("edges").sandboxes().update(StoreUpdateRequest::default()).await
            })
            .only_ours("the original dies of it"),
            case(
                "update of one that is not there",
                Code::NotFound,
                "bucket \"nope\" not found: not found",
                change(&["labels"], |s| s.sandbox_id = "nope".into()),
            ),
            case(
                "update without an id",
                Code::NotFound,
                "bucket \"\" not found: not found",
                change(&["labels"], |s| s.sandbox_id.clear()),
            ),
            case(
                "update of a field that nobody knows",
                Code::InvalidArgument,
                "cannot update \"nonsense\" field on sandbox \"one\": invalid argument",
                change(&["nonsense"], |_| {}),
            ),
            case(
                "update of the sandboxer",
                Code::InvalidArgument,
                "cannot update \"sandboxer\" field on sandbox \"one\": invalid argument",
                change(&["sandboxer"], |s| s.sandboxer = "other".into()),
            ),
            case("update of the runtime", Code::Ok, "", change(&["runtime"], |_| {})),
            case(
                "update of the runtime's name",
                Code::Ok,
                "",
                change(&["runtime"], |s| s.runtime = Some(Runtime { name: "other".into(), options: None })),
            ),
            case("update of the spec", Code::Ok, "", change(&["spec"], |_| {})),
            case(
                "update of one label",
                Code::Ok,
                "\"app\": \"x\", \"k\": \"v\"",
                change(&["labels.k"], |s| s.labels = labels(&[("k", "v"), ("app", "no")])),
            ),
            case(
                "update of one extension",
                Code::Ok,
                "\"e\": Any",
                change(&["extensions.e"], |s| {
                    s.extensions.insert("e".into(), any("t", b"x").unwrap());
                }),
            ),
            case(
                "update with a label that is too long",
                Code::Ok,
                "",
                change(&["labels"], |s| s.labels = long_label()),
            ),
            case(
                "update of everything",
                Code::Ok,
                "",
                change(&[], |s| s.runtime.as_mut().unwrap().name = "other".into()),
            ),
            case(
                "update of everything without a runtime",
                Code::InvalidArgument,
                "",
                change(&[], |s| s.runtime = None),
            )
            .only_ours("the original dies of it"),
            case("list", Code::Ok, "\"bare\"*\"none\", \"one\", \"two\", \"unnamed\"]", list(&[])),
            case("list by id", Code::Ok, "[\"one\"]", list(&["id==one"])),
            case("list by label", Code::Ok, "[\"two\"]", list(&["labels.app==y"])),
            case(
                "list with a bad filter",
                Code::InvalidArgument,
                "filters: parse error: [id >|=|< x]: unsupported operator \"=\": invalid argument",
                list(&["id=x"]),
            ),
            case("list in a namespace that is not there", Code::Ok, "[]", |rpc| {
                ids(rpc.within("other"), vec![])
            }),
            case(
                "delete of one that is not there",
                Code::NotFound,
                "failed to delete sandbox \"nope\": not found",
                delete("nope"),
            ),
            case(
                "delete with an empty id",
                Code::NotFound,
                "failed to delete sandbox \"\": not found",
                delete(""),
            ),
            case("delete in a namespace that is not there", Code::NotFound, "not found", |rpc| async move {
                rpc.within("other").sandboxes().delete(StoreDeleteRequest { sandbox_id: "one".into() }).await
            }),
            case("delete", Code::Ok, "", delete("one")),
            case(
                "delete again",
                Code::NotFound,
                "failed to delete sandbox \"one\": not found",
                delete("one"),
            ),
        ])
    });
}
