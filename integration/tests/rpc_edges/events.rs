//! The events service: topics, filters, and what each service tells when it changes something.

use std::time::Duration;

use integration::rpc::{Rpc, case, contract, story};
use prost::Name;
use protos::api::events::*;
use protos::api::types::Envelope;
use tonic::{Code, Status, Streaming};

use crate::making::*;

fn publish(topic: &str) -> PublishRequest {
    PublishRequest { topic: topic.to_owned(), event: any("x", b"") }
}

fn envelope(change: fn(&mut Envelope)) -> ForwardRequest {
    let mut e =
        Envelope { timestamp: at(1), namespace: "edges".into(), topic: "/t/x".into(), event: any("x", b"") };
    change(&mut e);
    ForwardRequest { envelope: Some(e) }
}

/// Subscribe to `filters`, which let `/sync/x` through. The original answers only with the first event, so some are sent.
async fn subscribe(rpc: &Rpc, filters: &[&str]) -> Result<Streaming<Envelope>, Status> {
    let mut events = rpc.events();
    let call = events.subscribe(SubscribeRequest { filters: strings(filters) });
    tokio::pin!(call);
    loop {
        tokio::select! {
            answer = &mut call => return answer.map(tonic::Response::into_inner),
            () = tokio::time::sleep(Duration::from_millis(20)) => {
                rpc.within("sync").events().publish(publish("/sync/x")).await?;
            }
        }
    }
}

/// Publish until the subscription shows that it is there: an answer to Subscribe may come before it.
async fn ready(rpc: &Rpc, stream: &mut Streaming<Envelope>) -> Result<(), Status> {
    loop {
        rpc.within("sync").events().publish(publish("/sync/x")).await?;
        if let Ok(message) = tokio::time::timeout(Duration::from_millis(100), stream.message()).await {
            message?.ok_or_else(|| Status::unknown("the stream ended"))?;
            return Ok(());
        }
    }
}

#[test]
fn topics_and_filters() {
    contract("events", async |_| {
        let say = |topic: &'static str| {
            move |rpc: Rpc| async move { rpc.within("edges").events().publish(publish(topic)).await }
        };
        let forward = |request: ForwardRequest| {
            move |rpc: Rpc| async move { rpc.nowhere().events().forward(request).await }
        };
        let listen = |filters: &'static [&'static str]| {
            move |rpc: Rpc| async move {
                let filters = strings(filters);
                let mut stream = rpc.events().subscribe(SubscribeRequest { filters }).await?.into_inner();
                stream.message().await.map(drop)
            }
        };
        Ok(vec![
            case("publish", Code::Ok, "", say("/t/x")).older(),
            case("publish on a topic of one part", Code::Ok, "", say("/t")).older(),
            case("publish on an empty topic", Code::InvalidArgument, "envelope topic \"\": must not be empty: invalid argument", say("")).older(),
            case("publish on a topic without a slash", Code::InvalidArgument, "envelope topic \"t/x\": must start with '/': invalid argument", say("t/x")).older(),
            case("publish on a slash", Code::InvalidArgument, "envelope topic \"/\": must have at least one component: invalid argument", say("/")).older(),
            case("publish on an empty part", Code::InvalidArgument, "envelope topic \"/t//x\": failed validation on component \"\": identifier must not be empty: invalid argument", say("/t//x")).older(),
            case("publish on a topic that ends in a slash", Code::InvalidArgument, "envelope topic \"/t/\": failed validation on component \"\": identifier must not be empty: invalid argument", say("/t/")).older(),
            case("publish on a part that is no identifier", Code::InvalidArgument, "envelope topic \"/t/a b\": failed validation on component \"a b\": identifier \"a b\" must match ^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$: invalid argument", say("/t/a b")).older(),
            case("publish on a part that is too long", Code::InvalidArgument, "envelope topic \"/*\": failed validation on component \"*\": identifier \"*\" greater than maximum length (76 characters): invalid argument", |rpc| async move {
                rpc.within("edges").events().publish(publish(&format!("/{}", "x".repeat(77)))).await
            }).older(),
            case("publish without an event", Code::Ok, "", |rpc| async move {
                rpc.within("edges").events().publish(PublishRequest { topic: "/t/x".into(), event: None }).await
            }),
            case("forward", Code::Ok, "", forward(envelope(|_| {}))).older(),
            case("forward nothing", Code::InvalidArgument, "", forward(ForwardRequest { envelope: None })).only_ours("the original dies of it"),
            case("forward without a namespace", Code::InvalidArgument, "event envelope has invalid namespace*: identifier must not be empty: invalid argument", forward(envelope(|e| e.namespace.clear()))).older(),
            case("forward with a malformed namespace", Code::InvalidArgument, "event envelope has invalid namespace*: identifier \"a/b\" must match ^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$: invalid argument", forward(envelope(|e| e.namespace = "a/b".into()))).older(),
            case("forward with a malformed topic", Code::InvalidArgument, "envelope topic \"x\": must start with '/': invalid argument", forward(envelope(|e| e.topic = "x".into()))).older(),
            case("forward without a time", Code::Ok, "", forward(envelope(|e| e.timestamp = None))).ours(Code::InvalidArgument, "timestamp must be set on forwarded event", "an event without a time cannot be put in order; the original takes it for 1970"),
            case("forward with Go's zero time", Code::InvalidArgument, "timestamp must be set on forwarded event: invalid argument", forward(envelope(|e| e.timestamp = at(-62_135_596_800)))),
            case("forward with a time out of range", Code::Ok, "", forward(envelope(|e| e.timestamp.as_mut().unwrap().nanos = 2_000_000_000))).ours(Code::InvalidArgument, "is out of range", "such a time means nothing"),
            case("forward without an event", Code::Ok, "", forward(envelope(|e| e.event = None))),
            case("subscribe with a bad filter", Code::Unknown, "subscription error: failed parsing subscription filters: filters: parse error: [topic >|=|< x]: unsupported operator \"=\": invalid argument", listen(&["topic=x"])).ours(Code::InvalidArgument, "unsupported operator", "the original loses the kind of its own error"),
            case("subscribe with a good filter and a bad", Code::Unknown, "subscription error: failed parsing subscription filters: filters: parse error: [ >|=|< =]: expected field or quoted: invalid argument", listen(&["topic==x", "=="])).ours(Code::InvalidArgument, "expected field or quoted", "the original loses the kind of its own error"),
        ])
    });
}

/// Topics heard by `filters` while each of a few events is published.
async fn heard(rpc: &Rpc, filters: &[&str]) -> Result<Vec<String>, Status> {
    let filters: Vec<&str> = filters.iter().copied().chain(["topic==\"/sync/x\""]).collect();
    let mut stream = subscribe(rpc, &filters).await?;
    ready(rpc, &mut stream).await?;
    let exit = protos::api::events_types::TaskExit {
        container_id: "c1".into(),
        id: "e1".into(),
        pid: 7,
        exit_status: 3,
        exited_at: None,
    };
    let exit = Some(protos::api::Any::pack(&exit));
    for (namespace, topic, event) in [
        ("one", "/a/x", any("x", b"")),
        ("two", "/a/y", any("x", b"")),
        ("one", "/tasks/exit", exit),
        ("one", "/end/x", any("x", b"")),
    ] {
        rpc.within(namespace).events().publish(PublishRequest { topic: topic.into(), event }).await?;
    }
    rpc.within("sync").events().publish(publish("/sync/x")).await?;
    let mut topics = Vec::new();
    while let Some(e) = stream.message().await? {
        match e.topic.as_str() {
            "/sync/x" if topics.is_empty() => continue,
            "/sync/x" => break,
            _ => topics.push(format!("{}{}", e.namespace, e.topic)),
        }
    }
    Ok(topics)
}

#[test]
fn filters_choose_events() {
    story("evfilter", async |rpc| {
        for (filters, wanted) in [
            (&["topic==\"/a/x\""][..], &["one/a/x"][..]),
            (&["topic~=\"^/a/\""], &["one/a/x", "two/a/y"]),
            (&["topic~=|^/a/|,namespace==two"], &["two/a/y"]),
            (&["namespace==two"], &["two/a/y"]),
            (&["event.container_id==c1"], &["one/tasks/exit"]),
            (&["event.id==e1", "namespace==two"], &["two/a/y", "one/tasks/exit"]),
        ] {
            assert_eq!(heard(&rpc, filters).await?, wanted, "{filters:?}");
        }
        Ok(())
    });
}

/// Wait for the next event on `topic` and decode it.
async fn next<M: prost::Message + Name + Default>(
    stream: &mut Streaming<Envelope>,
    topic: &str,
) -> anyhow::Result<M> {
    let wait = async {
        loop {
            let e = stream.message().await?.ok_or_else(|| anyhow::anyhow!("the stream ended"))?;
            if e.topic != topic {
                continue;
            }
            anyhow::ensure!(e.namespace == "edges", "{topic} in {}", e.namespace);
            let stamp = e.timestamp.ok_or_else(|| anyhow::anyhow!("no time"))?;
            anyhow::ensure!(stamp.seconds > 1_600_000_000, "{topic} at {stamp:?}");
            let event = e.event.ok_or_else(|| anyhow::anyhow!("no event"))?;
            anyhow::ensure!(event.type_url == M::full_name(), "{topic} carries {}", event.type_url);
            return Ok(event.unpack::<M>()?);
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait)
        .await
        .map_err(|_| anyhow::anyhow!("no event on {topic}"))?
}

#[test]
fn what_changes_is_told() {
    use protos::api::{
        containers as c, content as ct, events_types as ev, images as im, namespaces as n, snapshots as s,
    };
    story("evtold", async |rpc| {
        let home = rpc.within("edges");
        let mut stream = subscribe(&rpc, &[]).await?;
        ready(&rpc, &mut stream).await?;
        let st = &mut stream;

        let namespace = Some(n::Namespace { name: "edges".into(), labels: labels(&[("k", "v")]) });
        home.namespaces().create(n::CreateNamespaceRequest { namespace: namespace.clone() }).await?;
        let e: ev::NamespaceCreate = next(st, "/namespaces/create").await?;
        assert_eq!((e.name.as_str(), e.labels), ("edges", labels(&[("k", "v")])));
        home.namespaces().update(n::UpdateNamespaceRequest { namespace, update_mask: None }).await?;
        let e: ev::NamespaceUpdate = next(st, "/namespaces/update").await?;
        assert_eq!((e.name.as_str(), e.labels), ("edges", labels(&[("k", "v")])));

        let mut container = c::Container {
            id: "c1".into(),
            image: "img".into(),
            labels: labels(&[("a", "b")]),
            spec: any("spec", b"{}"),
            runtime: Some(c::container::Runtime {
                name: "io.containerd.runc.v2".into(),
                options: any("opts", b"o"),
            }),
            snapshotter: "overlayfs".into(),
            snapshot_key: "key".into(),
            ..Default::default()
        };
        home.containers().create(c::CreateContainerRequest { container: Some(container.clone()) }).await?;
        let e: ev::ContainerCreate = next(st, "/containers/create").await?;
        let runtime = e.runtime.unwrap();
        assert_eq!(
            (e.id.as_str(), e.image.as_str(), runtime.name.as_str()),
            ("c1", "img", "io.containerd.runc.v2")
        );
        assert_eq!(runtime.options, any("opts", b"o"));
        container.image = "img2".into();
        home.containers()
            .update(c::UpdateContainerRequest { container: Some(container), update_mask: mask(&["image"]) })
            .await?;
        let e: ev::ContainerUpdate = next(st, "/containers/update").await?;
        assert_eq!((e.id.as_str(), e.image.as_str(), e.snapshot_key.as_str()), ("c1", "img2", "key"));
        assert_eq!(e.labels, labels(&[("a", "b")]));
        home.containers().delete(c::DeleteContainerRequest { id: "c1".into() }).await?;
        assert_eq!(next::<ev::ContainerDelete>(st, "/containers/delete").await?.id, "c1");

        let blob = store(&home, b"told bytes").await?;
        if rpc.server() != integration::rpc::Server::Older {
            let e: ev::ContentCreate = next(st, "/content/create").await?;
            assert_eq!((e.digest.as_str(), e.size), (blob.as_str(), 10));
        }
        let image = Some(im::Image {
            name: "i1".into(),
            labels: labels(&[("a", "b")]),
            target: Some(descriptor(MANIFEST, blob.clone(), 10)),
            ..Default::default()
        });
        home.images()
            .create(im::CreateImageRequest { image: image.clone(), source_date_epoch: None })
            .await?;
        let e: im::ImageCreate = next(st, "/images/create").await?;
        assert_eq!((e.name.as_str(), e.labels), ("i1", labels(&[("a", "b")])));
        home.images()
            .update(im::UpdateImageRequest { image, update_mask: None, source_date_epoch: None })
            .await?;
        let e: im::ImageUpdate = next(st, "/images/update").await?;
        assert_eq!((e.name.as_str(), e.labels), ("i1", labels(&[("a", "b")])));
        home.images().delete(im::DeleteImageRequest { name: "i1".into(), sync: true, target: None }).await?;
        assert_eq!(next::<im::ImageDelete>(st, "/images/delete").await?.name, "i1");
        home.content().delete(ct::DeleteContentRequest { digest: blob.clone() }).await?;
        assert_eq!(next::<ev::ContentDelete>(st, "/content/delete").await?.digest, blob);

        let snapshotter = "overlayfs".to_owned();
        home.snapshots()
            .prepare(s::PrepareSnapshotRequest {
                snapshotter: snapshotter.clone(),
                key: "k".into(),
                ..Default::default()
            })
            .await?;
        let e: ev::SnapshotPrepare = next(st, "/snapshot/prepare").await?;
        assert_eq!((e.key.as_str(), e.parent.as_str(), e.snapshotter.as_str()), ("k", "", "overlayfs"));
        home.snapshots()
            .commit(s::CommitSnapshotRequest {
                snapshotter: snapshotter.clone(),
                name: "n".into(),
                key: "k".into(),
                ..Default::default()
            })
            .await?;
        let e: ev::SnapshotCommit = next(st, "/snapshot/commit").await?;
        assert_eq!((e.key.as_str(), e.name.as_str(), e.snapshotter.as_str()), ("k", "n", "overlayfs"));
        home.snapshots().remove(s::RemoveSnapshotRequest { snapshotter, key: "n".into() }).await?;
        let e: ev::SnapshotRemove = next(st, "/snapshot/remove").await?;
        assert_eq!((e.key.as_str(), e.snapshotter.as_str()), ("n", "overlayfs"));

        home.namespaces().delete(n::DeleteNamespaceRequest { name: "edges".into() }).await?;
        assert_eq!(next::<ev::NamespaceDelete>(st, "/namespaces/delete").await?.name, "edges");
        Ok(())
    });
}
