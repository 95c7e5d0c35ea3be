//! URLs: joining redirects, adding query values, and hiding what a log must not show.

use http::Uri;

/// The URL that `location` means when `from` answered with it. `None`: not a usable http(s) URL.
pub(crate) fn join(from: &Uri, location: &str) -> Option<Uri> {
    let scheme = from.scheme_str()?;
    let authority = from.authority()?.as_str();
    let location = location.split('#').next().unwrap_or_default();
    let text = if location.contains("://") {
        location.to_owned()
    } else if let Some(rest) = location.strip_prefix("//") {
        format!("{scheme}://{rest}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else if location.starts_with('?') {
        format!("{scheme}://{authority}{}{location}", from.path())
    } else {
        let dir = from.path().rsplit_once('/').map_or("", |(dir, _)| dir);
        format!("{scheme}://{authority}{dir}/{location}")
    };
    check(&text)
}

/// Parses an absolute http(s) URL without user information.
pub(crate) fn check(text: &str) -> Option<Uri> {
    let uri: Uri = text.parse().ok()?;
    let authority = uri.authority()?;
    let http = matches!(uri.scheme_str(), Some("http" | "https"));
    (http && !authority.as_str().contains('@') && !authority.host().is_empty()).then_some(uri)
}

/// The URL with one more query value.
pub(crate) fn add_query(uri: &Uri, key: &str, value: &str) -> Option<Uri> {
    let separator = if uri.query().is_some() { '&' } else { '?' };
    let path = if uri.path().is_empty() { "/" } else { uri.path() };
    let query = uri.query().map(|q| format!("?{q}")).unwrap_or_default();
    check(&format!(
        "{}://{}{path}{query}{separator}{key}={}",
        uri.scheme_str()?,
        uri.authority()?,
        encode(value)
    ))
}

/// Percent-encodes everything but unreserved characters, as in a form.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte as char),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// The URL for errors and logs: values of the query are hidden, except the mirrored registry's name.
pub(crate) fn redacted(uri: &Uri) -> String {
    let mut text = format!(
        "{}://{}{}",
        uri.scheme_str().unwrap_or_default(),
        uri.authority().map(|a| a.as_str()).unwrap_or_default(),
        uri.path()
    );
    for (n, pair) in uri.query().unwrap_or_default().split('&').filter(|p| !p.is_empty()).enumerate() {
        text.push(if n == 0 { '?' } else { '&' });
        match pair.split_once('=') {
            Some(("ns", _)) | None => text.push_str(pair),
            Some((key, _)) => text.push_str(&format!("{key}=REDACTED")),
        }
    }
    text
}

/// Whether a credential for `a` may go to `b`: the same host and port, and no step from TLS to plain
/// text.
pub(crate) fn same_host(a: &Uri, b: &Uri) -> bool {
    a.authority() == b.authority() && (a.scheme() == b.scheme() || b.scheme_str() == Some("https"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn joining() {
        let from: Uri = "https://r.io:5000/v2/a/blobs/uploads/".parse().unwrap();
        for (location, want) in [
            ("/v2/x?y=1", Some("https://r.io:5000/v2/x?y=1")),
            ("https://cdn.io/b", Some("https://cdn.io/b")),
            ("//cdn.io/b", Some("https://cdn.io/b")),
            ("next", Some("https://r.io:5000/v2/a/blobs/uploads/next")),
            ("?a=b", Some("https://r.io:5000/v2/a/blobs/uploads/?a=b")),
            ("/x#frag", Some("https://r.io:5000/x")),
            ("file:///etc/passwd", None),
            ("https://user:pw@evil.io/", None),
            ("https://", None),
            ("/sp ace", None),
        ] {
            assert_eq!(join(&from, location).map(|u| u.to_string()).as_deref(), want, "{location}");
        }
    }

    #[test]
    fn query() {
        let uri: Uri = "http://m:1/v2/a/manifests/1".parse().unwrap();
        let uri = add_query(&uri, "ns", "r.io:5000").unwrap();
        assert_eq!(uri.to_string(), "http://m:1/v2/a/manifests/1?ns=r.io%3A5000");
        let uri = add_query(&uri, "token", "s3cret").unwrap();
        assert_eq!(redacted(&uri), "http://m:1/v2/a/manifests/1?ns=r.io%3A5000&token=REDACTED");
    }

    #[test]
    fn credentials_stay() {
        let u = |s: &str| s.parse::<Uri>().unwrap();
        assert!(same_host(&u("https://a/1"), &u("https://a/2")));
        assert!(same_host(&u("http://a/1"), &u("https://a/2")));
        assert!(!same_host(&u("https://a/1"), &u("http://a/2")));
        assert!(!same_host(&u("https://a/1"), &u("https://a:8443/2")));
        assert!(!same_host(&u("https://a/1"), &u("https://sub.a/2")));
    }
}
