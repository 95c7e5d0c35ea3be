//! Rules and messages of the metadata objects.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fixture;

use base::ErrorKind::{self, AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, Unimplemented};
use base::filter::FilterSet;
use base::labels::Labels;
use base::{Any, Digest, LeaseId, Namespace};
use fixture::*;
use store::{Container, Image, Resource, RuntimeInfo, Sandbox};

fn ns(name: &str) -> Namespace {
    Namespace::new(name).unwrap()
}

fn filter(text: &str) -> FilterSet {
    FilterSet::parse(&[text]).unwrap()
}

fn names(store: &Store) -> Vec<String> {
    store.meta.namespaces().list().unwrap().into_iter().map(|n| n.name.to_string()).collect()
}

#[tokio::test]
async fn namespaces() {
    let store = Store::new();
    let all = store.meta.namespaces();
    all.create(&ns("made"), labels(&[("a", "1"), ("b", "")])).await.unwrap();
    refused(
        all.create(&ns("made"), Labels::new()).await,
        AlreadyExists,
        "namespace \"made\": already exists",
    );
    let big = labels(&[("k", &"v".repeat(5000))]);
    let text = "namespace.Labels: label key and value length (5001 bytes) greater than maximum size (4096 bytes), key: k: invalid argument";
    refused(all.create(&ns("big"), big.clone()).await, InvalidArgument, text);
    refused(all.update(&ns("made"), big, &[]).await, InvalidArgument, text);

    // a namespace comes with its first object
    store.meta.containers().create(&ns("implied"), container("c")).await.unwrap();
    assert_eq!(names(&store), ["implied", "made"]);
    refused(
        all.create(&ns("implied"), Labels::new()).await,
        AlreadyExists,
        "namespace \"implied\": already exists",
    );
    assert_eq!(all.get(&ns("unknown")).unwrap().labels, Labels::new());
    assert_eq!(all.get(&ns("made")).unwrap().labels, labels(&[("a", "1")]));

    // with a mask only these change; empty deletes; a new one comes to be
    let set = |pairs: &[(&str, &str)]| labels(pairs);
    let updated =
        all.update(&ns("made"), set(&[("b", "2"), ("c", "3")]), &mask(&["labels.b"])).await.unwrap();
    assert_eq!(updated.labels, set(&[("a", "1"), ("b", "2")]));
    all.update(&ns("made"), Labels::new(), &mask(&["labels.a"])).await.unwrap();
    assert_eq!(all.get(&ns("made")).unwrap().labels, set(&[("b", "2")]));
    all.update(&ns("made"), set(&[("z", "1")]), &[]).await.unwrap();
    assert_eq!(all.get(&ns("made")).unwrap().labels, set(&[("z", "1")]));
    refused(
        all.update(&ns("made"), Labels::new(), &mask(&["name"])).await,
        InvalidArgument,
        "cannot update \"name\" field: invalid argument",
    );
    all.update(&ns("new"), set(&[("n", "1")]), &mask(&["labels.n"])).await.unwrap();
    assert_eq!(names(&store), ["implied", "made", "new"]);

    refused(all.delete(&ns("unknown")).await, NotFound, "namespace \"unknown\": not found");
    all.delete(&ns("made")).await.unwrap();
    assert_eq!(names(&store), ["implied", "new"]);
}

#[tokio::test]
async fn only_an_empty_namespace_goes_and_takes_leases_along() {
    let (store, full) = (Store::new(), scope("full"));
    let digest = store.blob(&full, b"x", &[]).await;
    store.image(&full, "i", &digest, &[]).await;
    store.meta.containers().create(&full.namespace, container("c")).await.unwrap();
    store.snapshot(&full, "s", "", &[]).await;
    store.lease(&full, "l", &[]).await;
    store.lease(&scope("full-not"), "l", &[]).await;
    refused(
        store.meta.namespaces().delete(&full.namespace).await,
        FailedPrecondition,
        "namespace \"full\" must be empty, but it still has images, blobs, containers, snapshots on \"sn\" snapshotter: failed precondition",
    );
    store.meta.images().delete(&full, "i", None).await.unwrap();
    store.meta.containers().delete(&full.namespace, "c").await.unwrap();
    store.meta.snapshots("sn").remove(&full, "s").await.unwrap();
    refused(
        store.meta.namespaces().delete(&full.namespace).await,
        FailedPrecondition,
        "namespace \"full\" must be empty, but it still has blobs: failed precondition",
    );
    store.gc.run().await.unwrap();
    store.meta.namespaces().delete(&full.namespace).await.unwrap();
    assert_eq!(names(&store), ["full-not"]);
    assert_eq!(store.meta.leases().list(&full.namespace, &filter("")).unwrap(), []);
    assert_eq!(store.meta.leases().list(&ns("full-not"), &filter("")).unwrap().len(), 1);
}

#[tokio::test]
async fn containers() {
    let (store, n) = (Store::new(), ns("a"));
    let all = store.meta.containers();
    refused(all.get(&n, "c"), NotFound, "container \"c\" in namespace \"a\": not found");
    refused(all.delete(&n, "c").await, NotFound, "container \"c\": not found");
    refused(all.update(&n, container("c"), &[]).await, NotFound, "container \"c\": not found");
    refused(
        all.update(&n, container(""), &[]).await,
        InvalidArgument,
        "must specify a container id: invalid argument",
    );

    type Break = fn(&mut Container);
    let rules: [(Break, &str); 6] = [
        (
            |c| c.id = "a b".into(),
            "container.ID: identifier \"a b\" must match ^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$",
        ),
        (
            |c| drop(c.extensions.insert(String::new(), Any::default())),
            "container.Extension keys must not be zero-length",
        ),
        (
            |c| c.labels = labels(&[("k", &"v".repeat(4096))]),
            "containers.Labels: label key and value length (4097 bytes) greater than maximum size (4096 bytes), key: k",
        ),
        (|c| c.runtime.name.clear(), "container.Runtime.Name must be set"),
        (|c| c.spec = None, "container.Spec must be set"),
        (
            |c| c.snapshot_key = "k".into(),
            "container.Snapshotter must be set if container.SnapshotKey is set",
        ),
    ];
    for (spoil, text) in rules {
        let mut bad = container("c");
        spoil(&mut bad);
        let text = format!("create container failed validation: {text}: invalid argument");
        refused(all.create(&n, bad).await, InvalidArgument, &text);
    }

    let mut full = container("c");
    full.labels = labels(&[("l", "1"), ("empty", "")]);
    full.image = "img".into();
    full.runtime.options = Some(Any::new("opt", &b"\x00\xff"[..]));
    full.snapshotter = "sn".into();
    full.snapshot_key = "s".into();
    full.sandbox_id = "box".into();
    full.extensions.insert("e".into(), Any::new("ext", &b"{}"[..]));
    let made = all.create(&n, full.clone()).await.unwrap();
    assert_eq!(made.labels, labels(&[("l", "1")]));
    assert!(made.created_at == made.updated_at && made.created_at > full.created_at);
    assert_eq!(all.get(&n, "c").unwrap(), made, "byte for byte");
    refused(all.create(&n, full).await, AlreadyExists, "container \"c\": already exists");
    refused(all.get(&ns("b"), "c"), NotFound, "container \"c\" in namespace \"b\": not found");

    all.create(&n, container("d")).await.unwrap();
    for (text, ids) in [
        ("", &["c", "d"][..]),
        ("id==d", &["d"]),
        ("image==img", &["c"]),
        ("runtime.name==io.containerd.runc.v2", &["c", "d"]),
        ("labels.l==1", &["c"]),
        ("labels.empty", &[]),
        ("image", &["c"]),
    ] {
        let found: Vec<_> = all.list(&n, &filter(text)).unwrap().into_iter().map(|c| c.id).collect();
        assert_eq!(found, ids, "{text}");
    }
    let store = store.reopen();
    assert_eq!(store.meta.containers().get(&n, "c").unwrap(), made);
}

#[tokio::test]
async fn container_updates() {
    let (store, n) = (Store::new(), ns("a"));
    let all = store.meta.containers();
    let mut old = container("c");
    old.snapshotter = "sn".into();
    old.labels = labels(&[("a", "1"), ("b", "2")]);
    old.extensions.insert("e".into(), Any::new("x", &b"1"[..]));
    let made = all.create(&n, old).await.unwrap();

    let mut new = made.clone();
    new.image = "other".into();
    new.labels = labels(&[("b", "3")]);
    new.spec = Some(Any::new("spec", &b"2"[..]));
    new.snapshot_key = "k".into();
    new.extensions.clear();
    new.sandbox_id = "ignored".into();

    let one = all.update(&n, new.clone(), &mask(&["labels.b", "labels.a", "extensions.e"])).await.unwrap();
    assert_eq!((one.labels.clone(), one.extensions.len()), (labels(&[("b", "3")]), 0));
    assert_eq!((one.image.as_str(), &one.spec), ("", &made.spec));
    assert!(one.updated_at > made.updated_at && one.created_at == made.created_at);
    let some = all.update(&n, new.clone(), &mask(&["image", "snapshotkey"])).await.unwrap();
    assert_eq!((some.image.as_str(), some.snapshot_key.as_str()), ("other", "k"));
    let whole = all.update(&n, new.clone(), &[]).await.unwrap();
    assert_eq!((whole.spec, whole.sandbox_id.as_str()), (new.spec.clone(), ""));

    for path in ["id", "runtime", "snapshotter", "runtime.name", "sandbox", ""] {
        let text = format!("cannot update {path:?} field on \"c\": invalid argument");
        refused(all.update(&n, new.clone(), &mask(&[path])).await, InvalidArgument, &text);
    }
    let mut moved = new.clone();
    moved.snapshotter = "elsewhere".into();
    refused(
        all.update(&n, moved, &[]).await,
        InvalidArgument,
        "container.Snapshotter field is immutable: invalid argument",
    );
    let mut other = new.clone();
    other.runtime.name = "other".into();
    refused(
        all.update(&n, other, &[]).await,
        InvalidArgument,
        "container.Runtime.Name field is immutable: invalid argument",
    );
    let mut gone = new;
    gone.spec = None;
    let text = "update failed validation: container.Spec must be set: invalid argument";
    refused(all.update(&n, gone, &mask(&["spec"])).await, InvalidArgument, text);
}

#[tokio::test]
async fn images() {
    let (store, a) = (Store::new(), scope("a"));
    let all = store.meta.images();
    let n = &a.namespace;
    let (d, e) = (Digest::sha256("d"), Digest::sha256("e"));
    refused(all.get(n, "i"), NotFound, "image \"i\": not found");
    refused(all.delete(&a, "i", None).await, NotFound, "image \"i\": not found");
    refused(all.update(&a, image("i", &d, &[]), &[], None).await, NotFound, "image \"i\": not found");
    refused(
        all.update(&a, image("", &d, &[]), &[], None).await,
        InvalidArgument,
        "image name is required for update: invalid argument",
    );
    type Break = fn(&mut Image);
    let rules: [(Break, &str); 4] = [
        (|i| i.name.clear(), "image name must not be empty: invalid argument"),
        (|i| i.target.size = 0, "target.Size must be greater than zero: invalid argument"),
        (|i| i.target.size = -1, "target.Size must be greater than zero: invalid argument"),
        (|i| i.target.media_type.clear(), "target.MediaType must be set: invalid argument"),
    ];
    for (spoil, text) in rules {
        let mut bad = image("i", &d, &[]);
        spoil(&mut bad);
        refused(all.create(&a, bad, None).await, InvalidArgument, text);
    }
    let mut first = image("docker.io/library/x:1", &d, &[("l", "1")]);
    first.target.annotations = labels(&[("an", "1"), ("none", "")]);
    first.target.urls = vec!["not kept".into()];
    let made = all.create(&a, first.clone(), None).await.unwrap();
    refused(
        all.create(&a, first, None).await,
        AlreadyExists,
        "image \"docker.io/library/x:1\": already exists",
    );
    let mut kept = all.get(n, "docker.io/library/x:1").unwrap();
    assert_eq!(kept.target.annotations, labels(&[("an", "1")]));
    kept.target.urls = vec!["not kept".into()];
    assert_eq!(kept, made);
    for (text, count) in [
        ("", 1),
        ("name~=library", 1),
        ("name==x", 0),
        (&format!("target.digest=={d}"), 1),
        ("target.mediatype==nothing", 0),
        ("labels.l==1", 1),
        ("annotations.an==1", 1),
    ] {
        assert_eq!(all.list(n, &filter(text)).unwrap().len(), count, "{text}");
    }

    let mut new = image("docker.io/library/x:1", &e, &[("m", "2")]);
    new.target.annotations = labels(&[("new", "1")]);
    let epoch = base::timestamp::parse_rfc3339("2001-02-03T04:05:06Z").unwrap();
    let one =
        all.update(&a, new.clone(), &mask(&["labels.m", "annotations.new"]), Some(epoch)).await.unwrap();
    assert_eq!(one.labels, labels(&[("l", "1"), ("m", "2")]));
    assert_eq!(one.target.annotations, labels(&[("an", "1"), ("new", "1")]));
    assert_eq!((one.target.digest, one.updated_at), (d.clone(), epoch));
    let two = all.update(&a, new.clone(), &mask(&["target"]), None).await.unwrap();
    assert_eq!((two.target.digest, two.labels.len()), (e.clone(), 2));
    let whole = all.update(&a, new.clone(), &[], None).await.unwrap();
    assert_eq!((whole.labels, whole.created_at), (labels(&[("m", "2")]), made.created_at));
    let text = "cannot update \"target.size\" field on image \"docker.io/library/x:1\": invalid argument";
    refused(all.update(&a, new.clone(), &mask(&["target.size"]), None).await, InvalidArgument, text);

    let text = format!("image \"docker.io/library/x:1\" has target {e}, not {d}: not found");
    refused(all.delete(&a, &new.name, Some(&image("", &d, &[]).target)).await, NotFound, &text);
    all.delete(&a, &new.name, Some(&new.target)).await.unwrap();
    let dated = all.create(&a, image("dated", &d, &[]), Some(epoch)).await.unwrap();
    assert_eq!((dated.created_at, dated.updated_at), (epoch, epoch));
}

#[tokio::test]
async fn odd_names_do_not_mix() {
    let (store, a) = (Store::new(), scope("a"));
    let d = Digest::sha256("d");
    let odd = ["x", "x\0", "x\0\u{1}y", "x\u{1}", "x/y", "é", " "];
    for name in odd {
        store.image(&a, name, &d, &[("name", name)]).await;
    }
    for name in odd {
        assert_eq!(store.meta.images().get(&a.namespace, name).unwrap().labels["name"], name);
    }
    assert_eq!(store.meta.images().list(&a.namespace, &filter("")).unwrap().len(), odd.len());
}

#[tokio::test]
async fn leases() {
    let (store, n) = (Store::new(), ns("a"));
    let all = store.meta.leases();
    let id = |text: &str| Some(LeaseId::new(text).unwrap());
    let made = all.create(&n, id("l"), labels(&[("k", "v"), ("empty", "")])).await.unwrap();
    assert_eq!((made.id.as_str(), &made.labels), ("l", &labels(&[("k", "v")])));
    refused(all.create(&n, id("l"), Labels::new()).await, AlreadyExists, "lease \"l\": already exists");
    let random = all.create(&n, None, Labels::new()).await.unwrap();
    assert!(!random.id.is_empty() && all.get(&n, &random.id).unwrap() == random);
    assert_eq!(all.list(&n, &filter("labels.k==v")).unwrap(), std::slice::from_ref(&made));
    assert_eq!(all.list(&n, &filter("id==l")).unwrap(), [made]);
    assert_eq!(all.list(&ns("b"), &filter("")).unwrap(), []);
    for unknown in ["x", ""] {
        let text = format!("lease {unknown:?}: not found");
        refused(all.delete(&n, unknown).await, NotFound, &text);
        refused(all.get(&n, unknown), NotFound, &text);
        refused(all.list_resources(&n, unknown), NotFound, &text);
        let resource = Resource { id: "r".into(), kind: "images".into() };
        refused(all.add_resource(&n, unknown, resource.clone()).await, NotFound, &text);
        refused(all.delete_resource(&n, unknown, resource).await, NotFound, &text);
    }
    let digest = Digest::sha256("x").to_string();
    let good = [("content", digest.as_str()), ("images", "i"), ("ingests", "r"), ("snapshots/sn", "s/1")];
    for (kind, id) in good {
        for _ in 0..2 {
            all.add_resource(&n, "l", Resource { id: id.into(), kind: kind.into() }).await.unwrap();
        }
    }
    let held = all.list_resources(&n, "l").unwrap();
    let held: Vec<_> = held.iter().map(|r| (r.kind.as_str(), r.id.as_str())).collect();
    assert_eq!(held, good);
    let bad: [(&str, &str, ErrorKind, &str); 7] = [
        (
            "content",
            "sha256:x",
            InvalidArgument,
            "invalid content resource id sha256:x: invalid checksum digest length: invalid argument",
        ),
        ("content/x", "x", InvalidArgument, "invalid resource type content/x: invalid argument"),
        ("images/x", "x", InvalidArgument, "invalid resource type images/x: invalid argument"),
        ("snapshots", "x", InvalidArgument, "invalid snapshot resource type snapshots: invalid argument"),
        (
            "snapshots/a/b",
            "x",
            InvalidArgument,
            "invalid snapshot resource type snapshots/a/b: invalid argument",
        ),
        ("tasks", "x", Unimplemented, "resource type tasks not supported yet: not implemented"),
        ("", "x", Unimplemented, "resource type  not supported yet: not implemented"),
    ];
    for (kind, id, want, text) in bad {
        let resource = Resource { id: id.into(), kind: kind.into() };
        refused(all.add_resource(&n, "l", resource.clone()).await, want, text);
        refused(all.delete_resource(&n, "l", resource).await, want, text);
    }
    for (kind, id) in good {
        all.delete_resource(&n, "l", Resource { id: id.into(), kind: kind.into() }).await.unwrap();
    }
    assert_eq!(all.list_resources(&n, "l").unwrap(), []);
    all.delete(&n, "l").await.unwrap();
    refused(all.get(&n, "l"), NotFound, "lease \"l\": not found");
}

fn sandbox(id: &str) -> Sandbox {
    let now = std::time::UNIX_EPOCH;
    Sandbox {
        id: id.into(),
        runtime: RuntimeInfo { name: "rt".into(), options: Some(Any::new("o", &b"1"[..])) },
        spec: Some(Any::new("s", &b"{}"[..])),
        labels: labels(&[("l", "1")]),
        created_at: now,
        updated_at: now,
        extensions: [("e".to_owned(), Any::new("x", &b"2"[..]))].into(),
        sandboxer: "shim".into(),
    }
}

#[tokio::test]
async fn sandboxes() {
    let (store, n) = (Store::new(), ns("a"));
    let all = store.meta.sandboxes();
    refused(all.get(&n, "s"), NotFound, "bucket \"s\" not found: not found");
    refused(all.delete(&n, "s").await, NotFound, "failed to delete sandbox \"s\": not found");
    let text =
        "failed to validate sandbox: invalid sandbox ID: identifier must not be empty: invalid argument";
    refused(all.create(&n, sandbox("")).await, InvalidArgument, text);
    let made = all.create(&n, sandbox("s")).await.unwrap();
    assert_eq!(all.get(&n, "s").unwrap(), made);
    refused(
        all.create(&n, sandbox("s")).await,
        AlreadyExists,
        "write error: sandbox bucket \"s\" already exists: already exists",
    );
    assert_eq!(all.list(&n, &filter("labels.l==1")).unwrap(), std::slice::from_ref(&made));
    assert_eq!(all.list(&n, &filter("id==t")).unwrap(), []);
    let mut new = made.clone();
    new.labels = labels(&[("m", "2")]);
    new.extensions.clear();
    new.sandboxer = "ignored".into();
    new.spec = None;
    let one = all.update(&n, new.clone(), &mask(&["labels.m", "extensions.e"])).await.unwrap();
    assert_eq!((one.labels.len(), one.extensions.len(), one.spec.is_some()), (2, 0, true));
    let whole = all.update(&n, new.clone(), &[]).await.unwrap();
    assert_eq!((whole.labels, whole.spec, whole.sandboxer.as_str()), (labels(&[("m", "2")]), None, "shim"));
    new.runtime.name = "other".into();
    refused(
        all.update(&n, new.clone(), &[]).await,
        InvalidArgument,
        "sandbox.Runtime.Name field is immutable: invalid argument",
    );
    refused(
        all.update(&n, new.clone(), &mask(&["sandboxer"])).await,
        InvalidArgument,
        "cannot update \"sandboxer\" field on sandbox \"s\": invalid argument",
    );
    assert_eq!(all.update(&n, new, &mask(&["runtime"])).await.unwrap().runtime.name, "other");
    all.delete(&n, "s").await.unwrap();
    refused(all.get(&n, "s"), NotFound, "bucket \"s\" not found: not found");
}
