//! Mirrors and their configuration.

use base::oci::media_type;
use base::{Descriptor, ErrorKind, Kinded};
use image::registry::{HostDirs, Resolver, ResolverOptions};

use crate::faulty::{Auth, Fault, Faulty};
use crate::resolve::patient;

const MANIFEST: &str = r#"{"schemaVersion":2,"config":{},"layers":[]}"#;

struct Configured {
    _dir: tempfile::TempDir,
    options: ResolverOptions,
}

fn configured(registry: &str, toml: &str) -> Configured {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join(registry)).unwrap();
    std::fs::write(dir.path().join(registry).join("hosts.toml"), toml).unwrap();
    let options =
        ResolverOptions { hosts_dirs: HostDirs::parse(&dir.path().display().to_string()), ..patient() };
    Configured { _dir: dir, options }
}

#[tokio::test]
async fn mirrors_in_order_then_the_server() {
    let (first, second, server) =
        (Faulty::start(Auth::Open).await, Faulty::start(Auth::Open).await, Faulty::start(Auth::Open).await);
    for r in [&second, &server] {
        r.manifest("lib/a", "1", media_type::OCI_MANIFEST, MANIFEST);
    }
    let config = configured(
        "reg.example.com",
        &format!(
            "server = \"http://{}\"\n[host.\"http://{}\"]\n[host.\"http://{}\".header]\nx-who = \"us\"\n",
            server.address(),
            first.address(),
            second.address()
        ),
    );
    let repository = Resolver::new(config.options.clone()).repository("reg.example.com/lib/a:1").unwrap();
    repository.resolve().await.unwrap();
    assert_eq!((first.seen().len(), second.seen().len(), server.seen().len()), (1, 1, 0));
    assert!(first.seen()[0].uri.ends_with("/v2/lib/a/manifests/1?ns=reg.example.com"), "{:?}", first.seen());
    assert_eq!(second.seen()[0].header("x-who"), "us");
    assert_eq!(first.seen()[0].header("x-who"), "");
    second.fault("", "", 99, Fault::Status(500));
    repository.resolve().await.unwrap();
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn every_host_stands_in_the_error() {
    let (first, second) = (Faulty::start(Auth::Open).await, Faulty::start(Auth::Open).await);
    first.fault("", "", 99, Fault::Status(502));
    let config = configured(
        "reg.example.com",
        &format!("server = \"http://{}\"\n[host.\"http://{}\"]\n", second.address(), first.address()),
    );
    let e = Resolver::new(config.options.clone())
        .repository("reg.example.com/a:1")
        .unwrap()
        .resolve()
        .await
        .unwrap_err();
    let text = e.to_string();
    assert!(text.contains(&format!("{}: unexpected status", first.address())), "{text}");
    assert!(text.contains(&format!("{}: not found", second.address())), "{text}");
}

#[tokio::test]
async fn capabilities_are_kept_to() {
    let (puller, resolver) = (Faulty::start(Auth::Open).await, Faulty::start(Auth::Open).await);
    for r in [&puller, &resolver] {
        r.manifest("a", "1", media_type::OCI_MANIFEST, MANIFEST);
    }
    let digest = puller.blob("a", "blob");
    let config = configured(
        "reg.example.com",
        &format!(
            "server = \"http://{}\"\ncapabilities = [\"resolve\", \"pull\"]\n[host.\"http://{}\"]\ncapabilities = [\"pull\"]\n",
            resolver.address(),
            puller.address()
        ),
    );
    let repository = Resolver::new(config.options.clone()).repository("reg.example.com/a:1").unwrap();
    repository.resolve().await.unwrap();
    assert!(puller.seen().is_empty());
    let mut blob = repository.fetch(&Descriptor::new(media_type::OCI_LAYER, digest.clone(), 4), 0).unwrap();
    assert_eq!(blob.next().await.unwrap().unwrap(), "blob");
    assert_eq!(puller.seen().len(), 1);
    let nothing = configured(
        "reg.example.com",
        &format!("server = \"http://{}\"\ncapabilities = [\"push\"]\n", resolver.address()),
    );
    let e = Resolver::new(nothing.options.clone())
        .repository("reg.example.com/a:1")
        .unwrap()
        .resolve()
        .await
        .unwrap_err();
    assert_eq!(
        (e.kind(), e.to_string().as_str()),
        (ErrorKind::NotFound, "no resolve hosts for reg.example.com")
    );
}

#[tokio::test]
async fn a_lying_mirror_is_left_for_the_next() {
    let (liar, server) = (Faulty::start(Auth::Open).await, Faulty::start(Auth::Open).await);
    let digest = server.blob("a", "the truth");
    liar.blob("a", "the truth");
    liar.fault("GET", "/blobs/", 99, Fault::WrongLength(3));
    let config = configured(
        "reg.example.com",
        &format!("server = \"http://{}\"\n[host.\"http://{}\"]\n", server.address(), liar.address()),
    );
    let repository = Resolver::new(config.options.clone()).repository("reg.example.com/a:1").unwrap();
    let mut blob = repository.fetch(&Descriptor::new(media_type::OCI_LAYER, digest, 9), 0).unwrap();
    assert_eq!(blob.next().await.unwrap().unwrap(), "the truth");
    assert_eq!(blob.next().await.unwrap(), None);
}

#[tokio::test]
async fn override_path_is_the_root() {
    let registry = Faulty::start(Auth::Open).await;
    let config = configured(
        "reg.example.com",
        &format!("server = \"http://{}/api/artifacts\"\noverride_path = true\n", registry.address()),
    );
    let _ = Resolver::new(config.options.clone()).repository("reg.example.com/a:1").unwrap().resolve().await;
    assert!(registry.seen()[0].uri.starts_with("/api/artifacts/a/manifests/1?ns="), "{:?}", registry.seen());
}
