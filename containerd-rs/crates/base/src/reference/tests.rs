#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::*;
use proptest::prelude::*;

const D: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[test]
fn containerds_form() {
    let with_digest = format!("docker.io/library/redis:foo@{D}");
    let only_digest = format!("gcr.io/library/redis@{D}");
    for (s, locator, object, domain, path, tag, digest) in [
        (
            "docker.io/library/redis:foo?x=y#z",
            "docker.io/library/redis",
            "foo",
            "docker.io",
            "library/redis",
            Some("foo"),
            None,
        ),
        ("docker.io/library/redis", "docker.io/library/redis", "", "docker.io", "library/redis", None, None),
        (
            &with_digest,
            "docker.io/library/redis",
            &with_digest[24..],
            "docker.io",
            "library/redis",
            Some("foo"),
            Some(D),
        ),
        (&only_digest, "gcr.io/library/redis", &only_digest[20..], "gcr.io", "library/redis", None, Some(D)),
        (
            "docker.io/library/redis@sha256:123",
            "docker.io/library/redis",
            "@sha256:123",
            "docker.io",
            "library/redis",
            None,
            Some("sha256:123"),
        ),
        (
            "docker.io/library/redis:foo@",
            "docker.io/library/redis",
            "foo@",
            "docker.io",
            "library/redis",
            Some("foo"),
            Some(""),
        ),
        ("localhost:5000/a/b:v1", "localhost:5000/a/b", "v1", "localhost:5000", "a/b", Some("v1"), None),
        ("[::1]:5000/a:v1", "[::1]:5000/a", "v1", "[::1]:5000", "a", Some("v1"), None),
        ("[fe80::1%25en0]/a:v1", "[fe80::1%en0]/a", "v1", "[fe80::1%en0]", "a", Some("v1"), None),
        ("busybox", "busybox", "", "busybox", "", None, None),
        ("user@host/path:x", "host/path", "x", "host", "path", Some("x"), None),
        ("host/a/../b:x", "host/b", "x", "host", "b", Some("x"), None),
        ("host/A%20b:x", "host/A b", "x", "host", "A b", Some("x"), None),
        ("ho%c3%bcst/a:x", "hoüst/a", "x", "hoüst", "a", Some("x"), None),
    ] {
        let r = Reference::parse(s).unwrap();
        assert_eq!(
            (r.locator(), r.object(), r.domain(), r.path(), r.tag(), r.digest_text()),
            (locator, object, domain, path, tag, digest),
            "{s}"
        );
    }
    assert_eq!(Reference::parse(&with_digest).unwrap().digest().unwrap().as_str(), D);
    assert_eq!(Reference::parse("h/redis@sha256:123").unwrap().digest(), None);
    assert_eq!(Reference::parse("h/a").unwrap().require_object(), Err(ReferenceError::ObjectRequired));
}

#[test]
fn containerds_errors() {
    for (s, text) in [
        ("", "hostname required"),
        ("/a:b", "hostname required"),
        ("http://docker.io/a:b", "invalid reference"),
        ("a/b://c", "invalid reference"),
        ("docker.io:x/a", r#"parse "dummy://docker.io:x/a": invalid port ":x" after host"#),
        ("busybox:latest", r#"parse "dummy://busybox:latest": invalid port ":latest" after host"#),
        ("ho st/a", r#"parse "dummy://ho st/a": invalid character " " in host name"#),
        ("ho%20st/a", r#"parse "dummy://ho%20st/a": invalid URL escape "%20""#),
        ("h/a%zz", r#"parse "dummy://h/a%zz": invalid URL escape "%zz""#),
        ("h/a%4", r#"parse "dummy://h/a%4": invalid URL escape "%4""#),
        ("[::1/a", r#"parse "dummy://[::1/a": missing ']' in host"#),
        ("[::1]x/a", r#"parse "dummy://[::1]x/a": invalid port "x" after host"#),
        ("us er@h/a", r#"parse "dummy://us er@h/a": net/url: invalid userinfo"#),
        // before a slash, "@" ends user information and ":" starts a port
        ("import-1@sha256:abc", r#"parse "dummy://import-1@sha256:abc": invalid port ":abc" after host"#),
        ("h/a\n", r#"parse "dummy://h/a\n": net/url: invalid control character in URL"#),
    ] {
        assert_eq!(Reference::parse(s).unwrap_err().to_string(), text, "{s}");
    }
}

#[test]
fn typed_names() {
    for (s, full, familiar) in [
        ("busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("busybox:1", "docker.io/library/busybox:1", "busybox:1"),
        ("foo/bar", "docker.io/foo/bar:latest", "foo/bar:latest"),
        ("docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("index.docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("index.docker.io/foo/bar", "docker.io/foo/bar:latest", "foo/bar:latest"),
        ("docker.io/library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"),
        ("localhost/a", "localhost/a:latest", "localhost/a:latest"),
        ("localhost:5000/a:b", "localhost:5000/a:b", "localhost:5000/a:b"),
        ("example:80/a", "example:80/a:latest", "example:80/a:latest"),
        ("[2001:db8::1]:80/a", "[2001:db8::1]:80/a:latest", "[2001:db8::1]:80/a:latest"),
        ("127.0.0.1/a/b", "127.0.0.1/a/b:latest", "127.0.0.1/a/b:latest"),
        ("Upper/a", "Upper/a:latest", "Upper/a:latest"),
        (
            "ghcr.io/a__b/c-d---e/f.g:T_1.x-",
            "ghcr.io/a__b/c-d---e/f.g:T_1.x-",
            "ghcr.io/a__b/c-d---e/f.g:T_1.x-",
        ),
        ("xn--7o8h.com/myimage", "xn--7o8h.com/myimage:latest", "xn--7o8h.com/myimage:latest"),
        ("docker/docker", "docker.io/docker/docker:latest", "docker/docker:latest"),
        ("library/debian", "docker.io/library/debian:latest", "debian:latest"),
        ("localhost", "docker.io/library/localhost:latest", "localhost:latest"),
    ] {
        let r = Reference::parse_normalized(s).unwrap();
        assert_eq!(r.to_string(), full, "{s}");
        assert_eq!(r.familiar(), familiar, "{s}");
        assert_eq!(Reference::parse(full).unwrap(), r, "{s}");
    }
    let both = format!("busybox:1@{D}");
    assert_eq!(
        Reference::parse_normalized(&both).unwrap().to_string(),
        format!("docker.io/library/busybox@{D}")
    );
    let named = Named::parse_normalized(&both).unwrap();
    assert_eq!((named.tag(), named.digest().map(Digest::as_str)), (Some("1"), Some(D)));
    assert_eq!(named.familiar(), both);
    assert_eq!(named.to_reference().to_string(), named.to_string());
    assert_eq!(named.with_tag("2").unwrap().to_string(), "docker.io/library/busybox:2");
    assert_eq!(named.with_tag("-"), Err(NamedError::Tag));
}

#[test]
fn lengths() {
    let tag = |n: usize| format!("a:{}", "t".repeat(n));
    assert!(Named::parse(&tag(128)).is_ok());
    assert_eq!(Named::parse(&tag(129)), Err(NamedError::Format));
    let path = |n: usize| format!("{}/a", "p".repeat(n - 2));
    assert!(Named::parse(&format!("h.io/{}", path(255))).is_ok());
    assert_eq!(Named::parse(&format!("h.io/{}", path(256))), Err(NamedError::TooLong));
}

#[test]
fn refused_names() {
    let id = &D[7..];
    let short = format!("a@sha256:{}", "f".repeat(32));
    let shorter = format!("a@sha256:{}", "f".repeat(31));
    let unknown = format!("a@md5:{}", "f".repeat(32));
    let identifier = format!("invalid repository name ({id}), cannot specify 64-byte hexadecimal strings");
    for (s, text) in [
        ("", "invalid reference format"),
        (id, &identifier),
        ("Busybox", "invalid reference format: repository name (library/Busybox) must be lowercase"),
        ("foo/Bar", "invalid reference format: repository name (foo/Bar) must be lowercase"),
        ("a:", "invalid reference format"),
        ("a:-x", "invalid reference format"),
        ("a:b:c", "invalid reference format"),
        ("a@", "invalid reference format"),
        ("a@sha256:", "invalid reference format"),
        (&shorter, "invalid reference format"),
        (&short, "invalid checksum digest length"),
        (&unknown, "unsupported digest algorithm"),
        ("a//b", "invalid reference format"),
        ("a/", "invalid reference format"),
        ("/a", "invalid reference format"),
        ("-a", "invalid reference format"),
        ("a-", "invalid reference format"),
        ("a..b", "invalid reference format"),
        ("a___b", "invalid reference format"),
        ("a.-b", "invalid reference format"),
        ("a_/b", "invalid reference format"),
        ("-h.io/a", "invalid reference format"),
        ("h-.io/a", "invalid reference format"),
        ("h..io/a", "invalid reference format"),
        ("h.io:/a", "invalid reference format"),
        ("h.io:x/a", "invalid reference format"),
        ("[::1/a", "invalid reference format"),
        ("[fe80::1%eth0]/a", "invalid reference format"),
        ("a b", "invalid reference format"),
        ("ü", "invalid reference format"),
        ("https://h.io/a", "invalid reference format"),
    ] {
        assert_eq!(Reference::parse_normalized(s).unwrap_err().to_string(), text, "{s}");
    }
    assert_eq!(Named::parse(""), Err(NamedError::Empty));
    assert_eq!(Named::parse("A/B"), Err(NamedError::Uppercase));
}

proptest! {
    #![proptest_config(crate::seeded())]

    #[test]
    fn never_panics(s in "\\PC{0,60}", t in "[a-zA-Z0-9:@/._%#?\\[\\]-]{0,40}") {
        for text in [s, t] {
            let _ = Reference::parse(&text);
            if let Ok(r) = Reference::parse_normalized(&text) {
                let again = Reference::parse_normalized(&r.to_string()).unwrap();
                prop_assert_eq!(&again, &r);
                prop_assert_eq!(Reference::parse(&r.to_string()).unwrap(), r.clone());
                prop_assert_eq!(Reference::parse_normalized(&r.familiar()).unwrap(), r);
            }
        }
    }

    #[test]
    fn made_from_the_grammar_is_read(
        domain in "([a-z0-9]{1,5}\\.[a-z]{2,3}|localhost)(:[0-9]{1,5})?",
        path in "[a-z0-9]{1,5}(([._]|__|-{1,3})[a-z0-9]{1,4}){0,2}(/[a-z0-9]{1,5}){1,2}",
        tag in "[A-Za-z0-9_][A-Za-z0-9_.-]{0,12}",
    ) {
        let s = format!("{domain}/{path}:{tag}");
        let r = Reference::parse_normalized(&s).unwrap();
        prop_assert_eq!((r.domain(), r.path(), r.tag()), (&*domain, &*path, Some(&*tag)));
        prop_assert_eq!(r.to_string(), s);
    }
}
