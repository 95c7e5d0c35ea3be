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
