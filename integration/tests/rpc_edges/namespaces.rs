//! The namespaces service.

use integration::rpc::{Rpc, case, contract};
use protos::api::namespaces::*;
use tonic::{Code, Status};

use crate::making::{labels, long_label, mask, store};

fn create(name: &str) -> CreateNamespaceRequest {
    CreateNamespaceRequest {
        namespace: Some(Namespace { name: name.to_owned(), labels: labels(&[("a", "b")]) }),
    }
}

async fn listed(rpc: Rpc, filter: &str) -> Result<Vec<String>, Status> {
    let request = ListNamespacesRequest { filter: filter.to_owned() };
    let found = rpc.within("edges").namespaces().list(request).await?.into_inner().namespaces;
    Ok(found.into_iter().map(|n| n.name).collect())
}

#[test]
fn namespaces() {
    contract("nses", async |rpc| {
        rpc.within("edges").namespaces().create(create("one")).await?;
        store(&rpc.within("full"), b"bytes").await?;
        let make = |name: String| {
            move |rpc: Rpc| async move { rpc.within("edges").namespaces().create(create(&name)).await }
        };
        let get = |name: &'static str| {
            move |rpc: Rpc| async move {
                rpc.within("edges").namespaces().get(GetNamespaceRequest { name: name.into() }).await
            }
        };
        let delete = |name: &'static str| {
            move |rpc: Rpc| async move {
                rpc.within("edges").namespaces().delete(DeleteNamespaceRequest { name: name.into() }).await
            }
        };
        let change = |name: &'static str,
                      paths: &'static [&'static str],
                      pairs: &'static [(&'static str, &'static str)]| {
            let namespace = Some(Namespace { name: name.into(), labels: labels(pairs) });
            let request = UpdateNamespaceRequest { namespace, update_mask: mask(paths) };
            move |rpc: Rpc| async move { rpc.within("edges").namespaces().update(request).await }
        };
        Ok(vec![
            case("get one that is not there", Code::Ok, "", get("nope")),
            case("get with an empty name", Code::Ok, "", get("")).ours(Code::InvalidArgument, "identifier must not be empty", "a name that cannot be is told at once"),
            case("get with a malformed name", Code::Ok, "", get("a/b")).ours(Code::InvalidArgument, "identifier \"a/b\" must match", "a name that cannot be is told at once"),
            case("create without a namespace", Code::InvalidArgument, "", |rpc| async move {
                rpc.within("edges").namespaces().create(CreateNamespaceRequest::default()).await
            }).only_ours("the original dies of it"),
            case("create with an empty name", Code::InvalidArgument, "identifier must not be empty: invalid argument", make(String::new())).older(),
            case("create with a malformed name", Code::InvalidArgument, "identifier \"a/b\" must match ^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$: invalid argument", make("a/b".into())).older(),
            case("create with a name of 76 bytes", Code::Ok, "", make("x".repeat(76))).older(),
            case("create with a name of 77 bytes", Code::InvalidArgument, "identifier \"*\" greater than maximum length (76 characters): invalid argument", make("x".repeat(77))).older(),
            case("create with a name that begins with a dot", Code::InvalidArgument, "identifier \".a\" must match ^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$: invalid argument", make(".a".into())).older(),
            case("create with a name of two dots in a row", Code::InvalidArgument, "identifier \"a..b\" must match ^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$: invalid argument", make("a..b".into())).older(),
            case("create with a name in Greek", Code::InvalidArgument, "identifier \"αβγ\" must match ^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$: invalid argument", make("αβγ".into())).older(),
            case("create with a newline", Code::InvalidArgument, "identifier \"a\\nb\" must match ^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$: invalid argument", make("a\nb".into())).older(),
            case("create what is there already", Code::AlreadyExists, "namespace \"one\": already exists", make("one".into())).older(),
            case("create with a label that is too long", Code::InvalidArgument, "namespace.Labels: label key and value*greater than maximum size (4096 bytes), key: key: invalid argument", |rpc| async move {
                let namespace = Some(Namespace { name: "long".into(), labels: long_label() });
                rpc.within("edges").namespaces().create(CreateNamespaceRequest { namespace }).await
            }).older(),
            case("which made nothing", Code::Ok, "[\"full\", \"one\", \"xxx", |rpc| listed(rpc, "")).older(),
            case("list ignores its filter", Code::Ok, "[\"full\", \"one\", \"xxx", |rpc| listed(rpc, "name=x")).older(),
            case("update without a namespace", Code::InvalidArgument, "", |rpc| async move {
                rpc.within("edges").namespaces().update(UpdateNamespaceRequest::default()).await
            }).only_ours("the original dies of it"),
            case("update with an empty name", Code::InvalidArgument, "", change("", &["labels"], &[])),
            case("update with a malformed name", Code::InvalidArgument, "", change("a/b", &["labels"], &[])),
            case("update of one that is not there", Code::Ok, "", change("made-by-update", &["labels.a"], &[("a", "c")])),
            case("update of the name", Code::InvalidArgument, "cannot update \"name\" field", change("one", &["name"], &[])).older(),
            case("update of a field that nobody knows", Code::InvalidArgument, "cannot update \"nonsense\" field", change("one", &["nonsense"], &[])).older(),
            case("update of one label", Code::Ok, "", change("one", &["labels.k"], &[("k", "v"), ("other", "x")])),
            case("the first label is still there", Code::Ok, "labels: {\"a\": \"b\", \"k\": \"v\"}", get("one")),
            case("update of one label to nothing", Code::Ok, "", change("one", &["labels.k"], &[])),
            case("takes it away", Code::Ok, "labels: {\"a\": \"b\"}", get("one")),
            case("update of all labels by mask", Code::InvalidArgument, "cannot update \"labels\" field", change("one", &["labels"], &[("z", "z")])),
            case("all labels afterwards", Code::Ok, "labels: {\"a\": \"b\"}", get("one")),
            case("update without a mask", Code::Ok, "", change("one", &[], &[("y", "y")])),
            case("labels after an update without a mask", Code::Ok, "labels: {\"y\": \"y\"}", get("one")),
            case("update with an empty label key", Code::Unknown, "key required", change("one", &["labels."], &[("", "v")])).ours(Code::InvalidArgument, "", "the original loses the kind of its own error"),
            case("delete of one that is not there", Code::NotFound, "", delete("nope")).older(),
            case("delete with an empty name", Code::NotFound, "namespace \"\": not found", delete("")),
            case("delete with a malformed name", Code::NotFound, "namespace \"a/b\": not found", delete("a/b")),
            case("delete of one that is in use", Code::FailedPrecondition, "namespace \"full\" must be empty, but it still has blobs: failed precondition", delete("full")).older(),
            case("delete", Code::Ok, "", delete("one")).older(),
            case("create of the name version", Code::Unknown, "incompatible value", make("version".into()))
                .ours(Code::Ok, "version", "the name is free here; the original keeps a number of its own below it"),
            case("delete again", Code::NotFound, "namespace \"one\": not found", delete("one")).older(),
        ])
    });
}
