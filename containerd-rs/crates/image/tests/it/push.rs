//! Whole images to a registry.

use base::oci::media_type;
use base::{Digest, ErrorKind, Kinded};
use image::pull::{PullOptions, pull};
use image::push::{PushOptions, push};
use image::registry::Resolver;
use image::tag;
use image::transfer::Destination;

use crate::faulty::{Auth, Fault, Faulty};
use crate::node::{Node, Sample, index, listener};
use crate::resolve::patient;

#[tokio::test(flavor = "multi_thread")]
async fn round_trip_of_an_index() {
    let from = Faulty::start(Auth::Open).await;
    let (amd, arm) = (Sample::new("linux/amd64", &[100_000, 50]), Sample::new("linux/arm64", &[200]));
    amd.put(&from, "a", "");
    arm.put(&from, "a", "");
    let bytes = index(&[("linux/amd64", &amd), ("linux/arm64", &arm)]);
    from.manifest("a", "1", media_type::OCI_INDEX, bytes.clone());
    let node = Node::new();
    let reference = format!("{}/a:1", from.address());
    pull(&node.local, &node.scope, &Resolver::new(patient()), PullOptions::new(&reference)).await.unwrap();

    let to = Faulty::start(Auth::Open).await;
    let target = format!("{}/b/c:v2", to.address());
    let (sink, told) = listener();
    let options = PushOptions { progress: Some(sink), ..PushOptions::new(&reference, &target) };
    push(&node.local, &node.scope, &Resolver::new(patient()), options).await.unwrap();
    assert!(to.has("/v2/b/c/manifests/v2"));
    assert!(to.has(&format!("/v2/b/c/manifests/{}", arm.digest())));
    // Children before parents.
    let puts: Vec<String> = to.seen().into_iter().filter(|s| s.method == "PUT").map(|s| s.uri).collect();
    let first_manifest = puts.iter().position(|u| u.contains("/manifests/")).unwrap();
    assert!(puts[..first_manifest].iter().all(|u| u.contains("/uploads/")));
    assert!(puts.last().unwrap().ends_with("/manifests/v2"), "{puts:?}");
    let events: Vec<String> = told.await.unwrap().into_iter().map(|p| p.event).collect();
    assert_eq!(events[0], format!("Pushing to OCI Registry ({target})"));
    assert_eq!(events.last().unwrap(), &format!("Completed push to OCI Registry ({target})"));

    let other = Node::new();
    let images =
        pull(&other.local, &other.scope, &Resolver::new(patient()), PullOptions::new(&target)).await.unwrap();
    assert_eq!(images[0].target.digest, Digest::sha256(&bytes));
    assert_eq!(node.leases(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_are_mounted_from_where_they_came() {
    let registry = Faulty::start(Auth::Open).await;
    let sample = Sample::new("linux/amd64", &[1000, 2000]);
    sample.put(&registry, "lib/a", "1");
    let node = Node::new();
    let reference = format!("{}/lib/a:1", registry.address());
    pull(&node.local, &node.scope, &Resolver::new(patient()), PullOptions::new(&reference)).await.unwrap();
    let copy = format!("{}/lib/b:1", registry.address());
    tag(&node.local, &node.scope, &reference, &Destination::named(&copy)).await.unwrap();
    push(&node.local, &node.scope, &Resolver::new(patient()), PushOptions::new(&copy, &copy)).await.unwrap();
    assert_eq!(registry.count("POST", "mount="), 3);
    assert_eq!(registry.count("PUT", "/uploads/"), 0);
    assert!(registry.has("/v2/lib/b/manifests/1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_pushed() {
    let registry = Faulty::start(Auth::Open).await;
    let node = Node::new();
    let target = format!("{}/a:1", registry.address());
    let e = push(&node.local, &node.scope, &Resolver::new(patient()), PushOptions::new("no/such:1", &target))
        .await
        .unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotFound);

    let sample = Sample::new("linux/amd64", &[1000]);
    sample.put(&registry, "a", "1");
    pull(&node.local, &node.scope, &Resolver::new(patient()), PullOptions::new(&target)).await.unwrap();
    let to = Faulty::start(Auth::Open).await;
    to.fault("PUT", "/uploads/", 99, Fault::Status(507));
    let e = push(
        &node.local,
        &node.scope,
        &Resolver::new(patient()),
        PushOptions::new(&target, format!("{}/a:1", to.address())),
    )
    .await
    .unwrap_err();
    assert!(base::chain(&e).contains("507"), "{}", base::chain(&e));
    assert!(!to.has("/v2/a/manifests/1"));
}

/// Spoils the bytes of a blob in the store, not its size.
pub fn spoil(node: &Node, digest: &Digest) {
    use std::os::unix::fs::PermissionsExt;
    let path = node.path().join("content/blobs/sha256").join(digest.hex());
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::write(&path, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_here_is_mounted_all_the_same() {
    let registry = Faulty::start(Auth::Open).await;
    let (amd, arm) = (Sample::new("linux/amd64", &[1000]), Sample::new("linux/arm64", &[2000]));
    amd.put(&registry, "lib/a", "");
    arm.put(&registry, "lib/a", "");
    let bytes = index(&[("linux/amd64", &amd), ("linux/arm64", &arm)]);
    registry.manifest("lib/a", "1", media_type::OCI_INDEX, bytes);
    let node = Node::new();
    let reference = format!("{}/lib/a:1", registry.address());
    // The manifests of all platforms, the layers of one.
    let mut options = PullOptions::new(&reference);
    options.platforms = base::platform::Matcher::only(&base::Platform::parse("linux/amd64").unwrap());
    options.all_metadata = true;
    pull(&node.local, &node.scope, &Resolver::new(patient()), options).await.unwrap();
    assert!(!node.has(&Digest::sha256(&arm.layers[0])).await);

    let copy = format!("{}/lib/b:1", registry.address());
    push(&node.local, &node.scope, &Resolver::new(patient()), PushOptions::new(&reference, &copy))
        .await
        .unwrap();
    assert!(registry.has("/v2/lib/b/manifests/1"));
    assert!(registry.has(&format!("/v2/lib/b/blobs/{}", Digest::sha256(&arm.layers[0]))));
    // Elsewhere there is nothing to take it from.
    let to = Faulty::start(Auth::Open).await;
    let target = format!("{}/b:1", to.address());
    let e = push(&node.local, &node.scope, &Resolver::new(patient()), PushOptions::new(&reference, &target))
        .await
        .unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotFound, "{}", base::chain(&e));
    assert!(!to.has("/v2/b/manifests/1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_content_is_not_pushed_but_set_aside_and_fetched_again() {
    let from = Faulty::start(Auth::Open).await;
    let sample = Sample::new("linux/amd64", &[300_000, 10]);
    sample.put(&from, "a", "1");
    let (node, reference) = (Node::new(), format!("{}/a:1", from.address()));
    let resolver = Resolver::new(patient());
    let get = || pull(&node.local, &node.scope, &resolver, PullOptions::new(&reference));
    for bad in [Digest::sha256(&sample.layers[0]), Digest::sha256(&sample.config), sample.digest()] {
        get().await.unwrap();
        spoil(&node, &bad);
        let to = Faulty::start(Auth::Open).await;
        let target = format!("{}/b:1", to.address());
        let send = || push(&node.local, &node.scope, &resolver, PushOptions::new(&reference, &target));
        let e = send().await.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::DataLoss, "{}", base::chain(&e));
        assert!(base::chain(&e).contains(bad.as_str()), "{}", base::chain(&e));
        assert!(!to.has("/v2/b/manifests/1") && !to.has(&format!("/v2/b/blobs/{bad}")));
        assert!(!node.has(&bad).await, "{bad} is set aside");
        assert_eq!(send().await.unwrap_err().kind(), ErrorKind::NotFound);
        get().await.unwrap();
        send().await.unwrap();
        assert!(to.has("/v2/b/manifests/1"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_content_is_not_exported() {
    let from = Faulty::start(Auth::Open).await;
    let sample = Sample::new("linux/amd64", &[300_000]);
    sample.put(&from, "a", "1");
    let (node, reference) = (Node::new(), format!("{}/a:1", from.address()));
    pull(&node.local, &node.scope, &Resolver::new(patient()), PullOptions::new(&reference)).await.unwrap();
    let bad = Digest::sha256(&sample.layers[0]);
    spoil(&node, &bad);
    let (sink, mut bytes) = tokio::sync::mpsc::channel(4);
    let reader = tokio::spawn(async move { while bytes.recv().await.is_some() {} });
    let mut options = image::archive::ExportOptions::new([reference.clone()]);
    options.all_platforms = true;
    let e = image::archive::export(&node.local, &node.scope, sink, options).await.unwrap_err();
    reader.await.unwrap();
    assert_eq!(e.kind(), ErrorKind::DataLoss, "{}", base::chain(&e));
    assert!(!node.has(&bad).await);
}
