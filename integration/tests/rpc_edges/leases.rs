//! The leases service, and the lease header.

use integration::rpc::{Rpc, case, contract};
use protos::api::leases::*;
use tonic::{Code, Status};

use crate::making::{digest, labels, long_label, store, strings, unknown, write};

fn create(id: &str) -> CreateRequest {
    CreateRequest { id: id.to_owned(), labels: labels(&[("app", "web")]) }
}

fn resource(kind: &str, id: &str) -> Option<Resource> {
    Some(Resource { id: id.to_owned(), r#type: kind.to_owned() })
}

async fn ids(rpc: Rpc, filters: Vec<String>) -> Result<Vec<String>, Status> {
    let found = rpc.leases().list(ListRequest { filters }).await?.into_inner().leases;
    Ok(found.into_iter().map(|l| l.id).collect())
}

#[test]
fn leases() {
    contract("leases", async |rpc| {
        let home = rpc.within("edges");
        home.leases().create(create("one")).await?;
        home.leases().create(CreateRequest { id: "two".into(), labels: labels(&[("app", "db")]) }).await?;
        let make = |request: CreateRequest| {
            move |rpc: Rpc| async move { rpc.within("edges").leases().create(request).await }
        };
        let delete = |id: &'static str, sync: bool| {
            move |rpc: Rpc| async move {
                rpc.within("edges").leases().delete(DeleteRequest { id: id.into(), sync }).await
            }
        };
        let add = |lease: &'static str, resource: Option<Resource>| {
            move |rpc: Rpc| async move {
                rpc.within("edges")
                    .leases()
                    .add_resource(AddResourceRequest { id: lease.into(), resource })
                    .await
            }
        };
        let drop = |lease: &'static str, resource: Option<Resource>| {
            move |rpc: Rpc| async move {
                rpc.within("edges")
                    .leases()
                    .delete_resource(DeleteResourceRequest { id: lease.into(), resource })
                    .await
            }
        };
        let held = |lease: &'static str| {
            move |rpc: Rpc| async move {
                rpc.within("edges").leases().list_resources(ListResourcesRequest { id: lease.into() }).await
            }
        };
        let list =
            |filters: &'static [&'static str]| move |rpc: Rpc| ids(rpc.within("edges"), strings(filters));
        Ok(vec![
            case(
                "create what is there already",
                Code::AlreadyExists,
                "lease \"one\": already exists",
                make(create("one")),
            )
            .older(),
            case("create without an id", Code::Ok, "lease: Some(Lease { id: \"", make(create(""))),
            case("create with an id that is no identifier", Code::Ok, "", make(create("any / text"))),
            case("create with an id of 30000 bytes", Code::Ok, "", make(create(&"x".repeat(30000)))),
            case(
                "create with a label that is too long",
                Code::Ok,
                "",
                make(CreateRequest { id: "long".into(), labels: long_label() }),
            ),
            case(
                "create with an expiry that is no time",
                Code::Ok,
                "",
                make(CreateRequest {
                    id: "odd".into(),
                    labels: labels(&[("containerd.io/gc.expire", "soon")]),
                }),
            ),
            case(
                "delete of one that is not there",
                Code::NotFound,
                "lease \"nope\": not found",
                delete("nope", false),
            )
            .older(),
            case(
                "delete of one that is not there, waiting",
                Code::NotFound,
                "lease \"nope\": not found",
                delete("nope", true),
            )
            .older(),
            case("delete with an empty id", Code::NotFound, "lease \"\": not found", delete("", false)),
            case(
                "delete in a namespace that is not there",
                Code::NotFound,
                "lease \"one\": not found",
                |rpc| async move {
                    rpc.within("other").leases().delete(DeleteRequest { id: "one".into(), sync: false }).await
                },
            )
            .older(),
            case("delete, waiting", Code::Ok, "", delete("odd", true)),
            case("list by id", Code::Ok, "[\"one\"]", list(&["id==one"])).older(),
            case("list by label", Code::Ok, "[\"two\"]", list(&["labels.app==db"])).older(),
            case(
                "list with a bad filter",
                Code::InvalidArgument,
                "filters: parse error: [id >|=|< x]: unsupported operator \"=\": invalid argument",
                list(&["id=x"]),
            ),
            case("list in a namespace that is not there", Code::Ok, "[]", |rpc| {
                ids(rpc.within("other"), vec![])
            })
            .older(),
            case(
                "add to a lease that is not there",
                Code::NotFound,
                "lease \"nope\": not found",
                add("nope", resource("content", &unknown())),
            )
            .older(),
            case(
                "add to an empty lease id",
                Code::NotFound,
                "lease \"\": not found",
                add("", resource("content", &unknown())),
            ),
            case("add nothing", Code::InvalidArgument, "", add("one", None))
                .only_ours("the original dies of it"),
            case(
                "add an empty resource",
                Code::Unimplemented,
                "resource type  not supported yet: not implemented",
                add("one", resource("", "")),
            ),
            case("add content that is not there", Code::Ok, "", add("one", resource("content", &unknown())))
                .older(),
            case("add content twice", Code::Ok, "", add("one", resource("content", &unknown()))).older(),
            case(
                "add content with a malformed digest",
                Code::InvalidArgument,
                "invalid content resource id nonsense: invalid checksum digest format: invalid argument",
                add("one", resource("content", "nonsense")),
            )
            .older(),
            case(
                "add content with an empty digest",
                Code::InvalidArgument,
                "invalid content resource id : invalid checksum digest format: invalid argument",
                add("one", resource("content", "")),
            )
            .older(),
            case("add an ingest", Code::Ok, "", add("one", resource("ingests", "some ref"))),
            case(
                "add an ingest without a name",
                Code::Unknown,
                "key required",
                add("one", resource("ingests", "")),
            )
            .ours(
                Code::InvalidArgument,
                "id must not be empty",
                "the original loses the kind of its own error",
            ),
            case(
                "add an ingest with something behind",
                Code::InvalidArgument,
                "invalid resource type ingests/x: invalid argument",
                add("one", resource("ingests/x", "r")),
            ),
            case(
                "add content with something behind",
                Code::InvalidArgument,
                "invalid resource type content/x: invalid argument",
                add("one", resource("content/x", &unknown())),
            ),
            case("add an image", Code::Ok, "", add("one", resource("images", "docker.io/library/x:1"))),
            case("add a snapshot", Code::Ok, "", add("one", resource("snapshots/overlayfs", "key"))).older(),
            case(
                "add a snapshot of a snapshotter that is not there",
                Code::Ok,
                "",
                add("one", resource("snapshots/nonsense", "key")),
            ),
            case(
                "add a snapshot without a snapshotter",
                Code::InvalidArgument,
                "invalid snapshot resource type snapshots: invalid argument",
                add("one", resource("snapshots", "key")),
            )
            .older(),
            case(
                "add a snapshot of an empty snapshotter",
                Code::Unknown,
                "bucket name required",
                add("one", resource("snapshots/", "key")),
            )
            .ours(
                Code::InvalidArgument,
                "invalid snapshot resource type snapshots/",
                "the original loses the kind of its own error",
            ),
            case(
                "add a snapshot of a snapshotter with a slash",
                Code::InvalidArgument,
                "invalid snapshot resource type snapshots/a/b: invalid argument",
                add("one", resource("snapshots/a/b", "key")),
            ),
            case(
                "add a snapshot without a key",
                Code::Unknown,
                "key required",
                add("one", resource("snapshots/overlayfs", "")),
            )
            .ours(
                Code::InvalidArgument,
                "id must not be empty",
                "the original loses the kind of its own error",
            ),
            case(
                "add of a kind that nobody knows",
                Code::Unimplemented,
                "resource type mounts not supported yet: not implemented",
                add("one", resource("mounts", "x")),
            ),
            case(
                "drop from a lease that is not there",
                Code::NotFound,
                "lease \"nope\": not found",
                drop("nope", resource("content", &unknown())),
            )
            .older(),
            case("drop nothing", Code::InvalidArgument, "", drop("one", None))
                .only_ours("the original dies of it"),
            case("drop what is not held", Code::Ok, "", drop("one", resource("content", &digest(b"other"))))
                .older(),
            case(
                "drop of a malformed digest",
                Code::InvalidArgument,
                "invalid content resource id nonsense: invalid checksum digest format: invalid argument",
                drop("one", resource("content", "nonsense")),
            )
            .older(),
            case(
                "drop of a snapshotter that has none",
                Code::Ok,
                "",
                drop("one", resource("snapshots/zfs", "key")),
            ),
            case(
                "drop of a kind that nobody knows",
                Code::Unimplemented,
                "resource type nonsense not supported yet: not implemented",
                drop("one", resource("nonsense", "x")),
            ),
            case("drop", Code::Ok, "", drop("one", resource("content", &unknown()))).older(),
            case(
                "held by a lease that is not there",
                Code::NotFound,
                "lease \"nope\": not found",
                held("nope"),
            )
            .older(),
            case("held by an empty id", Code::NotFound, "lease \"\": not found", held("")),
            case("held by a lease that holds nothing", Code::Ok, "resources: []", held("two")).older(),
            case("held by the one", Code::Ok, "images*ingests*snapshots/", held("one")),
            case(
                "a write under a lease that is not there",
                Code::NotFound,
                "lease does not exist: not found",
                |rpc| async move {
                    let rpc = rpc.within("edges").leased("nope");
                    store(&rpc, b"leased bytes").await.map_err(|e| e.downcast::<Status>().unwrap())
                },
            ),
            case("a write under a lease", Code::Ok, "", |rpc| async move {
                let rpc = rpc.within("edges").leased("two");
                store(&rpc, b"leased bytes").await.map_err(|e| e.downcast::<Status>().unwrap())
            }),
            case("an open ingest under a lease", Code::Ok, "", |rpc| async move {
                write(&rpc.within("edges").leased("two"), vec![crate::making::data("leased-ref", 0, b"x")])
                    .await
            }),
            case("both are held", Code::Ok, "content*leased-ref*ingests", held("two")),
        ])
    });
}
