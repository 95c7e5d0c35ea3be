//! What refers to a manifest.

use base::oci::media_type;
use base::{Digest, ErrorKind, Kinded};
use image::registry::{Capabilities, HostDirs, Repository, Resolver, ResolverOptions};
use serde_json::json;

use crate::faulty::{Auth, Fault, Faulty};
use crate::resolve::patient;

fn list(entries: &[(&str, &str)]) -> String {
    let manifests: Vec<_> = entries
        .iter()
        .map(|(name, kind)| {
            json!({"mediaType": media_type::OCI_MANIFEST, "digest": Digest::sha256(name), "size": 1, "artifactType": kind})
        })
        .collect();
    json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": manifests}).to_string()
}

fn subject() -> Digest {
    Digest::sha256("subject")
}

fn api(registry: &Faulty, entries: &[(&str, &str)]) {
    registry.raw(&format!("/v2/a/referrers/{}", subject()), media_type::OCI_INDEX, list(entries));
}

fn tag(registry: &Faulty, entries: &[(&str, &str)]) {
    registry.manifest("a", &subject().as_str().replace(':', "-"), media_type::OCI_INDEX, list(entries));
}

fn repository(registry: &Faulty) -> Repository {
    Resolver::new(patient()).repository(&format!("{}/a:1", registry.address())).unwrap()
}

async fn found(repository: &Repository, types: &[&str]) -> Vec<Digest> {
    let types: Vec<String> = types.iter().map(|t| (*t).to_owned()).collect();
    repository.referrers(&subject(), &types).await.unwrap().into_iter().map(|d| d.digest).collect()
}

fn names(names: &[&str]) -> Vec<Digest> {
    names.iter().map(Digest::sha256).collect()
}

#[tokio::test]
async fn the_list_of_the_api_filtered() {
    let registry = Faulty::start(Auth::Open).await;
    api(&registry, &[("x", "sig"), ("y", "sbom")]);
    tag(&registry, &[("z", "sig")]);
    assert_eq!(found(&repository(&registry), &[]).await, names(&["x", "y"]));
    // Whether the registry filters or not.
    assert_eq!(found(&repository(&registry), &["sbom"]).await, names(&["y"]));
    assert_eq!(registry.count("GET", "artifactType=sbom"), 1);
    assert_eq!(registry.count("GET", "/manifests/"), 0);
}

#[tokio::test]
async fn a_tag_where_there_is_no_api() {
    let registry = Faulty::start(Auth::Open).await;
    assert_eq!(found(&repository(&registry), &[]).await, []);
    tag(&registry, &[("z", "sig"), ("y", "sbom")]);
    assert_eq!(found(&repository(&registry), &["sig"]).await, names(&["z"]));
    // HTML instead of a list is no list either.
    api(&registry, &[("x", "sig")]);
    registry.fault("GET", "/referrers/", 1, Fault::MediaType("text/html"));
    assert_eq!(found(&repository(&registry), &["sig"]).await, names(&["z"]));
}

#[tokio::test]
async fn pages_are_followed_at_the_same_host_and_not_for_ever() {
    let registry = Faulty::start(Auth::Open).await;
    let thief = Faulty::start(Auth::Open).await;
    api(&registry, &[("x", "sig")]);
    registry.raw("/v2/a/more", media_type::OCI_INDEX, list(&[("y", "sig")]));
    registry.fault("GET", "/referrers/", 1, Fault::Link("</v2/a/more?n=1>; rel=\"next\""));
    assert_eq!(found(&repository(&registry), &[]).await, names(&["x", "y"]));
    let elsewhere = format!("<http://{}/v2/a/more>; rel=\"next\"", thief.address());
    registry.fault("GET", "/referrers/", 1, Fault::Link(elsewhere.leak()));
    assert_eq!(found(&repository(&registry), &[]).await, names(&["x"]));
    assert!(thief.seen().is_empty());
    registry.fault("GET", "", 99, Fault::Link("</v2/a/more>; rel=\"next\""));
    let e = repository(&registry).referrers(&subject(), &[]).await.unwrap_err();
    assert!(e.to_string().contains("more than 16 pages"), "{e}");
}

#[tokio::test]
async fn trouble_is_not_an_empty_list() {
    for fault in [Fault::Status(500), Fault::Status(403), Fault::Garble] {
        let registry = Faulty::start(Auth::Open).await;
        api(&registry, &[("x", "sig")]);
        tag(&registry, &[("x", "sig")]);
        registry.fault("GET", "", 99, fault);
        let e = repository(&registry).referrers(&subject(), &[]).await.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Unknown, "{e}");
        assert!(e.to_string().contains("hosts tried"), "{e}");
    }
}

#[tokio::test]
async fn only_hosts_that_may_list_are_asked() {
    let (mirror, registry) = (Faulty::start(Auth::Open).await, Faulty::start(Auth::Open).await);
    api(&mirror, &[("x", "sig")]);
    api(&registry, &[("y", "sig")]);
    let dir = tempfile::tempdir().unwrap();
    let host = dir.path().join("reg.test");
    std::fs::create_dir(&host).unwrap();
    let write = |capabilities: &str| {
        let toml = format!(
            "server = \"http://{}\"\n[host.\"http://{}\"]\n{capabilities}",
            registry.address(),
            mirror.address()
        );
        std::fs::write(host.join("hosts.toml"), toml).unwrap();
        let hosts_dirs = HostDirs::parse(dir.path().to_str().unwrap());
        Resolver::new(ResolverOptions { hosts_dirs, ..patient() }).repository("reg.test/a:1").unwrap()
    };
    assert!(Capabilities::ALL.has(Capabilities::REFERRERS));
    assert_eq!(found(&write(""), &[]).await, names(&["x"]));
    assert_eq!(mirror.count("GET", "ns=reg.test"), 1);
    assert_eq!(found(&write("capabilities = [\"pull\", \"resolve\"]\n"), &[]).await, names(&["y"]));
    assert_eq!(mirror.seen().len(), 1);
}
