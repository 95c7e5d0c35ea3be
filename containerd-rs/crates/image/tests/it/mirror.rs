//! From one registry to another.

use base::oci::media_type;
use base::{Digest, ErrorKind, Kinded};
use image::push::{MirrorOptions, mirror};
use image::registry::Resolver;

use crate::faulty::{Auth, Fault, Faulty};
use crate::node::{Sample, index, listener};
use crate::resolve::{patient, with_login};

fn anonymous() -> Resolver {
    Resolver::new(patient())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_goes_from_one_to_the_other() {
    let from = Faulty::start(Auth::Bearer { user: "u", password: "p", post: true, anonymous: false }).await;
    let (amd, arm) = (Sample::new("linux/amd64", &[3 << 20, 50]), Sample::new("linux/arm64", &[200]));
    amd.put(&from, "a", "");
    arm.put(&from, "a", "");
    let bytes = index(&[("linux/amd64", &amd), ("linux/arm64", &arm)]);
    from.manifest("a", "1", media_type::OCI_INDEX, bytes.clone());
    let to = Faulty::start(Auth::Basic { user: "v", password: "q" }).await;
    let (sink, told) = listener();
    let options = MirrorOptions::new(format!("{}/a:1", from.address()), format!("{}/b/c:v2", to.address()));
    let source = Resolver::new(with_login(&from.address(), "u", "p"));
    let destination = Resolver::new(with_login(&to.address(), "v", "q"));
    let told_of = MirrorOptions { progress: Some(sink), ..options.clone() };
    mirror(&source, &destination, told_of).await.unwrap();
    for sample in [&amd, &arm] {
        assert!(to.has(&format!("/v2/b/c/manifests/{}", sample.digest())));
        for blob in sample.layers.iter().chain([&sample.config]) {
            assert!(to.has(&format!("/v2/b/c/blobs/{}", Digest::sha256(blob))));
        }
    }
    assert!(to.has("/v2/b/c/manifests/v2"));
    let events: Vec<String> = told.await.unwrap().into_iter().map(|p| p.event).collect();
    assert!(events[0].starts_with("Resolving from OCI Registry ("), "{events:?}");
    assert!(events.last().unwrap().starts_with("Completed push to OCI Registry ("), "{events:?}");
    // Again: nothing is fetched but documents, nothing is sent.
    let (gets, puts) = (from.count("GET", "/blobs/"), to.count("PUT", ""));
    mirror(&source, &destination, options).await.unwrap();
    assert_eq!((from.count("GET", "/blobs/"), to.count("PUT", "")), (gets, puts));
}

#[tokio::test(flavor = "multi_thread")]
async fn within_one_registry_blobs_are_mounted() {
    let registry = Faulty::start(Auth::Open).await;
    let sample = Sample::new("linux/amd64", &[1000, 2000]);
    sample.put(&registry, "a", "1");
    let options =
        MirrorOptions::new(format!("{}/a:1", registry.address()), format!("{}/b:1", registry.address()));
    mirror(&anonymous(), &anonymous(), options).await.unwrap();
    assert_eq!((registry.count("POST", "mount="), registry.count("GET", "/blobs/")), (3, 0));
    assert!(registry.has("/v2/b/manifests/1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_connections_on_both_sides_are_survived() {
    let from = Faulty::start(Auth::Open).await;
    let to = Faulty::start(Auth::Open).await;
    let sample = Sample::new("linux/amd64", &[2 << 20]);
    sample.put(&from, "a", "1");
    from.fault("GET", "/blobs/", 2, Fault::CutAfter(500_000));
    to.fault("PUT", "/uploads/", 1, Fault::Status(503));
    let options = MirrorOptions::new(format!("{}/a:1", from.address()), format!("{}/b:1", to.address()));
    mirror(&anonymous(), &anonymous(), options).await.unwrap();
    assert!(to.has("/v2/b/manifests/1"));
    assert!(to.has(&format!("/v2/b/blobs/{}", Digest::sha256(&sample.layers[0]))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_lies_or_is_gone_leaves_nothing_named() {
    for (fault, kind) in [
        (Fault::Garble, ErrorKind::FailedPrecondition),
        (Fault::Status(404), ErrorKind::Unavailable),
        (Fault::WrongLength(5), ErrorKind::Unavailable),
    ] {
        let from = Faulty::start(Auth::Open).await;
        let to = Faulty::start(Auth::Open).await;
        let sample = Sample::new("linux/amd64", &[400_000]);
        sample.put(&from, "a", "1");
        from.fault("GET", "/blobs/", 99, fault);
        let options = MirrorOptions::new(format!("{}/a:1", from.address()), format!("{}/b:1", to.address()));
        let e = mirror(&anonymous(), &anonymous(), options.clone()).await.unwrap_err();
        assert_eq!(e.kind(), kind, "{}", base::chain(&e));
        assert!(!to.has("/v2/b/manifests/1"));
        assert!(!to.has(&format!("/v2/b/blobs/{}", Digest::sha256(&sample.layers[0]))));
        from.heal();
        mirror(&anonymous(), &anonymous(), options).await.unwrap();
        assert!(to.has("/v2/b/manifests/1"));
    }
}
