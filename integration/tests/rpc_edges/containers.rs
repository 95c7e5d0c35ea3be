//! The containers service.

use integration::rpc::{Rpc, case, contract};
use protos::api::containers::container::Runtime;
use protos::api::containers::*;
use tonic::Code;

use crate::making::{all, any, labels, long_label, mask, strings};

fn container(id: &str) -> Container {
    Container {
        id: id.to_owned(),
        labels: labels(&[("app", "web"), ("tier", "a b")]),
        image: "docker.io/library/busybox:1".to_owned(),
        runtime: Some(Runtime { name: "io.containerd.runc.v2".to_owned(), options: None }),
        spec: any("types.containerd.io/opencontainers/runtime-spec/1/Spec", b"{}"),
        ..Default::default()
    }
}

fn create(container: Container) -> CreateContainerRequest {
    CreateContainerRequest { container: Some(container) }
}

fn update(container: Container, paths: &[&str]) -> UpdateContainerRequest {
    UpdateContainerRequest { container: Some(container), update_mask: mask(paths) }
}

fn list(filters: &[&str]) -> ListContainersRequest {
    ListContainersRequest { filters: strings(filters) }
}

async fn ids(rpc: Rpc, filters: &'static [&'static str]) -> Result<Vec<String>, tonic::Status> {
    let found = rpc.containers().list(list(filters)).await?.into_inner().containers;
    Ok(found.into_iter().map(|c| c.id).collect())
}

#[test]
fn containers() {
    contract("ctrs", async |rpc| {
        let ns = "edges";
        let home = rpc.within(ns);
        home.containers().create(create(container("web1"))).await?;
        home.containers()
            .create(create(Container { labels: labels(&[("app", "db")]), ..container("db1") }))
            .await?;
        home.containers().create(create(container("fresh1"))).await?;
        let with = move |change: fn(&mut Container)| {
            let mut c = container("fresh");
            change(&mut c);
            move |rpc: Rpc| async move { rpc.within(ns).containers().create(create(c)).await }
        };
        let change = move |mask: &'static [&'static str], change: fn(&mut Container)| {
            let mut c = container("web1");
            change(&mut c);
            move |rpc: Rpc| async move { rpc.within(ns).containers().update(update(c, mask)).await }
        };
        let get = move |id: &'static str| {
            move |rpc: Rpc| async move {
                rpc.within(ns).containers().get(GetContainerRequest { id: id.into() }).await
            }
        };
        let delete = move |id: &'static str| {
            move |rpc: Rpc| async move {
                rpc.within(ns).containers().delete(DeleteContainerRequest { id: id.into() }).await
            }
        };
        let listed = move |filters: &'static [&'static str]| move |rpc: Rpc| ids(rpc.within(ns), filters);
        Ok(vec![
            case("get a container that is not there", Code::NotFound, "container \"nope\" in namespace \"edges\": not found", get("nope")).older(),
            case("get with an empty id", Code::NotFound, "container \"\" in namespace \"edges\": not found", get("")).older(),
            case("get in a namespace that is not there", Code::NotFound, "container \"web1\" in namespace \"nowhere\": not found", move |rpc| async move {
                rpc.within("nowhere").containers().get(GetContainerRequest { id: "web1".into() }).await
            }).older(),
            case("create without a container", Code::InvalidArgument, "", move |rpc| async move {
                rpc.within(ns).containers().create(CreateContainerRequest::default()).await
            }).only_ours("the original dies of it"),
            case("create without an id", Code::InvalidArgument, "create container failed validation: container.ID: identifier must not be empty: invalid argument", with(|c| c.id.clear())).older(),
            case("create with a malformed id", Code::InvalidArgument, "create container failed validation: container.ID: identifier \"a/b\" must match ^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$: invalid argument", with(|c| c.id = "a/b".into())).older(),
            case("create with an id that ends in a separator", Code::InvalidArgument, "create container failed validation: container.ID: identifier \"a-\" must match ^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$: invalid argument", with(|c| c.id = "a-".into())).older(),
            case("create with an id of 77 bytes", Code::InvalidArgument, "create container failed validation: container.ID: identifier \"*\" greater than maximum length (76 characters): invalid argument", with(|c| c.id = "x".repeat(77))).older(),
            case("create without a runtime", Code::InvalidArgument, "create container failed validation: container.Runtime.Name must be set: invalid argument", with(|c| c.runtime = None)),
            case("create with an empty runtime name", Code::InvalidArgument, "create container failed validation: container.Runtime.Name must be set: invalid argument", with(|c| c.runtime = Some(Runtime::default()))).older(),
            case("create with a snapshot key and no snapshotter", Code::InvalidArgument, "create container failed validation: container.Snapshotter must be set if container.SnapshotKey is set: invalid argument", with(|c| c.snapshot_key = "k".into())).older(),
            case("create with an empty extension key", Code::InvalidArgument, "create container failed validation: container.Extension keys must not be zero-length: invalid argument", with(|c| {
                c.extensions.insert(String::new(), any("t", b"x").unwrap());
            })).older(),
            case("create with a label that is too long", Code::InvalidArgument, "create container failed validation: containers.Labels: label key and value*greater than maximum size (4096 bytes), key: key: invalid argument", with(|c| c.labels = long_label())).older(),
            case("create with a label without a key", Code::Unknown, "", with(|c| c.labels = labels(&[("", "v")]))).ours(Code::InvalidArgument, "label key must not be empty", "the original loses the kind of its own error"),
            case("create what is there already", Code::AlreadyExists, "container \"web1\": already exists", with(|c| c.id = "web1".into())).older(),
            case("create in a namespace that is not there", Code::Ok, "", move |rpc| async move {
                rpc.within("made-by-create").containers().create(create(container("c"))).await
            }).older(),
            case("update without a container", Code::InvalidArgument, "", move |rpc| async move {
                rpc.within(ns).containers().update(UpdateContainerRequest::default()).await
            }).only_ours("the original dies of it"),
            case("update without an id", Code::InvalidArgument, "Container.ID required", change(&["labels"], |c| c.id.clear())).older(),
            case("update of one that is not there", Code::NotFound, "container \"nope\": not found", change(&["labels"], |c| c.id = "nope".into())).older(),
            case("update of a field that nobody knows", Code::InvalidArgument, "cannot update \"nonsense\" field on \"web1\": invalid argument", change(&["nonsense"], |_| {})).older(),
            case("update of the id", Code::InvalidArgument, "cannot update \"id\" field on \"web1\": invalid argument", change(&["id"], |_| {})).older(),
            case("update of created_at", Code::InvalidArgument, "cannot update \"created_at\" field on \"web1\": invalid argument", change(&["created_at"], |_| {})).older(),
            case("update of the runtime by mask", Code::InvalidArgument, "cannot update \"runtime\" field on \"web1\": invalid argument", change(&["runtime"], |_| {})),
            case("update of everything with another runtime", Code::InvalidArgument, "container.Runtime.Name field is immutable: invalid argument", change(&[], |c| {
                c.runtime = Some(Runtime { name: "other".into(), options: None });
            })).older(),
            case("update of everything with another snapshotter", Code::InvalidArgument, "container.Snapshotter field is immutable: invalid argument", change(&[], |c| c.snapshotter = "native".into())).older(),
            case("update of everything without a spec", Code::Ok, "", change(&[], |c| c.spec = None)).ours(Code::InvalidArgument, "container.Spec must be set", "1.6 refuses it; the original means to and no longer sees that it is missing"),
            case("update of an unnamed label", Code::Ok, "", change(&["labels."], |_| {})),
            case("update of one label", Code::Ok, "\"tier\": \"c\"", change(&["labels.tier"], |c| c.labels = labels(&[("tier", "c"), ("other", "x")]))).older(),
            case("update of one label that takes it away", Code::Ok, "", change(&["labels.tier"], |c| c.labels.clear())),
            case("update with a label that is too long", Code::InvalidArgument, "update failed validation: containers.Labels: label key and value*greater than maximum size (4096 bytes), key: key: invalid argument", change(&["labels"], |c| c.labels = long_label())).older(),
            case("update of extensions with an empty key", Code::InvalidArgument, "update failed validation: container.Extension keys must not be zero-length: invalid argument", change(&["extensions"], |c| {
                c.extensions.insert(String::new(), any("t", b"x").unwrap());
            })),
            case("update of the snapshot key by mask", Code::InvalidArgument, "cannot update \"snapshot_key\" field on \"web1\": invalid argument", change(&["snapshot_key"], |c| c.snapshot_key = "k".into())),
            case("update of two fields, one unknown, changes neither", Code::InvalidArgument, "cannot update \"nonsense\" field on \"web1\": invalid argument", change(&["image", "nonsense"], |c| c.image = "changed".into())),
            case("the image is as it was", Code::Ok, "busybox:1", get("web1")),
            case("delete one that is not there", Code::NotFound, "container*nope*: not found", delete("nope")).older(),
            case("delete with an empty id", Code::NotFound, "container *: not found", delete("")),
            case("delete in a namespace that is not there", Code::NotFound, "container \"web1\"*: not found", move |rpc| async move {
                rpc.within("nowhere").containers().delete(DeleteContainerRequest { id: "web1".into() }).await
            }),
            case("list all", Code::Ok, "[\"db1\", \"fresh1\", \"web1\"]", listed(&[])).older(),
            case("list in a namespace that is not there", Code::Ok, "[]", |rpc| ids(rpc.within("nowhere"), &[])).older(),
            case("list with an empty filter", Code::Ok, "[\"db1\", \"fresh1\", \"web1\"]", listed(&[""])).older(),
            case("list by id", Code::Ok, "[\"web1\"]", listed(&["id==web1"])).older(),
            case("list by a regular expression", Code::Ok, "[\"web1\"]", listed(&["id~=^we"])),
            case("list by a quoted regular expression", Code::Ok, "[\"web1\"]", listed(&["id~=\"^w.b[0-9]+$\""])).older(),
            case("list by a regular expression between slashes", Code::Ok, "[\"web1\"]", listed(&["id~=/^w.b[0-9]+$/"])).older(),
            case("list by a regular expression between bars", Code::Ok, "[\"web1\"]", listed(&["id~=|^w.b[0-9]+$|"])).older(),
            case("list by a regular expression that is none", Code::Ok, "[]", listed(&["id~=\"(\""])),
            case("list by a regular expression that looks back", Code::Ok, "[]", listed(&["id~=\"(?<=a)b\""])),
            case("list by a class of letters", Code::Ok, "[\"db1\", \"fresh1\", \"web1\"]", listed(&["id~=\"^[[:alpha:]]+\\\\d$\""])),
            case("list by an escape that the filter language does not have", Code::InvalidArgument, "filters: parse error: [id~= >|||< ^\\pL+\\d$|]: illegal escape sequence: invalid argument", listed(&["id~=|^\\pL+\\d$|"])),
            case("list by a class of Unicode letters", Code::Ok, "[\"db1\", \"fresh1\", \"web1\"]", listed(&["id~=|^\\\\pL+\\\\d$|"])).ours(Code::Ok, "[]", "regular expressions here know no classes of Unicode; one that cannot be read matches nothing, there and here"),
            case("list without regard to case", Code::Ok, "[\"web1\"]", listed(&["id~=\"(?i)^WEB\""])),
            case("list by label", Code::Ok, "[\"db1\"]", listed(&["labels.app==db"])).older(),
            case("list by quoted label", Code::Ok, "[\"db1\"]", listed(&["labels.\"app\"==db"])).older(),
            case("list by label not equal", Code::Ok, "[\"fresh1\", \"web1\"]", listed(&["labels.app!=db"])).older(),
            case("list by presence", Code::Ok, "[\"fresh1\"]", listed(&["labels.tier"])),
            case("list by two selectors", Code::Ok, "[]", listed(&["labels.app==db,id==web1"])).older(),
            case("list by two filters", Code::Ok, "[\"db1\", \"web1\"]", listed(&["labels.app==db", "id==web1"])).older(),
            case("list by runtime name", Code::Ok, "[\"db1\", \"fresh1\", \"web1\"]", listed(&["runtime.name==io.containerd.runc.v2"])).older(),
            case("list by image", Code::Ok, "[\"db1\", \"fresh1\", \"web1\"]", listed(&["image~=busybox"])),
            case("list by a field that nobody knows", Code::Ok, "[]", listed(&["nonsense==1"])).older(),
            case("list with an operator that is none", Code::InvalidArgument, "filters: parse error: [id >|=|< web1]: unsupported operator \"=\": invalid argument", listed(&["id=web1"])),
            case("list without a value", Code::InvalidArgument, "filters: parse error: [id==]: expected value or quoted: invalid argument", listed(&["id=="])),
            case("list without a field", Code::InvalidArgument, "filters: parse error: [ >|=|< =web1]: expected field or quoted: invalid argument", listed(&["==web1"])),
            case("list with an open quote", Code::InvalidArgument, "filters: parse error: [id== >|\"|< web1]: quoted literal not terminated: invalid argument", listed(&["id==\"web1"])),
            case("list with a comma at the end", Code::InvalidArgument, "filters: parse error: [id==web1,]: expected field or quoted: invalid argument", listed(&["id==web1,"])),
            case("list with a dot at the end", Code::InvalidArgument, "filters: parse error: [labels. >|=|< =x]: expected field or quoted: invalid argument", listed(&["labels.==x"])),
            case("list with a space", Code::Ok, "[\"web1\"]", listed(&["id == web1"])),
            case("list with one good filter and one bad", Code::InvalidArgument, "filters: parse error: [id >|~|< ~x]: unsupported operator \"~~\": invalid argument", listed(&["id==web1", "id~~x"])),
            case("list as a stream", Code::Ok, "id: \"db1\"*id: \"web1\"", move |rpc| async move {
                all(rpc.within(ns).containers().list_stream(list(&[])).await).await
            }),
            case("list as a stream with a bad filter", Code::InvalidArgument, "filters: parse error: [id >|=|< x]: unsupported operator \"=\": invalid argument", move |rpc| async move {
                all(rpc.within(ns).containers().list_stream(list(&["id=x"])).await).await
            }),
            case("create without a spec", Code::Ok, "spec: None", with(|c| { c.spec = None; })).ours(Code::InvalidArgument, "container.Spec must be set", "1.6 refuses it; the original means to and no longer sees that it is missing"),
        ])
    });
}
