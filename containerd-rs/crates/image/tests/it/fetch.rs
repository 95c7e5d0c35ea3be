//! Blobs arrive whole, or not at all.

use std::time::{Duration, Instant};

use base::Descriptor;
use base::oci::media_type;
use image::registry::{BlobStream, RegistryError, Resolver};

use crate::faulty::{Auth, Fault, Faulty};
use crate::resolve::patient;

const SIZE: usize = 3 << 20;

fn content() -> Vec<u8> {
    (0..SIZE).map(|n| (n * 31 % 251) as u8).collect()
}

async fn registry() -> (Faulty, Descriptor) {
    let registry = Faulty::start(Auth::Open).await;
    let digest = registry.blob("a", content());
    (registry, Descriptor::new(media_type::OCI_LAYER, digest, SIZE as i64))
}

fn open(registry: &Faulty, descriptor: &Descriptor, offset: u64) -> BlobStream {
    open_within(Duration::from_secs(60), registry, descriptor, offset)
}

/// Bodies that bring nothing for `stall` are given up.
fn open_within(stall: Duration, registry: &Faulty, descriptor: &Descriptor, offset: u64) -> BlobStream {
    let mut options = patient();
    options.timeouts.stall = stall;
    let resolver = Resolver::new(options);
    resolver.repository(&format!("{}/a:1", registry.address())).unwrap().fetch(descriptor, offset).unwrap()
}

async fn all(mut stream: BlobStream) -> Result<Vec<u8>, RegistryError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await? {
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

#[tokio::test]
async fn whole_and_from_the_middle() {
    let (registry, descriptor) = registry().await;
    assert!(all(open(&registry, &descriptor, 0)).await.unwrap() == content());
    assert!(all(open(&registry, &descriptor, 1000)).await.unwrap() == content()[1000..]);
    assert_eq!(all(open(&registry, &descriptor, SIZE as u64)).await.unwrap(), b"");
    let seen = registry.seen();
    assert_eq!(seen[0].header("range"), "");
    assert_eq!(seen[1].header("range"), "bytes=1000-");
    assert_eq!(seen.len(), 2, "nothing left to ask for at the end");
}

#[tokio::test]
async fn cut_connections_are_resumed() {
    let (registry, descriptor) = registry().await;
    registry.fault("GET", "/blobs/", 3, Fault::CutAfter(700_000));
    assert!(all(open(&registry, &descriptor, 0)).await.unwrap() == content());
    let ranges: Vec<_> = registry.seen().iter().map(|s| s.header("range").to_owned()).collect();
    assert_eq!(ranges.len(), 4, "{ranges:?}");
    assert!(ranges[1..].iter().all(|r| r.starts_with("bytes=")), "{ranges:?}");
}

#[tokio::test]
async fn a_silent_body_is_resumed() {
    let (registry, descriptor) = registry().await;
    registry.fault("GET", "/blobs/", 1, Fault::HangAfter(1 << 20));
    let before = Instant::now();
    // Longer than a healthy body is silent for on a busy machine.
    let stall = Duration::from_secs(4);
    assert!(all(open_within(stall, &registry, &descriptor, 0)).await.unwrap() == content());
    assert!(before.elapsed() >= stall);
    assert_eq!(registry.seen().len(), 2);
}

#[tokio::test]
async fn a_trickle_is_as_good_as_silence() {
    let (registry, descriptor) = registry().await;
    registry.fault("GET", "/blobs/", 1, Fault::Trickle);
    let before = Instant::now();
    assert!(all(open_within(Duration::from_secs(4), &registry, &descriptor, 0)).await.unwrap() == content());
    // Read to its end it would take hours.
    assert!(before.elapsed() < Duration::from_secs(60));
    assert_eq!(registry.seen().len(), 2);
}

#[tokio::test]
async fn resumption_is_bounded() {
    let (registry, descriptor) = registry().await;
    registry.fault("GET", "/blobs/", 999, Fault::CutAfter(10));
    let e = all(open(&registry, &descriptor, 0)).await.map(|b| b.len()).unwrap_err();
    assert!(e.to_string().contains("could not fetch content descriptor"), "{e}");
    assert!(registry.seen().len() <= 40, "{}", registry.seen().len());
}

#[tokio::test]
async fn a_range_that_is_ignored_is_skipped_over() {
    let (registry, descriptor) = registry().await;
    registry.fault("GET", "/blobs/", 1, Fault::IgnoreRange);
    assert!(all(open(&registry, &descriptor, 1_000_000)).await.unwrap() == content()[1_000_000..]);
}

#[tokio::test]
async fn lies_are_found() {
    for (fault, word) in [
        (Fault::WrongLength(5), "announces"),
        (Fault::WrongLength(-5), "announces"),
        (Fault::OtherRange, "unhandled content range"),
    ] {
        let (registry, descriptor) = registry().await;
        registry.fault("GET", "/blobs/", 999, fault.clone());
        let e = all(open(&registry, &descriptor, 100)).await.map(|b| b.len()).unwrap_err();
        assert!(e.to_string().contains(word), "{fault:?}: {e}");
    }
}

#[tokio::test]
async fn an_endless_body_ends_with_the_descriptor() {
    let (registry, descriptor) = registry().await;
    registry.fault("GET", "/blobs/", 1, Fault::Endless);
    assert!(all(open(&registry, &descriptor, 0)).await.unwrap() == content());
}

#[tokio::test]
async fn wrong_bytes_can_be_had_elsewhere_or_not() {
    let (registry, descriptor) = registry().await;
    registry.fault("GET", "/blobs/", 1, Fault::Garble);
    let mut stream = open(&registry, &descriptor, 0);
    while stream.next().await.unwrap().is_some() {}
    assert!(!stream.restart_elsewhere("sha256:other"));
    let e = stream.failed().to_string();
    assert!(e.contains("its content has the digest sha256:other"), "{e}");
}

#[tokio::test]
async fn sizes_that_cannot_be() {
    let (registry, mut descriptor) = registry().await;
    let resolver = Resolver::new(patient());
    let repository = resolver.repository(&format!("{}/a:1", registry.address())).unwrap();
    for size in [0, -1, 99] {
        descriptor.size = size;
        assert!(repository.fetch(&descriptor, 100).is_err(), "{size}");
    }
}

#[tokio::test]
async fn urls_of_the_descriptor_come_first_and_get_no_login() {
    let (registry, mut descriptor) = registry().await;
    let other = Faulty::start(Auth::Open).await;
    other.blob("elsewhere", content());
    descriptor.urls = vec![
        "file:///etc/passwd".to_owned(),
        format!("http://{}/v2/none/blobs/x", other.address()),
        format!("http://{}/v2/elsewhere/blobs/{}", other.address(), descriptor.digest),
    ];
    assert!(all(open(&registry, &descriptor, 0)).await.unwrap() == content());
    assert_eq!(other.seen().len(), 2);
    assert!(registry.seen().is_empty());
}
