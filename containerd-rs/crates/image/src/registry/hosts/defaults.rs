//! What is assumed about a registry when its configuration leaves it open.

use std::net::IpAddr;

use super::{Capabilities, HostConfig, Scheme, port_of};

/// Whether `host` (`name` or `name:port`) is this machine.
pub fn is_localhost(host: &str) -> bool {
    let name = match port_of(host) {
        Some(port) => &host[..host.len() - port.len() - 1],
        None => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Fills in the host that names no server (the last one of a file, or the only one without a file)
/// and decides which hosts get the plain-text fall-back.
///
/// `scheme` is the caller's wish for hosts without configuration (`--plain-http` and the like).
pub(crate) fn complete(hosts: &mut [HostConfig], registry: &str, scheme: Option<Scheme>) {
    if let Some(last) = hosts.last_mut().filter(|h| h.host.is_empty()) {
        last.path = "/v2".to_owned();
        last.capabilities = Capabilities::ALL;
        if registry == "docker.io" {
            last.scheme = Scheme::Https;
            last.host = "registry-1.docker.io".to_owned();
        } else {
            last.host = registry.to_owned();
            last.scheme = scheme.unwrap_or(Scheme::Https);
            if scheme.is_none() && is_localhost(registry) {
                complete_localhost(last, registry);
            }
        }
    }
    for host in hosts {
        if host.scheme == Scheme::Http && host.has_tls_settings() && port_of(&host.host) != Some("80") {
            host.scheme = Scheme::Https;
            host.http_fallback = true;
        }
    }
}

/// Loopback: plain text unless the port says TLS; where both are possible TLS is tried first and
/// its certificate is not checked.
fn complete_localhost(host: &mut HostConfig, registry: &str) {
    let port = port_of(registry);
    host.scheme = match port {
        None | Some("443") => Scheme::Https,
        Some(_) => Scheme::Http,
    };
    if port != Some("80") {
        host.skip_verify = Some(true);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn one(registry: &str, scheme: Option<Scheme>) -> HostConfig {
        let mut hosts = vec![HostConfig::new(Scheme::Https, "")];
        complete(&mut hosts, registry, scheme);
        hosts.remove(0)
    }

    #[test]
    fn localhost_names() {
        for yes in ["localhost", "localhost:5000", "127.0.0.1", "127.0.0.9:80", "[::1]:5000", "::1"] {
            assert!(is_localhost(yes), "{yes}");
        }
        for no in ["localhost.example.com", "10.0.0.1", "example.com:5000", "[fe80::1]:5000"] {
            assert!(!is_localhost(no), "{no}");
        }
    }

    #[test]
    fn defaults_per_registry() {
        // registry, wish -> scheme, host, skip_verify, fall-back
        let table = [
            ("docker.io", None, Scheme::Https, "registry-1.docker.io", None, false),
            ("quay.io", None, Scheme::Https, "quay.io", None, false),
            ("quay.io", Some(Scheme::Http), Scheme::Http, "quay.io", None, false),
            ("localhost", None, Scheme::Https, "localhost", Some(true), false),
            ("localhost:443", None, Scheme::Https, "localhost:443", Some(true), false),
            ("localhost:80", None, Scheme::Http, "localhost:80", None, false),
            ("127.0.0.1:5000", None, Scheme::Https, "127.0.0.1:5000", Some(true), true),
            ("127.0.0.1:5000", Some(Scheme::Http), Scheme::Http, "127.0.0.1:5000", None, false),
        ];
        for (registry, wish, scheme, host, skip, fallback) in table {
            let got = one(registry, wish);
            assert_eq!(
                (got.scheme, got.host.as_str(), got.skip_verify, got.http_fallback),
                (scheme, host, skip, fallback),
                "{registry}"
            );
        }
    }

    #[test]
    fn proxies_are_told_apart() {
        assert!(!HostConfig::new(Scheme::Https, "registry-1.docker.io").is_proxy_of("docker.io"));
        assert!(HostConfig::new(Scheme::Https, "mirror.local").is_proxy_of("docker.io"));
        assert!(!HostConfig::new(Scheme::Https, "quay.io").is_proxy_of("quay.io"));
    }
}
