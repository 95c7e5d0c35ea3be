//! Names become descriptors, whatever the registry asks for first.

use std::sync::Arc;
use std::time::Duration;

use base::oci::media_type;
use base::{ErrorKind, Kinded};
use image::registry::{Credential, RegistryError, Resolver, ResolverOptions, StaticCredentials, Timeouts};

use crate::faulty::{Auth, Fault, Faulty};

const MANIFEST: &str = r#"{"schemaVersion":2,"config":{},"layers":[]}"#;

/// For registries that answer, however busy the machine is.
pub fn patient() -> ResolverOptions {
    let minute = Duration::from_secs(60);
    ResolverOptions {
        timeouts: Timeouts { connect: minute, response: minute, stall: minute },
        ..ResolverOptions::default()
    }
}

/// For registries that do not, or not for long.
pub fn impatient() -> ResolverOptions {
    ResolverOptions {
        timeouts: Timeouts {
            connect: Duration::from_secs(60),
            response: Duration::from_millis(700),
            stall: Duration::from_millis(500),
        },
        ..ResolverOptions::default()
    }
}

pub fn with_login(host: &str, user: &str, secret: &str) -> ResolverOptions {
    let credential = Credential::Password { user: user.to_owned(), secret: secret.to_owned() };
    ResolverOptions { credentials: Arc::new(StaticCredentials::new().with(host, credential)), ..patient() }
}

async fn resolve(options: ResolverOptions, reference: &str) -> Result<base::Descriptor, RegistryError> {
    let resolver = Resolver::new(options);
    Ok(resolver.repository(reference)?.resolve().await?.descriptor)
}

#[tokio::test]
async fn anonymous() {
    let registry = Faulty::start(Auth::Open).await;
    let digest = registry.manifest("a/b", "1", media_type::OCI_MANIFEST, MANIFEST);
    let found = resolve(patient(), &format!("{}/a/b:1", registry.address())).await.unwrap();
    assert_eq!((&found.digest, found.size), (&digest, MANIFEST.len() as i64));
    assert_eq!(found.media_type, media_type::OCI_MANIFEST);
    let seen = registry.seen();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert!(seen[0].header("user-agent").starts_with("containerd/"));
    assert!(seen[0].header("accept").starts_with("application/vnd.docker.distribution.manifest.v2+json, "));
    assert!(seen[0].header("accept").ends_with(", */*"));
    assert!(!seen[0].uri.contains("ns="));
    // By digest as well, and by tag and digest.
    for object in [format!("@{digest}"), format!(":1@{digest}")] {
        let found = resolve(patient(), &format!("{}/a/b{object}", registry.address())).await.unwrap();
        assert_eq!(found.digest, digest);
    }
}

#[tokio::test]
async fn basic() {
    let registry = Faulty::start(Auth::Basic { user: "u", password: "pa:ss" }).await;
    registry.manifest("a", "1", media_type::OCI_MANIFEST, MANIFEST);
    let reference = format!("{}/a:1", registry.address());
    resolve(with_login(&registry.address(), "u", "pa:ss"), &reference).await.unwrap();
    let e = resolve(with_login(&registry.address(), "u", "hunter2"), &reference).await.unwrap_err();
    assert!(e.to_string().contains("authorization failed"), "{e}");
    assert!(!format!("{e} {e:?}").contains("hunter2"), "{e:?}");
    let e = resolve(patient(), &reference).await.unwrap_err();
    assert!(e.to_string().contains("no basic auth credentials"), "{e}");
}

#[tokio::test]
async fn bearer_in_every_way() {
    for (post, login, anonymous, works) in [
        (true, true, false, true),
        (false, true, false, true),
        (true, false, true, true),
        (true, false, false, false),
    ] {
        let registry = Faulty::start(Auth::Bearer { user: "u", password: "secret", post, anonymous }).await;
        registry.manifest("a", "1", media_type::OCI_MANIFEST, MANIFEST);
        let options = if login { with_login(&registry.address(), "u", "secret") } else { patient() };
        let outcome = resolve(options, &format!("{}/a:1", registry.address())).await;
        assert_eq!(outcome.is_ok(), works, "post {post} login {login}: {outcome:?}");
        assert_eq!(registry.count("POST", "/token"), usize::from(login));
        assert_eq!(registry.count("GET", "/token"), usize::from(!(login && post)));
    }
}

#[tokio::test]
async fn a_stale_token_is_replaced_once() {
    let registry =
        Faulty::start(Auth::Bearer { user: "u", password: "p", post: true, anonymous: true }).await;
    registry.manifest("a", "1", media_type::OCI_MANIFEST, MANIFEST);
    let resolver = Resolver::new(patient());
    let repository = resolver.repository(&format!("{}/a:1", registry.address())).unwrap();
    repository.resolve().await.unwrap();
    repository.resolve().await.unwrap();
    assert_eq!(registry.count("GET", "/token"), 1);
    registry.revoke();
    repository.resolve().await.unwrap();
    assert_eq!(registry.count("GET", "/token"), 2);
}

#[tokio::test]
async fn a_token_is_fetched_once_for_many() {
    let registry =
        Faulty::start(Auth::Bearer { user: "u", password: "p", post: true, anonymous: true }).await;
    registry.manifest("a", "1", media_type::OCI_MANIFEST, MANIFEST);
    let resolver = Resolver::new(patient());
    let repository = resolver.repository(&format!("{}/a:1", registry.address())).unwrap();
    repository.resolve().await.unwrap();
    registry.revoke();
    let all: Vec<_> = (0..8).map(|_| repository.resolve()).collect();
    for outcome in futures_util::future::join_all(all).await {
        outcome.unwrap();
    }
    assert_eq!(registry.count("GET", "/token"), 2);
}

#[tokio::test]
async fn credentials_never_follow_a_redirect() {
    let thief = Faulty::start(Auth::Open).await;
    thief.manifest("a", "1", media_type::OCI_MANIFEST, MANIFEST);
    let registry = Faulty::start(Auth::Basic { user: "u", password: "p" }).await;
    registry.fault(
        "",
        "/manifests/",
        9,
        Fault::Redirect(format!("http://{}/v2/a/manifests/1", thief.address())),
    );
    let mut options = with_login(&registry.address(), "u", "p");
    options.headers.insert("x-meta", "seen by all".parse().unwrap());
    resolve(options, &format!("{}/a:1", registry.address())).await.unwrap();
    assert!(registry.seen().iter().any(|s| s.header("authorization").starts_with("Basic ")));
    let stolen = thief.seen();
    assert!(!stolen.is_empty());
    assert!(stolen.iter().all(|s| s.header("authorization").is_empty()), "{stolen:?}");
}

#[tokio::test]
async fn a_redirect_target_that_asks_for_a_login_gets_none() {
    let thief = Faulty::start(Auth::Basic { user: "u", password: "p" }).await;
    let registry = Faulty::start(Auth::Open).await;
    registry.fault(
        "",
        "/manifests/",
        9,
        Fault::Redirect(format!("http://{}/v2/a/manifests/1", thief.address())),
    );
    let e = resolve(with_login(&registry.address(), "u", "p"), &format!("{}/a:1", registry.address()))
        .await
        .unwrap_err();
    assert!(e.to_string().contains("401"), "{e}");
    assert!(thief.seen().iter().all(|s| s.header("authorization").is_empty()));
}

#[tokio::test]
async fn redirects_end() {
    let registry = Faulty::start(Auth::Open).await;
    registry.fault("", "/manifests/", 99, Fault::Redirect("/v2/a/manifests/again".to_owned()));
    let e = resolve(patient(), &format!("{}/a:1", registry.address())).await.unwrap_err();
    assert!(e.to_string().contains("stopped after 10 redirects"), "{e}");
    assert_eq!(registry.seen().len(), 11);
}

#[tokio::test]
async fn not_found_is_a_kind() {
    let registry = Faulty::start(Auth::Open).await;
    let reference = format!("{}/no/such:tag", registry.address());
    let e = resolve(patient(), &reference).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotFound);
    assert_eq!(e.to_string(), format!("{reference}: not found"));
}

#[tokio::test]
async fn a_forbidden_head_says_why() {
    let registry = Faulty::start(Auth::Open).await;
    registry.fault("", "/manifests/", 9, Fault::Status(403));
    let e = resolve(patient(), &format!("{}/a:1", registry.address())).await.unwrap_err();
    assert!(e.to_string().contains("403 Forbidden: said_so: the test wants it"), "{e}");
    assert_eq!(e.kind(), ErrorKind::Unknown);
}

#[tokio::test]
async fn registries_that_tell_too_little() {
    let registry = Faulty::start(Auth::Open).await;
    let digest = registry.manifest("a", "1", media_type::OCI_MANIFEST, MANIFEST);
    let reference = format!("{}/a:1", registry.address());
    for fault in
        [Fault::BareHead, Fault::Status(405), Fault::MediaType(""), Fault::MediaType("application/json")]
    {
        registry.fault("HEAD", "/manifests/", 1, fault.clone());
        let found = resolve(patient(), &reference).await.unwrap();
        assert_eq!(
            (found.digest, found.media_type.as_str()),
            (digest.clone(), media_type::OCI_MANIFEST),
            "{fault:?}"
        );
    }
}

#[tokio::test]
async fn lies_about_the_digest_are_found() {
    let registry = Faulty::start(Auth::Open).await;
    registry.manifest("a", "1", media_type::OCI_MANIFEST, MANIFEST);
    registry.fault("HEAD", "/manifests/", 1, Fault::Status(405));
    registry.fault("GET", "/manifests/", 9, Fault::LyingDigestHeader);
    let e = resolve(patient(), &format!("{}/a:1", registry.address())).await.unwrap_err();
    assert!(e.to_string().contains("unexpected digest"), "{e}");
}

#[tokio::test]
async fn giant_manifests_are_refused() {
    let registry = Faulty::start(Auth::Open).await;
    registry.manifest("a", "1", media_type::OCI_MANIFEST, vec![b' '; 5 << 20]);
    let reference = format!("{}/a:1", registry.address());
    let e = resolve(patient(), &reference).await.unwrap_err();
    assert!(e.to_string().contains("rejecting 5242880 byte manifest"), "{e}");
    registry.manifest("b", "1", media_type::OCI_MANIFEST, MANIFEST);
    registry.fault("HEAD", "/b/", 1, Fault::BareHead);
    registry.fault("GET", "/b/", 1, Fault::Endless);
    let e = resolve(patient(), &format!("{}/b:1", registry.address())).await.unwrap_err();
    assert!(e.to_string().contains("byte manifest"), "{e}");
}

#[tokio::test]
async fn a_silent_registry_does_not_hold_us() {
    let registry = Faulty::start(Auth::Open).await;
    registry.fault("", "/manifests/", 99, Fault::Silence);
    let before = std::time::Instant::now();
    let e = resolve(impatient(), &format!("{}/a:1", registry.address())).await.unwrap_err();
    assert!(e.to_string().contains("no response within 700ms"), "{e}");
    assert!(before.elapsed() < Duration::from_secs(50));
}

#[tokio::test]
async fn passing_trouble_is_waited_out() {
    let registry = Faulty::start(Auth::Open).await;
    registry.manifest("a", "1", media_type::OCI_MANIFEST, MANIFEST);
    let reference = format!("{}/a:1", registry.address());
    for faults in [vec![503], vec![429, 429, 408], vec![500, 503]] {
        for code in &faults {
            registry.fault("HEAD", "/manifests/", 1, Fault::Status(*code));
        }
        resolve(patient(), &reference).await.unwrap_or_else(|e| panic!("{faults:?}: {e}"));
    }
    registry.fault("HEAD", "/manifests/", 2, Fault::Status(503));
    let before = registry.seen().len();
    resolve(patient(), &reference).await.unwrap_err();
    assert_eq!(registry.seen().len(), before + 2, "the same error twice ends it");
}

#[tokio::test]
async fn references_that_name_no_registry_content() {
    for reference in ["", "busybox", "127.0.0.1:1/a", "127.0.0.1:1/../a:1", "127.0.0.1:1/a@sha256:short"] {
        let e = resolve(patient(), reference).await.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::InvalidArgument, "{reference:?}: {e}");
    }
}
