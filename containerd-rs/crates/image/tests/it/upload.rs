//! Pushing single blobs and manifests.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base::oci::media_type;
use base::{Descriptor, Digest};
use image::registry::{BodySource, Pushed, Resolver};

use crate::faulty::{Auth, Fault, Faulty};
use crate::resolve::{impatient, patient, with_login};

struct Memory(Vec<u8>);

impl BodySource for Memory {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = &self.0[(offset as usize).min(self.0.len())..];
        let n = rest.len().min(buffer.len());
        buffer[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }
}

fn blob(size: usize) -> (Descriptor, Arc<Memory>) {
    let bytes: Vec<u8> = (0..size).map(|n| (n % 253) as u8).collect();
    (Descriptor::new(media_type::OCI_LAYER, Digest::sha256(&bytes), size as i64), Arc::new(Memory(bytes)))
}

#[tokio::test]
async fn up_then_there() {
    let registry =
        Faulty::start(Auth::Bearer { user: "u", password: "p", post: true, anonymous: false }).await;
    let resolver = Resolver::new(with_login(&registry.address(), "u", "p"));
    let repository = resolver.repository(&format!("{}/a:1", registry.address())).unwrap();
    let (descriptor, source) = blob(1_000_000);
    let sent = Arc::new(AtomicU64::new(0));
    let outcome = repository.push(&descriptor, source.clone(), None, sent.clone()).await.unwrap();
    assert_eq!((outcome, sent.load(Ordering::Relaxed)), (Pushed::Uploaded, 1_000_000));
    assert!(registry.has(&format!("/v2/a/blobs/{}", descriptor.digest)));
    assert_eq!(repository.push(&descriptor, source, None, Arc::default()).await.unwrap(), Pushed::Exists);
    assert_eq!(registry.count("PUT", "/uploads/"), 1);
    assert!(registry.seen().iter().any(|s| s.method == "POST" && s.uri.contains("/token")));
}

#[tokio::test]
async fn mounted_when_another_repository_has_it() {
    let registry = Faulty::start(Auth::Open).await;
    let (descriptor, source) = blob(1000);
    registry.blob("from/here", source.0.clone());
    let repository = Resolver::new(patient()).repository(&format!("{}/a:1", registry.address())).unwrap();
    let outcome =
        repository.push(&descriptor, source.clone(), Some("from/here"), Arc::default()).await.unwrap();
    assert_eq!(outcome, Pushed::Mounted("from/here".to_owned()));
    assert_eq!(registry.count("PUT", ""), 0);
    // Not there after all: the registry opens an upload instead.
    let (descriptor, source) = blob(999);
    let outcome = repository.push(&descriptor, source, Some("from/here"), Arc::default()).await.unwrap();
    assert_eq!(outcome, Pushed::Uploaded);
}

#[tokio::test]
async fn manifests_go_to_tag_or_digest() {
    let registry = Faulty::start(Auth::Open).await;
    let bytes = br#"{"schemaVersion":2}"#.to_vec();
    let digest = Digest::sha256(&bytes);
    let descriptor = Descriptor::new(media_type::OCI_MANIFEST, digest.clone(), bytes.len() as i64);
    let source = Arc::new(Memory(bytes));
    let other = Digest::sha256(b"other");
    for (object, name) in [
        (":t1".to_owned(), "t1".to_owned()),
        (format!(":t2@{digest}"), "t2".to_owned()),
        (format!(":t3@{other}"), digest.to_string()),
    ] {
        let repository =
            Resolver::new(patient()).repository(&format!("{}/a{object}", registry.address())).unwrap();
        repository.push(&descriptor, source.clone(), None, Arc::default()).await.unwrap();
        assert!(registry.has(&format!("/v2/a/manifests/{name}")), "{object}");
    }
    assert!(!registry.has("/v2/a/manifests/t3"));
}

#[tokio::test]
async fn trouble_is_reported_with_the_registrys_words() {
    let registry = Faulty::start(Auth::Open).await;
    registry.fault("PUT", "", 1, Fault::Status(413));
    let (descriptor, source) = blob(1000);
    let repository = Resolver::new(patient()).repository(&format!("{}/a:1", registry.address())).unwrap();
    let e = repository.push(&descriptor, source, None, Arc::default()).await.unwrap_err();
    assert!(e.to_string().contains("413") && e.to_string().contains("the test wants it"), "{e}");
    assert!(!e.to_string().contains("state=secret"), "{e}");
}

#[tokio::test]
async fn a_body_is_sent_again_after_a_passing_error() {
    let registry = Faulty::start(Auth::Open).await;
    registry.fault("PUT", "", 1, Fault::Status(503));
    let (descriptor, source) = blob(300_000);
    let repository = Resolver::new(patient()).repository(&format!("{}/a:1", registry.address())).unwrap();
    assert_eq!(repository.push(&descriptor, source, None, Arc::default()).await.unwrap(), Pushed::Uploaded);
}

#[tokio::test]
async fn an_upload_that_is_not_answered_ends() {
    let registry = Faulty::start(Auth::Open).await;
    registry.fault("PUT", "", 99, Fault::Silence);
    let (descriptor, source) = blob(64 << 20);
    let repository = Resolver::new(impatient()).repository(&format!("{}/a:1", registry.address())).unwrap();
    let e = repository.push(&descriptor, source, None, Arc::default()).await.unwrap_err();
    assert!(e.to_string().contains("no progress of the upload within 500ms"), "{e}");
}
