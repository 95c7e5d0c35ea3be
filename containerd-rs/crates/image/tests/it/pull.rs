//! Whole images from a registry into the store.

use std::time::Duration;

use base::oci::media_type;
use base::{Digest, ErrorKind, Kinded, Matcher, Platform};
use image::pull::{PullOptions, pull};
use image::registry::Resolver;
use image::throttle::{Throttle, ThrottleOptions};
use image::transfer::ExtraReference;
use serde_json::json;

use crate::faulty::{Auth, Fault, Faulty};
use crate::node::{Node, Sample, descriptor, index, listener};
use crate::resolve::{patient, with_login};

async fn start(sizes: &[usize]) -> (Faulty, Sample, String) {
    let registry = Faulty::start(Auth::Open).await;
    let sample = Sample::new("linux/amd64", sizes);
    sample.put(&registry, "lib/a", "1");
    let reference = format!("{}/lib/a:1", registry.address());
    (registry, sample, reference)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_with_all_its_labels() {
    let (_registry, sample, reference) = start(&[1000, 300_000]).await;
    let node = Node::new();
    let (sink, told) = listener();
    let options = PullOptions { progress: Some(sink), ..PullOptions::new(&reference) };
    let images = pull(&node.local, &node.scope, &Resolver::new(patient()), options).await.unwrap();
    assert_eq!(images.len(), 1);
    assert_eq!((images[0].name.as_str(), &images[0].target.digest), (reference.as_str(), &sample.digest()));
    assert_eq!((node.images().len(), node.leases(), node.ingests().await.len()), (1, 0, 0));

    let labels = node.labels(&sample.digest()).await;
    let config = Digest::sha256(&sample.config);
    assert_eq!(labels["containerd.io/gc.ref.content.config"], config.to_string());
    assert_eq!(labels["containerd.io/gc.ref.content.l.1"], Digest::sha256(&sample.layers[1]).to_string());
    assert_eq!(labels["containerd.io/distribution.source.127.0.0.1"], "lib/a");
    for blob in sample.layers.iter().chain([&sample.config]) {
        assert_eq!(
            node.labels(&Digest::sha256(blob)).await["containerd.io/distribution.source.127.0.0.1"],
            "lib/a"
        );
    }
    let events: Vec<String> = told.await.unwrap().into_iter().map(|p| p.event).collect();
    let from = format!("OCI Registry ({reference})");
    assert_eq!(events[0], format!("Resolving from {from}"));
    assert_eq!(events[1], format!("Pulling from {from}"));
    assert_eq!(events[2], "fetching image content");
    assert_eq!(&events[events.len() - 2..], ["saved".to_owned(), format!("Completed pull from {from}")]);
    assert_eq!(events.iter().filter(|e| *e == "complete").count(), 4, "{events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_pull_moves_nothing() {
    let (registry, sample, reference) = start(&[1000]).await;
    let node = Node::new();
    let resolver = Resolver::new(patient());
    pull(&node.local, &node.scope, &resolver, PullOptions::new(&reference)).await.unwrap();
    let before = registry.seen().len();
    let (sink, told) = listener();
    let options = PullOptions { progress: Some(sink), ..PullOptions::new(&reference) };
    pull(&node.local, &node.scope, &resolver, options).await.unwrap();
    assert_eq!(registry.seen().len(), before + 1, "one HEAD");
    let events: Vec<String> = told.await.unwrap().into_iter().map(|p| p.event).collect();
    assert_eq!(events.iter().filter(|e| *e == "already exists").count(), 3, "{events:?}");
    // The same content under another repository adds to the label.
    sample.put(&registry, "other", "1");
    pull(&node.local, &node.scope, &resolver, PullOptions::new(format!("{}/other:1", registry.address())))
        .await
        .unwrap();
    let labels = node.labels(&Digest::sha256(&sample.config)).await;
    assert_eq!(labels["containerd.io/distribution.source.127.0.0.1"], "lib/a,other");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_wanted_platform() {
    let registry = Faulty::start(Auth::Open).await;
    let (amd, arm) = (Sample::new("linux/amd64", &[100]), Sample::new("linux/arm64", &[200]));
    amd.put(&registry, "a", "");
    arm.put(&registry, "a", "");
    registry.manifest(
        "a",
        "1",
        media_type::OCI_INDEX,
        index(&[("linux/amd64", &amd), ("linux/arm64", &arm)]),
    );
    let reference = format!("{}/a:1", registry.address());
    let arm_only = Matcher::only(&Platform::parse("linux/arm64").unwrap());

    let node = Node::new();
    let options = PullOptions { platforms: arm_only.clone(), ..PullOptions::new(&reference) };
    let images = pull(&node.local, &node.scope, &Resolver::new(patient()), options).await.unwrap();
    assert!(node.has(&Digest::sha256(&arm.layers[0])).await);
    assert!(!node.has(&amd.digest()).await);
    // Labels name all children, so that a later pull of another platform stays together.
    let labels = node.labels(&images[0].target.digest).await;
    assert!(
        labels.contains_key("containerd.io/gc.ref.content.m.0")
            && labels.contains_key("containerd.io/gc.ref.content.m.1")
    );

    let node = Node::new();
    let options = PullOptions { platforms: arm_only, all_metadata: true, ..PullOptions::new(&reference) };
    pull(&node.local, &node.scope, &Resolver::new(patient()), options).await.unwrap();
    assert!(node.has(&Digest::sha256(&amd.config)).await && !node.has(&Digest::sha256(&amd.layers[0])).await);

    let node = Node::new();
    let options = PullOptions { manifest_limit: 1, ..PullOptions::new(&reference) };
    pull(&node.local, &node.scope, &Resolver::new(patient()), options).await.unwrap();
    assert!(node.has(&amd.digest()).await && !node.has(&arm.digest()).await);

    let node = Node::new();
    let none = Matcher::only(&Platform::parse("linux/s390x").unwrap());
    let options = PullOptions { platforms: none, ..PullOptions::new(&reference) };
    let e = pull(&node.local, &node.scope, &Resolver::new(patient()), options).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotFound);
    assert!(node.images().is_empty() && node.leases() == 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_pull_is_resumed_after_a_restart() {
    let (registry, sample, reference) = start(&[3 << 20]).await;
    registry.fault("GET", Digest::sha256(&sample.layers[0]).as_str(), 99, Fault::HangAfter(2 << 20));
    let node = Node::new();
    let options = patient();
    {
        let (local, scope, reference) = (node.local.clone(), node.scope.clone(), reference.clone());
        let running = tokio::spawn(async move {
            pull(&local, &scope, &Resolver::new(options), PullOptions::new(reference)).await
        });
        loop {
            if node.ingests().await.iter().any(|(_, offset)| *offset > 1 << 20) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        running.abort();
        assert!(running.await.unwrap_err().is_cancelled());
    }
    assert!(node.images().is_empty());
    let node = node.reopen();
    let left = node.ingests().await;
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(left[0].1 > 0, "{left:?}");
    let registry_seen = registry.seen().len();
    // The fault is over.
    let healthy = Faulty::start(Auth::Open).await;
    sample.put(&healthy, "lib/a", "1");
    drop(registry);
    let reference = format!("{}/lib/a:1", healthy.address());
    pull(&node.local, &node.scope, &Resolver::new(patient()), PullOptions::new(&reference)).await.unwrap();
    assert!(registry_seen > 0);
    let range =
        healthy.seen().into_iter().find(|s| s.uri.contains("/blobs/") && !s.header("range").is_empty());
    assert!(range.is_some(), "the layer was not resumed");
    assert!(node.has(&Digest::sha256(&sample.layers[0])).await);
    assert!(node.ingests().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_connections_do_not_matter() {
    let (registry, sample, reference) = start(&[2 << 20, 2 << 20, 2 << 20]).await;
    registry.fault("GET", "/blobs/", 8, Fault::CutAfter(500_000));
    let node = Node::new();
    pull(&node.local, &node.scope, &Resolver::new(patient()), PullOptions::new(&reference)).await.unwrap();
    for layer in &sample.layers {
        assert!(node.has(&Digest::sha256(layer)).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_bytes_leave_nothing_behind() {
    let layer = Digest::sha256(&Sample::new("linux/amd64", &[1 << 20]).layers[0]).to_string();
    for part in [layer.as_str(), "/manifests/sha256"] {
        let (registry, _, reference) = start(&[1 << 20]).await;
        registry.fault("GET", part, 99, Fault::Garble);
        let node = Node::new();
        let e = pull(&node.local, &node.scope, &Resolver::new(patient()), PullOptions::new(&reference))
            .await
            .unwrap_err();
        assert_eq!(e.kind(), ErrorKind::FailedPrecondition, "{part}: {}", base::chain(&e));
        assert_eq!((node.images().len(), node.leases()), (0, 0));
        assert!(node.ingests().await.iter().all(|(_, offset)| *offset == 0), "{:?}", node.ingests().await);
        // And a retry works once the registry is honest.
        let (_honest, _, reference) = start(&[1 << 20]).await;
        pull(&node.local, &node.scope, &Resolver::new(patient()), PullOptions::new(&reference))
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_start_of_a_blob_is_fetched_again() {
    let (registry, sample, reference) = start(&[1 << 20]).await;
    let node = Node::new();
    let digest = Digest::sha256(&sample.layers[0]);
    let options = store::WriterOptions::new(format!("layer-{digest}"))
        .expect(digest.clone(), sample.layers[0].len() as u64);
    let mut writer = node.local.content.writer(&node.scope, options).await.unwrap();
    writer.write(&[9; 1000]).await.unwrap();
    writer.close().await;
    pull(&node.local, &node.scope, &Resolver::new(patient()), PullOptions::new(&reference)).await.unwrap();
    assert!(node.has(&digest).await);
    assert_eq!(registry.count("GET", digest.as_str()), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_documents() {
    let registry = Faulty::start(Auth::Open).await;
    let blob = descriptor(media_type::OCI_CONFIG, b"{}");
    let both = json!({"schemaVersion": 2, "config": blob, "layers": [blob], "manifests": [blob]}).to_string();
    let mut huge = descriptor(media_type::OCI_MANIFEST, b"x");
    huge["size"] = json!(1u64 << 40);
    let mut negative = blob.clone();
    negative["size"] = json!(-1);
    let mut empty = blob.clone();
    empty["size"] = json!(0);
    let cases = [
        ("both", media_type::OCI_MANIFEST, both.clone(), ErrorKind::InvalidArgument),
        ("both", media_type::OCI_INDEX, both, ErrorKind::InvalidArgument),
        ("no json", media_type::OCI_MANIFEST, "[".to_owned(), ErrorKind::InvalidArgument),
        (
            "schema 1",
            media_type::DOCKER_SCHEMA1,
            "{\"schemaVersion\":1}".to_owned(),
            ErrorKind::InvalidArgument,
        ),
        ("html", "text/html", "<html>".to_owned(), ErrorKind::InvalidArgument),
        (
            "huge child",
            media_type::OCI_INDEX,
            json!({"schemaVersion": 2, "manifests": [huge]}).to_string(),
            ErrorKind::InvalidArgument,
        ),
        (
            "negative",
            media_type::OCI_MANIFEST,
            json!({"schemaVersion": 2, "config": negative, "layers": []}).to_string(),
            ErrorKind::InvalidArgument,
        ),
        (
            "empty",
            media_type::OCI_MANIFEST,
            json!({"schemaVersion": 2, "config": empty, "layers": []}).to_string(),
            ErrorKind::InvalidArgument,
        ),
    ];
    for (what, media_type, body, kind) in cases {
        registry.manifest("a", "1", media_type, body);
        let node = Node::new();
        let options = PullOptions::new(format!("{}/a:1", registry.address()));
        let e = pull(&node.local, &node.scope, &Resolver::new(patient()), options).await.unwrap_err();
        assert_eq!(e.kind(), kind, "{what}: {}", base::chain(&e));
        assert_eq!((node.images().len(), node.leases()), (0, 0), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn indexes_in_indexes_end() {
    let registry = Faulty::start(Auth::Open).await;
    let mut inner = Sample::new("linux/amd64", &[10]).manifest;
    let mut kind = media_type::OCI_MANIFEST;
    for _ in 0..30 {
        registry.manifest("a", "", kind, inner.clone());
        inner = json!({"schemaVersion": 2, "manifests": [descriptor(kind, &inner)]}).to_string().into_bytes();
        kind = media_type::OCI_INDEX;
    }
    registry.manifest("a", "1", kind, inner);
    let node = Node::new();
    let options = PullOptions::new(format!("{}/a:1", registry.address()));
    let e = pull(&node.local, &node.scope, &Resolver::new(patient()), options).await.unwrap_err();
    assert!(base::chain(&e).contains("too deep"), "{}", base::chain(&e));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_pulls_share_one_download() {
    let (registry, sample, reference) = start(&[2 << 20]).await;
    let node = Node::new();
    let first = Resolver::new(patient());
    let second = Resolver::new(patient());
    let (a, b) = tokio::join!(
        pull(&node.local, &node.scope, &first, PullOptions::new(&reference)),
        pull(&node.local, &node.scope, &second, PullOptions::new(&reference)),
    );
    a.unwrap();
    b.unwrap();
    assert_eq!(registry.count("GET", Digest::sha256(&sample.layers[0]).as_str()), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_labels_as_asked() {
    let (_registry, sample, reference) = start(&[10]).await;
    let node = Node::new();
    let mut options = PullOptions::new(&reference);
    options.destination.labels.insert("who".to_owned(), "me".to_owned());
    options.destination.extra_references = vec![
        ExtraReference { name: "r.io/other:1".to_owned(), ..ExtraReference::default() },
        ExtraReference {
            name: "r.io/x".to_owned(),
            is_prefix: true,
            add_digest: true,
            ..ExtraReference::default()
        },
    ];
    let images = pull(&node.local, &node.scope, &Resolver::new(patient()), options.clone()).await.unwrap();
    let names: Vec<&str> = images.iter().map(|i| i.name.as_str()).collect();
    assert_eq!(names, [reference.as_str(), "r.io/other:1", &format!("r.io/x@{}", sample.digest())]);
    assert!(images.iter().all(|i| i.labels["who"] == "me"));
    assert_eq!(images[1].labels["containerd.io/gc.bref.image"], reference);
    // Again: the records are replaced.
    options.destination.labels.clear();
    let images = pull(&node.local, &node.scope, &Resolver::new(patient()), options).await.unwrap();
    assert!(!images[0].labels.contains_key("who"));
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_for_the_registry_only() {
    let registry = Faulty::start(Auth::Basic { user: "u", password: "p" }).await;
    let cdn = Faulty::start(Auth::Open).await;
    let sample = Sample::new("linux/amd64", &[100_000]);
    sample.put(&registry, "a", "1");
    for layer in &sample.layers {
        let digest = cdn.blob("a", layer.clone());
        registry.fault(
            "GET",
            digest.as_str(),
            9,
            Fault::Redirect(format!("http://{}/v2/a/blobs/{digest}", cdn.address())),
        );
    }
    let node = Node::new();
    let resolver = Resolver::new(with_login(&registry.address(), "u", "p"));
    let options = PullOptions::new(format!("{}/a:1", registry.address()));
    pull(&node.local, &node.scope, &resolver, options).await.unwrap();
    assert_eq!(cdn.seen().len(), 1);
    assert_eq!(cdn.seen()[0].header("authorization"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_download_stops_the_others() {
    let (registry, sample, reference) = start(&[1000, 2 << 20, 2 << 20]).await;
    registry.fault("GET", Digest::sha256(&sample.layers[0]).as_str(), 99, Fault::Status(404));
    for layer in &sample.layers[1..] {
        registry.fault("GET", Digest::sha256(layer).as_str(), 99, Fault::HangAfter(1 << 20));
    }
    let node = Node::new();
    let options = patient();
    let before = std::time::Instant::now();
    let e = pull(&node.local, &node.scope, &Resolver::new(options), PullOptions::new(&reference))
        .await
        .unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotFound, "{}", base::chain(&e));
    assert!(before.elapsed() < Duration::from_secs(50), "it did not wait for the hanging ones");
}

/// Ranges of 64 KiB, however fast the registry is.
fn in_ranges(reference: &str, connections: usize) -> PullOptions {
    let options = ThrottleOptions {
        downloads: connections,
        range: 64 << 10,
        fast: u64::MAX,
        ..ThrottleOptions::default()
    };
    PullOptions { throttle: Throttle::new(options), ..PullOptions::new(reference) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_big_layer_comes_in_ranges() {
    let (registry, sample, reference) = start(&[1 << 20]).await;
    let digest = Digest::sha256(&sample.layers[0]);
    let node = Node::new();
    pull(&node.local, &node.scope, &Resolver::new(patient()), in_ranges(&reference, 4)).await.unwrap();
    assert!(node.has(&digest).await);
    let seen = registry.seen().into_iter().filter(|s| s.uri.contains(digest.as_str()));
    let mut ranges: Vec<(u64, u64)> = seen
        .map(|s| {
            let range = s.header("range").strip_prefix("bytes=").unwrap().to_owned();
            let (start, end) = range.split_once('-').unwrap();
            (start.parse().unwrap(), end.parse().unwrap_or(sample.layers[0].len() as u64 - 1))
        })
        .collect();
    ranges.sort_unstable();
    assert!(ranges.len() > 10, "{ranges:?}");
    // Every byte once.
    let mut next = 0;
    for (start, end) in ranges {
        assert_eq!(start, next);
        next = end + 1;
    }
    assert_eq!(next, sample.layers[0].len() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_that_are_not_honoured_or_fail_do_not_matter() {
    for (fault, times, most) in
        [(Fault::IgnoreRange, 99, 1), (Fault::OtherRange, 1, 99), (Fault::CutAfter(10_000), 3, 99)]
    {
        let (registry, sample, reference) = start(&[1 << 20]).await;
        let digest = Digest::sha256(&sample.layers[0]);
        registry.fault("GET", digest.as_str(), times, fault.clone());
        let node = Node::new();
        let done = pull(&node.local, &node.scope, &Resolver::new(patient()), in_ranges(&reference, 4)).await;
        if matches!(fault, Fault::OtherRange) {
            // The only host lies about what it sends.
            assert!(done.is_err(), "{fault:?}");
            continue;
        }
        done.unwrap_or_else(|e| panic!("{fault:?}: {}", base::chain(&e)));
        assert!(node.has(&digest).await, "{fault:?}");
        assert!(registry.count("GET", digest.as_str()) <= most, "{fault:?}");
    }
}
