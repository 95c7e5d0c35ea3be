//! Debian's `docker-registry` with TLS, with tokens, and behind a proxy that spoils things.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::{Digest, ErrorKind, Kinded};
use image::pull::{PullOptions, pull};
use image::push::{MirrorOptions, PushOptions, mirror, push};
use image::registry::{Credential, HostDirs, Resolver, ResolverOptions, Scheme, StaticCredentials, Timeouts};
use image::tag;
use image::transfer::Destination;

use crate::distribution::{Distribution, given};
use crate::faulty::Fault;
use crate::node::{Node, Sample};
use crate::proxied::Proxied;
use crate::resolve::{patient, with_login};
use crate::tls::fixture;
use crate::tokens::Tokens;

async fn get(node: &Node, options: ResolverOptions, reference: &str) -> Result<(), image::Error> {
    pull(&node.local, &node.scope, &Resolver::new(options), PullOptions::new(reference)).await.map(drop)
}

async fn put(node: &Node, options: ResolverOptions, reference: &str) -> Result<(), image::Error> {
    let push_options = PushOptions::new(reference, reference);
    push(&node.local, &node.scope, &Resolver::new(options), push_options).await
}

/// A registry with a certificate of the tests' own authority; `clients`: it wants one of them too.
fn with_tls(clients: bool) -> Distribution {
    let mut tls = format!(
        "  tls:\n    certificate: {}\n    key: {}\n",
        fixture("server.pem").display(),
        fixture("server.key").display()
    );
    if clients {
        tls.push_str(&format!("    clientcas: [{}]\n", fixture("ca.pem").display()));
    }
    Distribution::start_with(&tls, "")
}

fn configured(dir: &Path, registry: &str, settings: &str) -> ResolverOptions {
    let host = dir.join(registry);
    std::fs::create_dir_all(&host).unwrap();
    for name in ["ca.pem", "client.pem", "client.key"] {
        std::fs::copy(fixture(name), host.join(name)).unwrap();
    }
    std::fs::write(host.join("hosts.toml"), format!("server = \"https://{registry}\"\n{settings}")).unwrap();
    ResolverOptions { hosts_dirs: HostDirs::parse(dir.to_str().unwrap()), ..patient() }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_with_an_authority_and_a_certificate_of_our_own() {
    for clients in [false, true] {
        let registry = with_tls(clients);
        let (sample, node) = (Sample::new("linux/amd64", &[10, 200_000]), Node::new());
        let name = format!("{}/a:t1", registry.address);
        given(&node, &sample, &name).await;
        let dir = tempfile::tempdir().unwrap();
        let good = match clients {
            false => configured(dir.path(), &registry.address, "ca = 'ca.pem'\n"),
            true => configured(
                dir.path(),
                &registry.address,
                "ca = 'ca.pem'\nclient = [['client.pem', 'client.key']]\n",
            ),
        };
        put(&node, good.clone(), &name).await.unwrap();
        let other = Node::new();
        get(&other, good, &name).await.unwrap();
        assert_eq!(other.images(), [name.as_str()]);
        // Without the authority, or without proof of who we are: a reason, and nothing else.
        let bad = match clients {
            false => ResolverOptions { default_scheme: Some(Scheme::Https), ..patient() },
            true => configured(dir.path(), &registry.address, "ca = 'ca.pem'\n"),
        };
        let other = Node::new();
        let e = get(&other, bad, &name).await.unwrap_err();
        assert!(base::chain(&e).contains("ertificate"), "{}", base::chain(&e));
        assert!(other.images().is_empty() && other.leases() == 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn loopback_needs_no_authority() {
    let registry = with_tls(false);
    let (sample, node) = (Sample::new("linux/amd64", &[10]), Node::new());
    let name = format!("{}/a:t1", registry.address);
    given(&node, &sample, &name).await;
    put(&node, patient(), &name).await.unwrap();
    get(&Node::new(), patient(), &name).await.unwrap();
}

fn refreshing(host: &str) -> ResolverOptions {
    let credential = Credential::RefreshToken("refresh-me".to_owned());
    ResolverOptions { credentials: Arc::new(StaticCredentials::new().with(host, credential)), ..patient() }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_by_password_refresh_token_and_for_strangers() {
    for post in [true, false] {
        let tokens = Tokens::start(post, 300).await;
        let registry = Distribution::start(&tokens.auth());
        let (sample, node) = (Sample::new("linux/amd64", &[10, 200_000]), Node::new());
        let name = format!("{}/public/a:t1", registry.address);
        given(&node, &sample, &name).await;
        let login = || with_login(&registry.address, "me", "pa");
        put(&node, login(), &name).await.unwrap();
        get(&Node::new(), login(), &name).await.unwrap();
        let by = if post { "password" } else { "basic" };
        assert!(tokens.grants().iter().all(|g| g.by == by), "{:?}", tokens.grants());
        assert!(tokens.grants().iter().any(|g| g.scopes == ["repository:public/a:pull,push"]));
        // One token for a whole pull.
        let before = tokens.grants().len();
        get(&Node::new(), login(), &name).await.unwrap();
        assert_eq!(tokens.grants().len(), before + 1);
        get(&Node::new(), patient(), &name).await.unwrap();
        assert_eq!(tokens.grants().last().unwrap().by, "");
        if post {
            get(&Node::new(), refreshing(&registry.address), &name).await.unwrap();
            assert_eq!(tokens.grants().last().unwrap().by, "refresh_token");
        }
        let private = format!("{}/private/a:t1", registry.address);
        tag(&node.local, &node.scope, &name, &Destination::named(&private)).await.unwrap();
        put(&node, login(), &private).await.unwrap();
        for bad in [patient(), with_login(&registry.address, "me", "wrong")] {
            let other = Node::new();
            let text = base::chain(&get(&other, bad.clone(), &private).await.unwrap_err());
            assert!(text.contains("authorization failed") && !text.contains("wrong"), "{text}");
            let text = base::chain(&put(&node, bad, &private).await.unwrap_err());
            assert!(text.contains("authorization failed") && !text.contains("wrong"), "{text}");
            assert!(other.images().is_empty() && other.leases() == 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mount_asks_for_both_repositories() {
    let tokens = Tokens::start(true, 300).await;
    let registry = Distribution::start(&tokens.auth());
    let proxy = Proxied::before(&registry.address).await;
    let (sample, node) = (Sample::new("linux/amd64", &[10, 200_000]), Node::new());
    let name = format!("{}/me/a:t1", proxy.address);
    given(&node, &sample, &name).await;
    let login = || with_login(&proxy.address, "me", "pa");
    put(&node, login(), &name).await.unwrap();
    let other = Node::new();
    get(&other, login(), &name).await.unwrap();
    let copy = format!("{}/me/b:t1", proxy.address);
    tag(&other.local, &other.scope, &name, &Destination::named(&copy)).await.unwrap();
    let sent = proxy.count("PUT", "/blobs/uploads/");
    put(&other, login(), &copy).await.unwrap();
    assert_eq!(proxy.count("PUT", "/blobs/uploads/"), sent);
    assert_eq!(proxy.count("POST", "mount="), 3);
    let both = ["repository:me/a:pull", "repository:me/b:pull,push"];
    assert!(tokens.grants().iter().any(|g| g.scopes == both), "{:?}", tokens.grants());
    get(&Node::new(), login(), &copy).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_renewed_when_they_expire() {
    let tokens = Tokens::start(true, 1).await;
    let registry = Distribution::start(&tokens.auth());
    let (sample, node) = (Sample::new("linux/amd64", &[10]), Node::new());
    let name = format!("{}/a:t1", registry.address);
    given(&node, &sample, &name).await;
    let resolver = Resolver::new(with_login(&registry.address, "me", "pa"));
    push(&node.local, &node.scope, &resolver, PushOptions::new(&name, &name)).await.unwrap();
    let (before, until) = (tokens.grants().len(), Instant::now() + Duration::from_secs(60));
    while tokens.grants().len() < before + 2 {
        resolver.repository(&name).unwrap().resolve().await.unwrap();
        assert!(Instant::now() < until, "an expired token is used on and on");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_between_registries_with_their_own_logins() {
    let tokens = Tokens::start(true, 300).await;
    let (from, to) = (Distribution::start(&tokens.auth()), with_tls(false));
    let (sample, node) = (Sample::new("linux/amd64", &[10, 3 << 20]), Node::new());
    let name = format!("{}/a:t1", from.address);
    given(&node, &sample, &name).await;
    let login = with_login(&from.address, "me", "pa");
    put(&node, login.clone(), &name).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let secure = configured(dir.path(), &to.address, "ca = 'ca.pem'\n");
    let copy = format!("{}/deep/er:t2", to.address);
    let (source, destination) = (Resolver::new(login), Resolver::new(secure.clone()));
    mirror(&source, &destination, MirrorOptions::new(&name, &copy)).await.unwrap();
    let other = Node::new();
    get(&other, secure, &copy).await.unwrap();
    for blob in sample.layers.iter().chain([&sample.config, &sample.manifest]) {
        assert!(other.has(&Digest::sha256(blob)).await);
    }
}

/// What a fault of the proxy must lead to: part of the message, and the class.
type Expected = (&'static str, &'static str, Fault, &'static str, ErrorKind);

fn pull_faults() -> Vec<Expected> {
    use ErrorKind::{FailedPrecondition, InvalidArgument, NotFound, Unknown};
    let (manifests, blobs) = ("/manifests/", "/blobs/");
    vec![
        ("", manifests, Fault::Status(401), "authorization failed", Unknown),
        ("", manifests, Fault::Status(403), "403 Forbidden: said_so: the test wants it", Unknown),
        ("", manifests, Fault::Status(404), "not found", NotFound),
        ("", manifests, Fault::Status(429), "429", Unknown),
        ("", manifests, Fault::Status(500), "500", Unknown),
        ("", manifests, Fault::Html, "text/html", InvalidArgument),
        ("GET", manifests, Fault::Garble, "its content has the digest", FailedPrecondition),
        ("GET", manifests, Fault::WrongLength(10), "bytes where the descriptor leaves", Unknown),
        ("", blobs, Fault::Status(401), "authorization failed", Unknown),
        ("", blobs, Fault::Status(403), "403", Unknown),
        ("", blobs, Fault::Status(404), "not found", NotFound),
        ("", blobs, Fault::Status(416), "416", Unknown),
        ("", blobs, Fault::Status(429), "429", Unknown),
        ("", blobs, Fault::Status(503), "503", Unknown),
        ("", blobs, Fault::Html, "bytes where the descriptor leaves", Unknown),
        ("", blobs, Fault::Garble, "unexpected commit digest", FailedPrecondition),
        ("", blobs, Fault::WrongLength(-3), "bytes where the descriptor leaves", Unknown),
        ("", blobs, Fault::CutAfter(0), "failed to do request", Unknown),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_through_trouble_names_it_and_leaves_nothing() {
    let registry = Distribution::start("");
    let (sample, node) = (Sample::new("linux/amd64", &[10, 500_000]), Node::new());
    let direct = format!("{}/a:t1", registry.address);
    given(&node, &sample, &direct).await;
    put(&node, patient(), &direct).await.unwrap();
    let proxy = Proxied::before(&registry.address).await;
    let name = format!("{}/a:t1", proxy.address);
    for (method, path, fault, part, kind) in pull_faults() {
        let (node, what) = (Node::new(), format!("{method} {path} {fault:?}"));
        proxy.fault(method, path, 9999, fault);
        let e = get(&node, patient(), &name).await.unwrap_err();
        let text = base::chain(&e);
        assert!(text.contains(part) && e.kind() == kind, "{what}: {:?}: {text}", e.kind());
        assert!(node.images().is_empty(), "{what}");
        proxy.heal();
        get(&node, patient(), &name).await.unwrap();
        assert_eq!(node.images(), [name.as_str()], "{what}");
        for blob in sample.layers.iter().chain([&sample.config, &sample.manifest]) {
            assert!(node.has(&Digest::sha256(blob)).await, "{what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_goes_on_after_what_passes() {
    let registry = Distribution::start("");
    let (sample, node) = (Sample::new("linux/amd64", &[10, 3 << 20]), Node::new());
    let direct = format!("{}/a:t1", registry.address);
    given(&node, &sample, &direct).await;
    put(&node, patient(), &direct).await.unwrap();
    let proxy = Proxied::before(&registry.address).await;
    let name = format!("{}/a:t1", proxy.address);
    let hasty = || ResolverOptions {
        timeouts: Timeouts { stall: Duration::from_secs(2), ..Timeouts::default() },
        ..patient()
    };
    let big = format!("/blobs/{}", Digest::sha256(&sample.layers[1]));
    for (path, times, fault) in [
        ("/manifests/", 1, Fault::Status(503)),
        ("/manifests/", 1, Fault::Status(429)),
        (big.as_str(), 3, Fault::CutAfter(700_000)),
        (big.as_str(), 1, Fault::HangAfter(1_500_000)),
        (big.as_str(), 1, Fault::Trickle),
        (big.as_str(), 1, Fault::Endless),
        (big.as_str(), 1, Fault::Status(500)),
    ] {
        let what = format!("{path} {fault:?}");
        proxy.fault("GET", path, times, fault);
        let node = Node::new();
        get(&node, hasty(), &name).await.unwrap_or_else(|e| panic!("{what}: {}", base::chain(&e)));
        assert!(node.has(&Digest::sha256(&sample.layers[1])).await, "{what}");
        proxy.heal();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_through_trouble_names_it_and_leaves_no_tag() {
    let registry = Distribution::start("");
    let proxy = Proxied::before(&registry.address).await;
    let trouble = [
        ("HEAD", "/blobs/", Fault::Status(500), "500"),
        ("POST", "/uploads/", Fault::Status(401), "authorization failed"),
        ("POST", "/uploads/", Fault::Status(403), "403"),
        ("POST", "/uploads/", Fault::Html, "upload without a usable location"),
        ("PUT", "/uploads/", Fault::Status(413), "413"),
        ("PUT", "/uploads/", Fault::Status(503), "503"),
        ("PUT", "/manifests/", Fault::Status(403), "403"),
        ("PUT", "/manifests/", Fault::Status(429), "429"),
    ];
    for (n, (method, path, fault, part)) in trouble.into_iter().enumerate() {
        let (sample, node) = (Sample::new("linux/amd64", &[10, 300_000 + n]), Node::new());
        let (name, direct) = (format!("{}/r{n}:t1", proxy.address), format!("{}/r{n}:t1", registry.address));
        given(&node, &sample, &name).await;
        let what = format!("{method} {path} {fault:?}");
        proxy.fault(method, path, 9999, fault);
        let e = put(&node, patient(), &name).await.unwrap_err();
        assert!(base::chain(&e).contains(part), "{what}: {}", base::chain(&e));
        let e = get(&Node::new(), patient(), &direct).await.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::NotFound, "{what}: {}", base::chain(&e));
        proxy.heal();
        put(&node, patient(), &name).await.unwrap();
        get(&Node::new(), patient(), &direct).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_host_helps_and_all_are_named_when_none_does() {
    let registry = Distribution::start("");
    let (sample, node) = (Sample::new("linux/amd64", &[10, 300_000]), Node::new());
    let direct = format!("{}/a:t1", registry.address);
    given(&node, &sample, &direct).await;
    put(&node, patient(), &direct).await.unwrap();
    let (first, second) =
        (Proxied::before(&registry.address).await, Proxied::before(&registry.address).await);
    let dir = tempfile::tempdir().unwrap();
    let host = dir.path().join("reg.test");
    std::fs::create_dir(&host).unwrap();
    let toml = format!("server = 'http://{}'\n[host.'http://{}']\n", second.address, first.address);
    std::fs::write(host.join("hosts.toml"), toml).unwrap();
    let options =
        || ResolverOptions { hosts_dirs: HostDirs::parse(dir.path().to_str().unwrap()), ..patient() };
    for fault in
        [Fault::Status(500), Fault::Status(403), Fault::Garble, Fault::WrongLength(9), Fault::Status(404)]
    {
        first.fault("GET", "/blobs/", 9999, fault.clone());
        let node = Node::new();
        get(&node, options(), "reg.test/a:t1")
            .await
            .unwrap_or_else(|e| panic!("{fault:?}: {}", base::chain(&e)));
        second.fault("GET", "/blobs/", 9999, Fault::Status(418));
        let e = get(&Node::new(), options(), "reg.test/a:t1").await.unwrap_err();
        let text = base::chain(&e);
        assert!(text.contains(&first.address) && text.contains(&second.address), "{text}");
        first.heal();
        second.heal();
    }
}
